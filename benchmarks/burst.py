"""
A burst: so many small edits in one moment, each on a connection of its own.

python -m benchmarks.burst [--edits 3000] [--patience 540] [--picture png|jpeg] [--tenants 1]

Prints how many got which status, when the last was answered, the gateway's own histogram of
the event loop's lag, its longest answer to ``/healthz`` meanwhile, and its memory.
"""

import argparse
import asyncio
import hashlib
import io
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from benchmarks import programs
from benchmarks.load import body_of, head_of
from benchmarks.photo import photo
from benchmarks.wire import read_body, read_head

_TASK_SECONDS = 0.3
_RESULT_BYTES = 30_000
_PROBE_SECONDS = 0.02
_LAG = re.compile(r'^\S*event_loop_lag_seconds_bucket\{le="(\S+)"\} (\S+)$', re.MULTILINE)


def png(folder: Path) -> Path:
    """Write a PNG of some 30 KB, which is decoded in a thread; return its place."""
    noise = Image.frombytes("L", (64, 64), Random(1).randbytes(64**2))
    place = folder / "small.png"
    out = io.BytesIO()
    noise.resize((512, 512), Image.Resampling.NEAREST).convert("RGB").save(out, "PNG")
    place.write_bytes(out.getvalue())
    return place


class Burst:
    def __init__(self, port: int, picture: bytes, *, tenants: int, patience: float) -> None:
        self._port = port
        self._picture = picture
        self._tenants = tenants
        self._patience = patience
        self.statuses: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.slowest_probe = 0.0

    async def run(self, edits: int) -> None:
        async with asyncio.TaskGroup() as probing:
            probe = probing.create_task(self._probe())
            async with asyncio.TaskGroup() as group:
                for number in range(edits):
                    group.create_task(self._client(number))
            probe.cancel()

    async def _client(self, number: int) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        body = body_of(self._picture, f"edit {number}")
        key = f"Bearer wk-bench-{number % self._tenants}\r\n"
        more = f"x-stainless-read-timeout: {self._patience}\r\n\r\n"
        head = head_of(body).replace(b"Bearer wk-bench\r\n", key.encode())
        writer.write(head[:-2] + more.encode() + body)
        first, headers = await read_head(reader)
        content = await read_body(reader, headers)
        writer.close()
        self.seconds.append(time.monotonic() - began)
        self.statuses[first.split(" ")[1]] += 1
        if " 200 " not in first:
            self.codes[json.loads(content)["error"]["code"]] += 1

    async def _probe(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while True:
            began = time.monotonic()
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n")
            _, headers = await read_head(reader)
            await read_body(reader, headers)
            self.slowest_probe = max(self.slowest_probe, time.monotonic() - began)
            await asyncio.sleep(_PROBE_SECONDS)


def gateway(folder: Path, stub_port: int, tenants: int) -> programs.Spawn:
    """Return the gateway with *tenants* that may all wait."""
    spawn = programs.gateway(folder, stub_port)
    config = Path(spawn.words[-1])
    text = config.read_text()
    text = text[: text.index("[tenants.bench]")]
    for number in range(tenants):
        key = hashlib.sha256(f"wk-bench-{number}".encode()).hexdigest()
        text += f'[tenants.bench-{number}]\nkeys = ["sha256:{key}"]\n'
        text += 'region = "beijing"\nmax_waiting = 100000\n'
    config.write_text(text)
    return spawn


def loop_lag(port: int) -> dict[str, int]:
    """Return the gateway's own histogram: upper bound in seconds → samples up to it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return {le: int(float(n)) for le, n in _LAG.findall(answer.read().decode())}


def measure(folder: Path, kind: str, edits: int, tenants: int, patience: float) -> dict[str, Any]:
    picture = png(folder) if kind == "png" else photo(folder, 20)
    with (
        programs.running(programs.stub(folder, _TASK_SECONDS, _RESULT_BYTES)) as stub,
        programs.running(gateway(folder, stub.port, tenants)) as program,
    ):
        base = program.resident_mb()
        cpu = program.cpu_seconds()
        burst = Burst(program.port, picture.read_bytes(), tenants=tenants, patience=patience)
        began = time.monotonic()
        asyncio.run(burst.run(edits))
        took = time.monotonic() - began
        burst.seconds.sort()
        return {
            "bytes": picture.stat().st_size,
            "statuses": dict(burst.statuses),
            "codes": dict(burst.codes),
            "took": round(took, 2),
            "p50": round(burst.seconds[edits // 2], 2),
            "slowest_probe": round(burst.slowest_probe, 3),
            "cpu_ms": round(1000 * (program.cpu_seconds() - cpu) / edits, 2),
            "base_mb": round(base, 1),
            "peak_mb": round(program.peak_mb(), 1),
            "lag": loop_lag(program.port),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=3000)
    parser.add_argument("--patience", type=float, default=540.0)
    parser.add_argument("--tenants", type=int, default=1)
    parser.add_argument("--picture", choices=("png", "jpeg"), default="png")
    args = parser.parse_args()
    print(programs.machine(), file=sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        print(
            json.dumps(
                measure(Path(place), args.picture, args.edits, args.tenants, args.patience),
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
