"""
What an edit costs: CPU and memory of the gateway beside a floor that only moves the bytes.

python -m benchmarks.cost [--edits 400] [--at-once 8] [--sizes 20 1000]

Each program runs alone against the same stub, in turn, several rounds; CPU is the process's
own (user and system), so that a noisy machine moves both alike. Read the ratios.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

_TASK_SECONDS = 0.3


@dataclass(frozen=True)
class Figure:
    cpu_ms: float
    """An edit."""
    peak_mb: float
    base_mb: float
    per_second: float
    p50: float
    p95: float
    failed: int


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def picture(kilobytes: int) -> bytes:
    """Make a JPEG of about so many kilobytes: noise over a gradient, at the side that fits."""
    side = 400 if kilobytes < 100 else 1600
    rng = random.Random(kilobytes)
    noise = Image.frombytes("RGB", (side // 4, side // 4), rng.randbytes(3 * (side // 4) ** 2))
    whole = noise.resize((side, side), Image.Resampling.BICUBIC)
    best = b""
    for quality in range(10, 96, 5):
        out = io.BytesIO()
        whole.save(out, "JPEG", quality=quality)
        best = out.getvalue()
        if len(best) >= kilobytes * 1000:
            break
    # The rest as a segment that decoders skip would be metadata: pad behind the end instead.
    return best


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


@contextlib.contextmanager
def program(*words: str, port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a program until its port answers; end it by its id."""
    with subprocess.Popen([sys.executable, *words], env={**os.environ, **(env or {})}) as process:
        try:
            for _ in range(400):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.025)  # noqa: TID251 - a benchmark lives in real time
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def gateway_config(folder: Path, port: int, stub: int) -> Path:
    key = hashlib.sha256(b"wk-bench").hexdigest()
    file = folder / "gateway.toml"
    file.write_text(
        f"""
[server]
port = {port}
[state]
path = "{folder}/ledger-{port}.db"
[log]
format = "json"
[regions.beijing]
base_url = "http://127.0.0.1:{stub}/api/v1"
[upstreams.main]
region = "beijing"
key = "env:BENCH_KEY"
submits_per_second = 10000
running_tasks = 1000
polls_per_second = 10000
[tenants.bench]
keys = ["sha256:{key}"]
region = "beijing"
"""
    )
    return file


def measure(pid: int, port: int, photo: Path, edits: int, at_once: int) -> Figure:
    def load(n: int) -> dict[str, object]:
        words = ["-m", "benchmarks.load", str(port), str(photo), str(n), str(at_once)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        if done.stderr:
            print(done.stderr[:2000], file=sys.stderr)
        return dict(json.loads(done.stdout))

    load(max(16, at_once * 2))
    base = memory_mb(pid, "VmRSS")
    began, cpu = time.perf_counter(), cpu_seconds(pid)
    told = load(edits)
    took, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu
    seconds = sorted(told["seconds"])  # type: ignore[call-overload]  # from our own JSON
    return Figure(
        cpu_ms=1000 * cpu / edits,
        peak_mb=memory_mb(pid, "VmHWM"),
        base_mb=base,
        per_second=edits / took,
        p50=seconds[len(seconds) // 2],
        p95=seconds[int(len(seconds) * 0.95)],
        failed=int(str(told["failed"])),
    )


def round_of(name: str, folder: Path, photo: Path, asked: argparse.Namespace) -> Figure:
    stub_port, port = free_port(), free_port()
    stub = ("-m", "benchmarks.stub", str(stub_port), str(_TASK_SECONDS), str(asked.result))
    programs = {
        "floor": ("-m", "benchmarks.floor", str(port), str(stub_port), str(_TASK_SECONDS)),
        "gateway": (
            "-m",
            "gateway",
            "serve",
            "--config",
            str(gateway_config(folder, port, stub_port)),
        ),
    }
    log = {"BENCH_KEY": "sk-bench"}
    with program(*stub, port=stub_port), program(*programs[name], port=port, env=log) as pid:
        return measure(pid, port, photo, asked.edits, asked.at_once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 1000])
    parser.add_argument("--result", type=int, default=1_500_000)
    asked = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as place:
        for size in asked.sizes:
            photo = Path(place, f"{size}.jpg")
            photo.write_bytes(picture(size))
            figures: dict[str, list[Figure]] = {"floor": [], "gateway": []}
            for _ in range(asked.rounds):
                for name, known in figures.items():
                    known.append(round_of(name, Path(place), photo, asked))
                    print(f"  {size} KB ({photo.stat().st_size} bytes) {name}: {known[-1]}")
            floor, ours = (median(f.cpu_ms for f in figures[name]) for name in ("floor", "gateway"))
            print(
                f"{size} KB: floor {floor:.2f} ms, gateway {ours:.2f} ms, ratio {ours / floor:.2f}"
            )


if __name__ == "__main__":
    main()
