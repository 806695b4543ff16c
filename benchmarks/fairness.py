"""
What a crowd does to its neighbour in one account's queue, and whether the announced wait holds.

``python -m benchmarks.fairness`` runs gateway.edits.service as it is, on simulated time with fixed
seeds, against a simulated account; ``--quick`` runs an eighth of it.
"""

import argparse
import asyncio
import platform
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean, median
from typing import cast

from benchmarks.simulation import LoopClock, Nothing, SimulatedDashScope, quiet_observer, warped
from gateway.config.model_table import built_in_models
from gateway.domain.clock import Phases
from gateway.domain.edit import Edit, OutputOptions, Picture, ResponseFormat
from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.fair_queue import FairQueue
from gateway.edits.lifecycle import Stage
from gateway.edits.ports import Finisher, Ledger, MaskSources, Ports, PromisedEdits, ResultUrls
from gateway.edits.request import EditRequest
from gateway.edits.service import EditService

_RUNNING = 5
_LEAST, _MOST = 15.0, 90.0
_BETWEEN = 52.5  # seconds from one edit of A to the next: a fifth of what the account can do
_LONG = 1e6
_UPSTREAM = Upstream(
    "main", Region("beijing", "https://beijing.test", ()), Account("acct", "beijing"), key=""
)
_ANSWER = OutputOptions(ResponseFormat.URL)
_PICTURE = (Picture(content=b"picture", media_type="image/png"),)

_tenant = partial(Tenant, region="beijing", upstreams=(_UPSTREAM,))


@dataclass(frozen=True, slots=True)
class Source:
    """A tenant, and how it sends: *between* seconds apart on average."""

    tenant: Tenant
    between: float
    n: int = 1
    steady: bool = False
    """Apart by half to one and a half of that; otherwise at random moments (Poisson)."""

    def gap(self, chance: random.Random) -> float:
        if self.steady:
            return self.between * chance.uniform(0.5, 1.5)
        return chance.expovariate(1 / self.between)


@dataclass(frozen=True, slots=True)
class TrafficMix:
    name: str
    ours: Source
    crowd: tuple[Source, ...] = ()


@dataclass(slots=True)
class Waits:
    """What the edits of one tenant went through, in seconds."""

    queue: list[float] = field(default_factory=list)
    """From asking to the submit."""
    start: list[float] = field(default_factory=list)
    """From asking to the moment it begins to run."""
    forecasts: list[tuple[float, float]] = field(default_factory=list)
    """Of those that queued: the wait that a 429 would have announced, and what came."""
    refused: int = 0


class FairnessSimulation:
    """One account, a service before it, and tenants that send."""

    def __init__(self) -> None:
        self._clock = LoopClock()
        self._simulated = SimulatedDashScope(
            seconds=lambda chance: chance.uniform(_LEAST, _MOST), slots=_RUNNING, clock=self._clock
        )
        self._number = 0
        self.lengths: list[float] = []

    async def play(self, case: TrafficMix, seconds: float) -> dict[str, Waits]:
        sources = (case.ours, *case.crowd)
        waits = {source.tenant.name: Waits() for source in sources}
        bugs: list[BaseException] = []
        service = EditService(
            tenants=[source.tenant for source in sources],
            ports=Ports(
                dashscope=self._simulated,
                ledger=cast("Ledger", Nothing()),
                result_urls=cast("ResultUrls", Nothing()),
                promises=cast("PromisedEdits", Nothing()),
                mask_sources=cast("MaskSources", Nothing()),
                finisher=cast("Finisher", Nothing()),
                clock=self._clock,
                models=built_in_models(),
                observer=quiet_observer(),
            ),
            on_bug=bugs.append,
        )
        async with service, asyncio.TaskGroup() as group:
            sending = [
                group.create_task(self._send(service, source, waits[source.tenant.name], seed))
                for seed, source in enumerate(sources)
            ]
            await self._clock.sleep(seconds)
            for one in sending:
                one.cancel()
        assert not bugs, bugs
        self.lengths = [task.seconds for task in self._simulated.tasks_by_id.values()]
        return waits

    async def _send(self, service: EditService, source: Source, waits: Waits, seed: int) -> None:
        chance = random.Random(seed)
        async with asyncio.TaskGroup() as clients:
            while True:
                await self._clock.sleep(source.gap(chance))
                clients.create_task(self._client(service, source, waits))

    async def _client(self, service: EditService, source: Source, waits: Waits) -> None:
        self._number += 1
        started = self._clock.now()
        request = EditRequest(
            tenant=source.tenant,
            edit=Edit(model="wan", prompt=f"{self._number} cats", n=source.n, output=_ANSWER),
            pictures=_PICTURE,
            digest=f"{self._number:064x}",
            patience=_LONG,
            phases=Phases(started),
        )
        try:
            async with service.attend(request) as waiter:
                await asyncio.sleep(0)  # it takes its place meanwhile
                await asyncio.sleep(0)
                announced = self._announced_wait(service, waiter.active)
                await waiter.answer()
                await waiter.delivered()
        except RateLimited:
            waits.refused += 1
            return
        task = self._simulated.tasks_by_id[waiter.status.task_ids[0]]
        waits.queue.append(task.submitted - started)
        waits.start.append(task.scheduled - started)
        if announced is not None:
            waits.forecasts.append((announced, task.submitted - started))

    def _announced_wait(self, service: EditService, active: ActiveEdit) -> float | None:
        return service.expected_rest(active) if active.life.stage is Stage.WAITING else None


