"""
How late an end is noticed in real time, at how many calls, by the sandbox's own books.

``python -m benchmarks.live_polling`` runs the gateway in a process of its own and the official
dashscope SDK in threads, side by side, against simulated regions on loopback. Tasks run 3 to 18 s,
a fifth of the real ones, so that it ends in three minutes; the limits of calls stay DashScope's.
``--scale 1 --warm 450 --seconds 300`` runs tasks of 15 to 90 s.
"""

import argparse
import asyncio
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from io import BytesIO
from itertools import count, product
from pathlib import Path
from statistics import mean
from typing import Any

import anyio
import httpx
from anyio import CapacityLimiter
from dashscope.aigc.image_synthesis import ImageSynthesis
from PIL import Image

from gateway.sandbox import AccountLimits, SandboxConfig, Uniform, bind, create_sandbox, running

_MODEL = "wan2.5-i2i-preview"
_LAG = r"wan_gateway_poll_detection_lag_seconds_(sum|count)\{(.*?)\} (\S+)"
_THREADS = CapacityLimiter(1000)


@dataclass(frozen=True, slots=True)
class Stand:
    """So many accounts of a kind, each with *running* tasks at any time."""

    running: int
    accounts: int

    @property
    def name(self) -> str:
        return f"r{self.running}"

    def key(self, account: int) -> str:
        return f"sk-live-{self.running}-{account}"


_STANDS = (Stand(40, 1), Stand(5, 4), Stand(1, 10))


@dataclass(slots=True)
class NoticedEnds:
    """What one way of waiting saw of one stand."""

    at: dict[str, float] = field(default_factory=dict)
    """When the client had the answer, in epoch seconds, by task id."""
    refused: int = 0
    """Answers that were no picture; the wait went on."""


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _photo() -> bytes:
    file = BytesIO()
    Image.new("RGB", (400, 400), (90, 128, 128)).save(file, "PNG")
    return file.getvalue()


def _region(stand: Stand, scale: float) -> SandboxConfig:
    return SandboxConfig(
        region=stand.name,
        accounts={f"a{one}": (stand.key(one),) for one in range(stand.accounts)},
        latency=Uniform(15.0 / scale, 90.0 / scale),
        limits=AccountLimits(submits_per_second=5, running_tasks=stand.running),
        picture="plain",
        plain_bytes=30_000,
    )


def _config(urls: dict[str, str], port: int) -> tuple[str, dict[str, str]]:
    """Return a config with an upstream and a tenant for each account, and their keys."""
    lines = [f"[server]\nport = {port}", '[state]\npath = "memory"', '[log]\nlevel = "warning"']
    env: dict[str, str] = {}
    lines += [f'[regions.{name}]\nbase_url = "{url}/api/v1"' for name, url in urls.items()]
    for stand in _STANDS:
        for one in range(stand.accounts):
            name = f"{stand.name}-{one}"
            env[f"KEY_{stand.running}_{one}"] = stand.key(one)
            hashed = sha256(f"wk-{name}".encode()).hexdigest()
            lines.append(
                f'[upstreams.{name}]\nregion = "{stand.name}"\n'
                f'key = "env:KEY_{stand.running}_{one}"\nrunning_tasks = {stand.running}\n'
                f'[tenants.{name}]\nregion = "{stand.name}"\nupstreams = ["{name}"]\n'
                f'keys = ["sha256:{hashed}"]'
            )
    return "\n".join(lines), env


@contextmanager
def _gateway(urls: dict[str, str]) -> Iterator[str]:
    """Run the gateway in a process of its own; it is ended by its id."""
    with bind() as ticket:
        port = ticket.getsockname()[1]
    config, env = _config(urls, port)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gateway.toml")
        file.write_text(config)
        words = [sys.executable, "-m", "gateway", "serve", "--config", str(file)]
        with subprocess.Popen(words, env={**os.environ, **env}) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(30)


async def _ready(http: httpx.AsyncClient, url: str) -> None:
    for _ in range(400):
        try:
            if (await http.get(f"{url}/readyz")).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError("The gateway did not start.")


class Customers:
    """They keep every account busy, by the gateway or by the SDK, until they are stopped."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._photo = _photo()
        self._numbers = count()
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def request(self, gateway: str, key: str, seen: NoticedEnds) -> None:
        """Send edits to the gateway, one after another."""
        while not self._stopped.is_set():
            answer = await self._http.post(
                f"{gateway}/v1/images/edits",
                headers={"authorization": f"Bearer {key}"},
                data={"prompt": f"{next(self._numbers)} hats", "response_format": "url"},
                files={"image": ("photo.png", self._photo, "image/png")},
                timeout=600.0,
            )
            if answer.is_success:
                seen.at[answer.headers["x-wan-task-id"]] = _now()
            else:
                seen.refused += 1
                await asyncio.sleep(1.0)

    def wait(self, region: str, key: str, seen: NoticedEnds) -> None:
        """Do the same with DashScope's SDK, which blocks its thread."""
        to: dict[str, Any] = {"api_key": key, "base_address": f"{region}/api/v1"}
        images = ["https://pictures.example/photo.png"]
        while not self._stopped.is_set():
            prompt = f"{next(self._numbers)} hats"
            task = ImageSynthesis.async_call(_MODEL, prompt, images=images, n=1, **to)
            while task.status_code == HTTPStatus.OK:
                reported = ImageSynthesis.wait(task.output.task_id, **to)
                if reported.status_code == HTTPStatus.OK:
                    seen.at[task.output.task_id] = _now()
                    break
                seen.refused += 1  # the SDK gives up at a 429; who waits asks again
                self._stopped.wait(1.0)
            else:
                seen.refused += 1
                self._stopped.wait(1.0)


