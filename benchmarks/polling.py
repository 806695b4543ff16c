"""
How late an end is noticed and at how many calls: our poller against fixed schedules.

``python -m benchmarks.polling`` prints the tables of docs/polling.md, on simulated time and with
fixed seeds, from gateway.polling itself; ``--quick`` runs a tenth of it.
"""

import argparse
import asyncio
import itertools
import platform
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from benchmarks.simulation import Listing, LoopClock, SimulatedDashScope, quiet_observer, warped
from gateway.domain.errors import GatewayError
from gateway.domain.tenant import Account, Region, Upstream
from gateway.polling.limiter import RateLimiter
from gateway.polling.loop import Poller
from gateway.polling.schedule import Durations, Kind

Draw = Callable[[random.Random], float]

_PLAIN = Listing()
_REGION = Region("beijing", "https://beijing.test", ())
_KIND = Kind("wan", 1, -1)


def _uniform(least: float, most: float) -> Draw:
    return lambda chance: chance.uniform(least, most)


def _lognormal(median: float, sigma: float) -> Draw:
    return lambda chance: median * chance.lognormvariate(0.0, sigma)


_SHAPES: dict[str, Draw] = {
    "15-90 s": _uniform(15, 90),
    "45 s, sigma .35": _lognormal(45, 0.35),
    "45 s, sigma .5": _lognormal(45, 0.5),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is measured: so many tasks running at once, until so many have ended."""

    name: str
    running: int
    draw: Draw = _SHAPES["15-90 s"]
    edits: int = 600
    listing: Listing = _PLAIN
    ahead: int = 0
    """Tasks beyond *running* that wait as PENDING."""
    warm: int = 120
    """The first so many are not counted; 0 counts from the cold start."""
    then: Draw | None = None
    """Durations change to these when half of the edits have ended."""
    slots: int = 0
    """The account's running limit as the gateway knows it; 0: as it is."""
    clock_error: float = 0.0
    failing: float = 0.0
    """The share of calls that get no answer."""
    limit: int = 20
    """Calls a second that upstream allows; the gateway thinks 20."""


@dataclass(slots=True)
class LagReport:
    lags: list[float] = field(default_factory=list)
    calls: int = 0
    begun: int = 0
    most_in_a_second: int = 0
    throttled: int = 0
    lost: int = 0
    """Ends that nobody noticed for a minute."""

    @property
    def mean(self) -> float:
        return sum(self.lags) / len(self.lags)

    @property
    def p95(self) -> float:
        return sorted(self.lags)[int(0.95 * len(self.lags))]

    @property
    def calls_per_edit(self) -> float:
        return self.calls / self.begun


@dataclass(slots=True)
class PollingSetup:
    """A simulated account, and its account as the gateway knows it."""

    dashscope: SimulatedDashScope
    upstream: Upstream


Follow = Callable[[str], Awaitable[None]]
"""Waits until the end of a task was noticed."""


def official() -> Iterator[float]:
    """Pause as DashScope's SDK 1.x does (dashscope.md 10)."""
    yield from (1, 1, 2, 2, 2, 4, 4, 4)
    yield from itertools.repeat(5)


def fixed(seconds: float) -> Iterator[float]:
    return itertools.repeat(seconds)


class Alone:
    """Each task is fetched by a loop of its own, whatever the others do."""

    def __init__(self, pauses: Callable[[], Iterator[float]]) -> None:
        self._pauses = pauses

    @asynccontextmanager
    async def open(self, table: PollingSetup) -> AsyncIterator[Follow]:
        yield partial(self._loop, table)

    async def _loop(self, table: PollingSetup, task_id: str) -> None:
        for pause in self._pauses():
            await asyncio.sleep(pause)
            try:
                task = await table.dashscope.fetch(table.upstream, task_id)
            except GatewayError:
                continue
            if task.status.ended:
                return


class Ours:
    """gateway.polling, as the gateway runs it."""

    @asynccontextmanager
    async def open(self, table: PollingSetup) -> AsyncIterator[Follow]:
        clock, account, durations = LoopClock(), table.upstream.account, Durations()
        poller = Poller(
            account,
            limiter=RateLimiter(account.polls_per_second, clock),
            dashscope=table.dashscope,
            clock=clock,
            durations=durations,
            observer=quiet_observer(),
        )

        async def follow(task_id: str) -> None:
            watch = poller.watch(table.upstream, task_id, _KIND)
            await poller.end_of(watch)
            poller.forget(watch)

        async with asyncio.TaskGroup() as group:
            running = group.create_task(poller.run())
            yield follow
            running.cancel()


_SCHEDULES: dict[str, Alone | Ours] = {
    "official SDK": Alone(official),
    "every 3 s": Alone(partial(fixed, 3.0)),
    "every 10 s": Alone(partial(fixed, 10.0)),
    "ours": Ours(),
}


def play(scene: Scenario, schedule: Alone | Ours) -> LagReport:
    """Simulate *scene* until its edits have ended, and count."""
    outcome: LagReport = warped(lambda: _play(scene, schedule))
    return outcome


async def _play(scene: Scenario, schedule: Alone | Ours) -> LagReport:
    dashscope = SimulatedDashScope(
        seconds=scene.draw,
        slots=scene.running,
        listing=scene.listing,
        clock_error=scene.clock_error,
        failing=scene.failing,
        calls_per_second=scene.limit,
    )
    account = Account(
        "acct", "beijing", running_tasks=scene.slots or scene.running, pending_ahead=scene.ahead
    )
    table = PollingSetup(dashscope, Upstream("main", _REGION, account, key=""))
    outcome = LagReport(begun=scene.edits)
    numbers = itertools.count()
    over = asyncio.Event()
    open_ids: set[str] = set()

    async def client(follow: Follow) -> None:
        await asyncio.sleep(dashscope.chance.uniform(0, 5))
        while True:
            task_id = dashscope.begin()
            open_ids.add(task_id)
            await follow(task_id)
            open_ids.discard(task_id)
            number = next(numbers)
            if scene.warm and number == scene.warm:
                outcome.calls = -dashscope.calls.total()
            if scene.then is not None and number == scene.warm + scene.edits // 2:
                dashscope.seconds = scene.then
            if scene.warm <= number < scene.warm + scene.edits:
                lag = asyncio.get_running_loop().time() - dashscope.tasks_by_id[task_id].ended
                outcome.lags.append(lag)
            if number + 1 == scene.warm + scene.edits:
                over.set()
            await asyncio.sleep(0.2)

    async with schedule.open(table) as follow, asyncio.TaskGroup() as group:
        clients = [group.create_task(client(follow)) for _ in range(scene.running + scene.ahead)]
        await over.wait()
        outcome.calls += dashscope.calls.total()
        now = asyncio.get_running_loop().time()
        outcome.lost = sum(dashscope.tasks_by_id[one].ended < now - 60.0 for one in open_ids)
        for one in clients:
            one.cancel()
    outcome.most_in_a_second, outcome.throttled = dashscope.most_in_a_second, dashscope.throttled
    return outcome


def _scenes() -> list[Scenario]:
    return [
        Scenario(
            f"{n} running, {shape}", n, draw, edits=3_000 if n == 1 else max(400, 12 * n), warm=260
        )
        for shape, draw in _SHAPES.items()
        for n in (1, 5, 40, 100)
    ]


def _hard_scenes() -> list[Scenario]:
    slow, fast = _uniform(45, 270), _uniform(5, 30)
    few = partial(Scenario, edits=400)
    lists = {
        "2 s stale": Listing(stale=2.0),
        "10 rows a page": Listing(page_size=10),
        "10 a page, any order": Listing(page_size=10, shuffled=True),
        "stale, 10, any order": Listing(stale=2.0, page_size=10, shuffled=True),
        "one page, says all": Listing(page_size=10, honest=False),
        "empty": Listing(stale=1e6),
        "stops": Listing(stops_at=1_400.0),
        "refused": Listing(refused=True),
    }
    return [
        *(
            Scenario(f"{n} running, list {how}", n, listing=listing, edits=max(400, 10 * n))
            for how, listing in lists.items()
            for n in (5, 40, 100)
        ),
        *(Scenario(f"{n} running, cold start", n, warm=0, edits=max(30, n)) for n in (1, 5, 40)),
        *(few(f"{n} running, become 3 x faster", n, then=fast) for n in (1, 5, 40)),
        *(few(f"{n} running, become 3 x slower", n, then=slow) for n in (1, 5, 40)),
        *(few(f"{n} running, of 0.2-3 s", n, _uniform(0.2, 3), warm=0) for n in (1, 5, 10)),
        *(
            few(
                f"{n} running, short: {seconds} s",
                n,
                _uniform(0.9 * seconds, 1.1 * seconds),
                warm=40,
            )
            for seconds in (0.3, 1, 3)
            for n in (1, 2, 5, 8)
        ),
        few("5 running, 1 waits ahead", 5, ahead=1),
        few("5 running, 30 wait ahead", 5, ahead=30),
        few("5 running, 30 ahead, refused", 5, ahead=30, listing=Listing(refused=True)),
        few("3 running, 10 thought, 7 ahead", 3, ahead=7, slots=10),
        *(few(f"{n} running, a fifth of calls fails", n, failing=0.2) for n in (1, 5, 40)),
        few("40 running, refused, limit 10, not 20", 40, listing=Listing(refused=True), limit=10),
        few("5 running, clock 1.5 s ahead", 5, clock_error=1.5),
        few("40 running, clock 1.5 s behind", 40, clock_error=-1.5),
    ]


_HEAD = (
    f"{'':38}{'':13}{'lag mean':>9}{'p95':>7}{'max':>7}{'calls':>7}"
    f"{'most/s':>7}{'throttled':>10}{'lost':>5}"
)


def _show(name: str, schedule: str, values: LagReport) -> None:
    print(
        f"{name:38}{schedule:13}{values.mean:9.2f}{values.p95:7.2f}{max(values.lags):7.2f}"
        f"{values.calls_per_edit:7.1f}{values.most_in_a_second:7}{values.throttled:10}{values.lost:5}",
        flush=True,
    )


def main() -> int:
    reader = argparse.ArgumentParser(description="Polling schedules compared, on simulated time.")
    reader.add_argument("--quick", action="store_true", help="a tenth of the edits")
    reader.add_argument("--only", default="", help="scenes whose name contains this")
    reader.add_argument("--ours", action="store_true", help="leave the other schedules out")
    args = reader.parse_args()
    began = time.perf_counter()
    print(f"Python {platform.python_version()}; lag in seconds; calls per edit, lists included")
    print(_HEAD)
    compared = [(scene, name) for scene in _scenes() for name in _SCHEDULES]
    for scene, name in [*compared, *((scene, "ours") for scene in _hard_scenes())]:
        if args.only not in scene.name or (args.ours and name != "ours"):
            continue
        played = scene
        if args.quick:
            played = replace(scene, edits=max(30, scene.edits // 10), warm=scene.warm // 4)
        _show(scene.name, name, play(played, _SCHEDULES[name]))
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