def _cases() -> list[TrafficMix]:
    ours = Source(_tenant("A"), _BETWEEN, steady=True)
    random_ours, rare = replace(ours, steady=False), replace(ours, between=4 * _BETWEEN)
    crowd = partial(Source, between=_BETWEEN / 100)
    short = _tenant("B", max_waiting=20)
    nine = tuple(
        Source(_tenant(f"B{number}", max_waiting=20), _BETWEEN / 2.75) for number in range(9)
    )
    return [
        TrafficMix("A alone", ours),
        TrafficMix("B sends 100 x as much, 1000 in the queue", ours, (crowd(_tenant("B")),)),
        TrafficMix("B sends 100 x as much, 20 in the queue", ours, (crowd(short),)),
        TrafficMix(
            "the same, A has weight 2, B 1",
            replace(ours, tenant=_tenant("A", weight=2)),
            (crowd(short),),
        ),
        TrafficMix("the same, A has weight 1, B 2", ours, (crowd(replace(short, weight=2)),)),
        TrafficMix(
            "the same, B has max_running = 4", ours, (crowd(replace(short, max_running=4)),)
        ),
        TrafficMix("the same, edits of B have n = 4", ours, (crowd(short, n=4),)),
        TrafficMix("A at random moments, alone", random_ours),
        TrafficMix("A at random moments, B 100 x", random_ours, (crowd(short),)),
        TrafficMix("A alone, a quarter as much", rare),
        TrafficMix("9 tenants, each 11 x", rare, nine),
    ]


def _at(share: float, seconds: Iterable[float]) -> float:
    samples = sorted(seconds)
    return samples[int(share * len(samples))] if samples else 0.0


def _show(name: str, waits: Waits, base: float | None) -> None:
    moved = "" if base is None else f"{_at(0.95, waits.start) - base:+9.1f}"
    shown = "".join(
        f"{_at(0.5, one):8.1f}{_at(0.95, one):7.1f}{max(one, default=0.0):7.1f}"
        for one in (waits.queue, waits.start)
    )
    print(f"{name:38}{len(waits.queue):6}{waits.refused:8}{shown}{moved}", flush=True)


def _ratios(waits: Waits) -> str:
    """Say how the announced waits compare with what came, for edits that waited 1 s and more."""
    ratios = [announced / actual for announced, actual in waits.forecasts if actual >= 1.0]
    if not ratios:
        return "nobody queued"
    near = sum(0.5 <= ratio <= 2.0 for ratio in ratios) / len(ratios)
    middle = f"median {median(ratios):5.2f}, half of them {_at(0.25, ratios):5.2f}"
    return f"{middle} to {_at(0.75, ratios):5.2f}, within 2 x {near:4.0%} of {len(ratios)}"


def _compare(seconds: float) -> None:
    print(
        f"A's waits in s over {seconds:.0f} s: queued, and until its task runs; B's are not shown"
    )
    print(f"{'':38}{'edits':>6}{'refused':>8}{'p50':>8}{'p95':>7}{'max':>7}{'p50':>8}", end="")
    print(f"{'p95':>7}{'max':>7}{'moved p95':>10}")
    text: list[str] = []
    lengths: list[float] = []
    base: float | None = None
    for case in _cases():
        simulation = FairnessSimulation()
        waits: dict[str, Waits] = warped(partial(simulation.play, case, seconds))
        lengths += simulation.lengths
        ours = waits.pop("A")
        _show(case.name, ours, base if case.crowd else None)
        if not case.crowd:
            base = _at(0.95, ours.start)
        values = {"A": ours}
        if case.crowd:
            values["B"] = Waits(
                forecasts=[pair for one in waits.values() for pair in one.forecasts]
            )
        text += [f"{case.name:38}{name}: {_ratios(one)}" for name, one in values.items()]
    print(f"one task's time: {mean(lengths):.1f} s on average\n")
    print("The announced wait over the wait that came")
    print("\n".join(text))


async def _pass_through(tenants: int, edits: int) -> float:
    """Return the CPU seconds of one edit's way through a line in which all wait at once."""
    queue = FairQueue(_RUNNING)
    names = [_tenant(f"{number}", max_waiting=edits) for number in range(tenants)]

    async def one(number: int) -> None:
        async with queue.slot(queue.issue_ticket(names[number % tenants], 1)):
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(edits):
            group.create_task(one(number))
        began = time.process_time()
    return (time.process_time() - began) / edits


def _costs(edits: int) -> None:
    print(f"\nCPU of one edit through the queue while {edits} wait, asyncio's share included")
    for tenants in (1, 10, 200, 1000):
        best = min(asyncio.run(_pass_through(tenants, edits)) for _ in range(3))
        print(f"{tenants:6} tenants {1e6 * best:6.1f} us")


def main() -> int:
    reader = argparse.ArgumentParser(
        description="A crowd in the queue, and the wait that is announced."
    )
    reader.add_argument("--quick", action="store_true", help="an eighth of the time")
    args = reader.parse_args()
    print(f"Python {platform.python_version()}; {_RUNNING} running, tasks of 15-90 s")
    _compare(5_000.0 if args.quick else 40_000.0)
    _costs(1_000 if args.quick else 10_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