async def _books(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.get(f"{url}/_sandbox/books")).json()
    return answer


async def _noticed(http: httpx.AsyncClient, gateway: str) -> dict[str, tuple[float, float]]:
    """Return sum and count of the gateway's own measure of its lag, by region."""
    text = (await http.get(f"{gateway}/metrics")).text
    found: dict[str, dict[str, float]] = {}
    for what, labels, value in re.findall(_LAG, text):
        (region,) = re.findall(r'region="(\w+)"', labels)
        found.setdefault(region, {})[what] = float(value)
    return {region: (one["sum"], one["count"]) for region, one in found.items()}


@dataclass(slots=True)
class Way:
    """One way of waiting: its regions, one for each stand, and what was seen there."""

    name: str
    urls: dict[str, str]
    seen: dict[str, NoticedEnds]
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)

    def row(self, stand: Stand, begin: float, end: float) -> str:
        seen, before, after = self.seen[stand.name], self.before[stand.name], self.after[stand.name]
        ended = {task["task_id"]: task["end_time"] for task in after["tasks"]}
        lags = sorted(at - ended[key] for key, at in seen.at.items() if begin <= at <= end)
        calls: Counter[str] = Counter(after["counts"])
        calls.subtract(before["counts"])
        requested = calls["query.received"] + calls["list.received"] + calls["cancel.received"]
        submits = after["counts"].get("submit.throttled", 0)
        throttled = sum(n for name, n in after["counts"].items() if name.endswith(".throttled"))
        return (
            f"{stand.running:3} x {stand.accounts:<3}{self.name:14}{len(lags):6}{mean(lags):8.2f}"
            f"{lags[len(lags) // 2]:7.2f}{lags[int(0.95 * len(lags))]:7.2f}{lags[-1]:7.2f}"
            f"{requested / len(lags):7.1f}{throttled - submits:10}{submits:9}{seen.refused:8}"
        )


@asynccontextmanager
async def _ways(scale: float) -> AsyncIterator[tuple[Way, Way]]:
    """Open a region for each stand and each way of waiting."""
    async with AsyncExitStack() as stack:
        results = []
        for name in ("official SDK", "gateway"):
            urls = {
                stand.name: await stack.enter_async_context(
                    running(create_sandbox(_region(stand, scale)))
                )
                for stand in _STANDS
            }
            results.append(Way(name, urls, {stand.name: NoticedEnds() for stand in _STANDS}))
        yield results[0], results[1]


async def _run(scale: float, warm: float, seconds: float) -> None:
    # A connection for each client: none waits for another's.
    limits = httpx.Limits(max_connections=1000)
    async with (
        _ways(scale) as (sdk, ours),
        httpx.AsyncClient(trust_env=False, limits=limits) as http,
        AsyncExitStack() as stack,
    ):
        gateway = stack.enter_context(_gateway(ours.urls))
        await _ready(http, gateway)
        clients = Customers(http)
        async with asyncio.TaskGroup() as group:
            for stand, number, _ in _everyone():
                key = f"wk-{stand.name}-{number}"
                group.create_task(clients.request(gateway, key, ours.seen[stand.name]))
                act = partial(
                    clients.wait,
                    sdk.urls[stand.name],
                    stand.key(number),
                    sdk.seen[stand.name],
                )
                group.create_task(anyio.to_thread.run_sync(act, limiter=_THREADS))
            await asyncio.sleep(warm)
            begin = _now()
            for way in (sdk, ours):
                way.before = {name: await _books(http, url) for name, url in way.urls.items()}
            noticed = await _noticed(http, gateway)
            await asyncio.sleep(seconds)
            end = _now()
            for way in (sdk, ours):
                way.after = {name: await _books(http, url) for name, url in way.urls.items()}
            noticed_then = await _noticed(http, gateway)
            clients.stop()
        _show((sdk, ours), begin, end)
        for name, (total, edits) in noticed_then.items():
            before = noticed.get(name, (0.0, 0.0))
            lag = (total - before[0]) / max(1.0, edits - before[1])
            print(f"{name}: poll_detection_lag_seconds of the gateway itself: mean {lag:.2f}")


def _everyone() -> Iterator[tuple[Stand, int, int]]:
    for stand in _STANDS:
        yield from ((stand, *who) for who in product(range(stand.accounts), range(stand.running)))


def _show(ways: tuple[Way, ...], begin: float, end: float) -> None:
    print(f"{'':9}{'':14}{'edits':>6}{'lag mean':>9}{'p50':>6}{'p95':>7}{'max':>7}", end="")
    print(f"{'calls':>7}{'throttled':>10}{'submits':>9}{'refused':>8}")
    for stand in _STANDS:
        for way in ways:
            print(way.row(stand, begin, end))


def main() -> int:
    reader = argparse.ArgumentParser(description="The lag in real time, by the sandbox's books.")
    reader.add_argument("--scale", type=float, default=5.0, help="tasks run 15-90 s by this")
    reader.add_argument("--warm", type=float, default=90.0, help="seconds that are not counted")
    reader.add_argument("--seconds", type=float, default=60.0, help="of counting")
    args = reader.parse_args()
    logging.disable(logging.WARNING)  # the SDK logs each 429
    shape = f"{15 / args.scale:.0f}-{90 / args.scale:.0f} s"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; tasks of {shape};", end=" ")
    print(f"{args.seconds:.0f} s after {args.warm:.0f}; running tasks x accounts")
    asyncio.run(_run(args.scale, args.warm, args.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
