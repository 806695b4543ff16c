"""Shots at a whole gateway, in salvoes; what may come of each, and of the gateway."""

import asyncio
import gc
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.sandbox import Constant
from tests.fast_time import SPEED, FastLoop
from tests.fuzz.wire import LONGEST, Landed, Shot, shoot
from tests.harness import PLAIN, Harness, eventually, start_harness

_Result = TypeVar("_Result")

_SALVO = 8
"""Shots at once."""
_PACE = {"submits_per_second": 1000, "running_tasks": 500}
_MANY = 10_000
_AT_REST = {"inflight_body_bytes": 0.0, "queue_depth": 0.0, "tasks_in_flight": 0.0}

REFUSALS = {
    (400, "invalid_value"),
    (400, "missing_required_parameter"),
    (400, "string_above_max_length"),
    (400, "unknown_parameter"),
    (400, "invalid_request_body"),
    (400, "unsupported_content_type"),
    (400, "invalid_request"),
    (400, "invalid_image_file"),
    (401, "invalid_api_key"),
    (404, "not_found"),
    (404, "unknown_url"),
    (404, "model_not_found"),
    (405, "method_not_allowed"),
    (410, "gone"),
    (413, "request_too_large"),
    (422, "idempotency_key_reused"),
}
"""All that a client can bring about in a gateway where nothing else goes wrong."""


@dataclass(slots=True)
class StormSummary:
    """What came of all shots."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    """Real seconds."""

    def add(self, landed: Landed, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)
        code = f" {landed.code}" if landed.status >= 400 and landed.body else ""
        self.ends[f"{landed.status}{code}"] += 1


def verdict(shot: Shot, landed: Landed) -> str:
    """Say what is wrong about *landed*; nothing if all is well."""
    if landed.status == 0:
        return "" if shot.leaves or not landed.all_sent else "no answer"
    if shot.owner is not None:
        if landed.status != 200:
            return f"a sound edit is refused: {landed.status} {landed.code}"
        return "" if landed.owner == shot.owner else "the picture is of another edit"
    if landed.status < 400:
        return ""
    if shot.start.startswith(b"HEAD "):  # its answer has no body
        return "" if landed.status in {status for status, _ in REFUSALS} else str(landed.status)
    found = (landed.status, landed.code) in REFUSALS or landed.code == "no http"
    return "" if found else f"{landed.status} {landed.code}"


@dataclass(slots=True)
class Storm:
    """A gateway under fire."""

    loop: asyncio.AbstractEventLoop
    harness: Harness
    tally: StormSummary = field(default_factory=StormSummary)
    tasks: int = 0
    """Of asyncio, in the gateway at rest."""

    def salvo(self, shots: Sequence[Shot]) -> None:
        """Fire *shots* at once; each must end well."""
        self._wait(self._salvo(shots))

    def settle(self) -> None:
        """Wait until the gateway is at rest: no bytes, no edits, no tasks but those of before."""
        self._wait(eventually(self._rests))

    def refused_upstream(self) -> int:
        """How many submits the region refused, for a rule that we did not know."""
        counts = self._wait(self.harness.books())["counts"]
        return int(counts.get("submit.refused", 0))

    def _wait(self, work: Awaitable[_Result]) -> _Result:
        return self.loop.run_until_complete(work)

    async def _salvo(self, shots: Sequence[Shot]) -> None:
        wrong = await asyncio.gather(*(self._one(shot) for shot in shots))
        bad = [(text, shot) for text, shot in zip(wrong, shots, strict=True) if text]
        assert not bad, bad

    async def _one(self, shot: Shot) -> str:
        before = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST * SPEED):
                landed = await shoot(self.harness.url, shot)
        except TimeoutError:
            return "it hangs"
        self.tally.add(landed, time.monotonic() - before)
        return verdict(shot, landed)

    async def _rests(self) -> bool:
        page = (await self.harness.http.get("/metrics")).text
        left = {name: _sum(page, f"wan_gateway_{name}") for name in _AT_REST}
        return left == _AT_REST and len(asyncio.all_tasks()) <= self.tasks


def _sum(page: str, name: str) -> float:
    lines = (line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextmanager
def storm() -> Iterator[Storm]:
    """Serve a gateway in fast time, with a region that stands in nobody's way."""
    limits = replace(PLAIN.limits, task_calls_per_second=_MANY, **_PACE)
    calm = replace(PLAIN, latency=Constant(0.1), limits=limits, plain_bytes=5_000)
    main = {"region": "beijing", "key": "env:KEY", "polls_per_second": _MANY, **_PACE}
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        loop = runner.get_loop()
        living = start_harness(calm, server={"max_body_bytes": 2_000_000}, upstreams={"main": main})
        harness = loop.run_until_complete(living.__aenter__())
        try:
            result = Storm(loop, harness)
            warm = Shot(b"", b"application/json")
            result.salvo([warm] * _SALVO)  # pools and threads that stay are made now
            loop.run_until_complete(harness.edit())
            result.tasks = len(asyncio.all_tasks(loop)) + 2  # the one that counts, and its socket
            yield result
        finally:
            loop.run_until_complete(living.__aexit__(None, None, None))


def fire(
    under: Storm, shots: st.SearchStrategy[Shot], *, salvoes: int, until: float = 0.0, seed: int = 0
) -> int:
    """
    Fire salvoes of *shots*: once, always the same; with *until* again and again, always others.

    Args:
        until: By time.monotonic.

    Returns:
        The number of the last seed.
    """

    @settings(
        max_examples=salvoes,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.lists(shots, min_size=1, max_size=_SALVO))
    def salvoed(salvo: list[Shot]) -> None:
        under.salvo(salvo)

    while True:
        hypothesis.seed(seed)(salvoed)()
        under.settle()
        if time.monotonic() >= until:
            return seed
        seed += 1


def memory() -> int:
    """Resident bytes of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()
