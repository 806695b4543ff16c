"""
What 10,000 edits held at once cost: memory of each, CPU of all, tasks and timers of the loop.

``python -m benchmarks.held`` runs every case in a process of its own, on real time, against a
DashScope inside the process (benchmarks.simulation). Pictures are left out: all edits share one.
"""

import argparse
import asyncio
import gc
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

from benchmarks.simulation import LoopClock, Nothing, SimulatedDashScope, quiet_observer
from gateway.config.model_table import built_in_models
from gateway.domain.clock import Phases
from gateway.domain.edit import Edit, OutputOptions, Picture, ResponseFormat
from gateway.domain.task import TaskPage, TaskRow, TaskStatus
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.edits.ports import (
    DashScope,
    Finisher,
    Ledger,
    MaskSources,
    Ports,
    PromisedEdits,
    ResultUrls,
)
from gateway.edits.request import EditRequest
from gateway.edits.service import EditService

_REGION = Region("beijing", "https://beijing.test", ())
_ANSWER = OutputOptions(ResponseFormat.URL)
_PICTURE = (Picture(content=b"picture", media_type="image/png"),)


@dataclass(frozen=True, slots=True)
class HeldLoad:
    accounts: int
    tenants: int
    """Of each account."""
    running: int
    """The running limit of each account."""
    seconds: tuple[float, float]
    """Between which the length of a task lies."""


_CASES = {
    "1 account, all running": HeldLoad(1, 200, 10_000, (300, 600)),
    "1 account, 5 run, the rest waits": HeldLoad(1, 200, 5, (15, 90)),
    "100 accounts, all running": HeldLoad(100, 2, 100, (300, 600)),
    "100 accounts, 5 run, the rest waits": HeldLoad(100, 2, 5, (15, 90)),
}


@dataclass(slots=True)
class _CheapDashScope(SimulatedDashScope):
    """An account whose list costs little, so that what is measured is the gateway."""

    rows: list[TaskRow] = field(default_factory=list)

    def begin(self) -> str:
        task_id = SimulatedDashScope.begin(self)
        self.rows.append(TaskRow(task_id, TaskStatus.RUNNING, "wan", 0.0))
        return task_id

    def rows_of(self, since: float, until: float, status: TaskStatus | None) -> list[TaskRow]:
        if self.slots > 5:
            return self.rows  # nothing ends while we measure
        return SimulatedDashScope.rows_of(self, since, until, status)


class _ManyDashScopes:
    """Answers gateway.edits.ports.DashScope for many accounts."""

    def __init__(self, case: HeldLoad) -> None:
        self.accounts = [
            _CheapDashScope(
                seconds=lambda chance: chance.uniform(*case.seconds),
                slots=case.running,
                chance=random.Random(number),
                name=f"task-{number}",
            )
            for number in range(case.accounts)
        ]

    def clock_known(self, region: str) -> bool:  # noqa: ARG002 - it is asked nothing before a submit
        return True

    def clock_offset(self, _region: str) -> float:
        return 0.0

    async def upload(self, upstream: Upstream, *given: Any) -> object:
        return await self._dashscope_of(upstream).upload(upstream, *given)

    async def submit(self, upstream: Upstream, *given: Any) -> object:
        return await self._dashscope_of(upstream).submit(upstream, *given)

    async def fetch(self, upstream: Upstream, task_id: str) -> object:
        return await self._dashscope_of(upstream).fetch(upstream, task_id)

    async def tasks(self, upstream: Upstream, **given: Any) -> TaskPage:
        return await self._dashscope_of(upstream).tasks(upstream, **given)

    def _dashscope_of(self, upstream: Upstream) -> _CheapDashScope:
        return self.accounts[int(upstream.name)]


def _tenants(case: HeldLoad) -> list[Tenant]:
    tenants = []
    for number in range(case.accounts):
        account = Account(
            f"account-{number}", "beijing", submits_per_second=2_000, running_tasks=case.running
        )
        upstream = Upstream(str(number), _REGION, account, key="")
        tenants += [
            Tenant(f"tenant-{number}-{of}", "beijing", (upstream,), max_waiting=100_000)
            for of in range(case.tenants)
        ]
    return tenants


async def _cost_of_calls(case: HeldLoad) -> float:
    """Return the CPU seconds that a call costs DashScope's double alone, at the same pace."""
    dashscope, clock = _ManyDashScopes(case), LoopClock()
    for account in dashscope.accounts:
        account.calls_per_second = 10_000
        for _ in range(min(100, case.running)):
            account.begin()
    calls, per_second = 2_000, 200

    async def call(number: int) -> None:
        await clock.sleep(number / per_second)
        until = clock.epoch() + 60.0
        account = dashscope.accounts[number % len(dashscope.accounts)]
        if number % 2 and case.running <= 5:
            await account.fetch(cast("Upstream", None), next(iter(account.tasks_by_id)))
        else:
            await account.tasks(cast("Upstream", None), since=0.0, until=until)

    spent = time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(call(number))
    return (time.process_time() - spent) / calls


def _memory() -> int:
    """Return the resident bytes of this process."""
    gc.collect()
    with open("/proc/self/statm") as reported:  # noqa: PTH123 - one line of /proc
        return int(reported.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _hold(case: HeldLoad, edits: int, seconds: float, call_seconds: float) -> None:
    clock, dashscope, tenants = LoopClock(), _ManyDashScopes(case), _tenants(case)
    bugs: list[BaseException] = []
    service = EditService(
        tenants=tenants,
        ports=Ports(
            dashscope=cast("DashScope", dashscope),
            ledger=cast("Ledger", Nothing()),
            result_urls=cast("ResultUrls", Nothing()),
            promises=cast("PromisedEdits", Nothing()),
            mask_sources=cast("MaskSources", Nothing()),
            finisher=cast("Finisher", Nothing()),
            clock=clock,
            models=built_in_models(),
            observer=quiet_observer(),
        ),
        on_bug=bugs.append,
    )

    async def client(number: int) -> None:
        request = EditRequest(
            tenant=tenants[number % len(tenants)],
            edit=Edit(model="wan2.5-i2i-preview", prompt=f"{number} cats", output=_ANSWER),
            pictures=_PICTURE,
            digest=f"{number:064x}",
            patience=540.0,
            phases=Phases(clock.now()),
        )
        async with service.attend(request) as waiter:
            await waiter.answer()
            await waiter.delivered()

    async with service:
        before = _memory()
        async with asyncio.TaskGroup() as group:
            clients = []
            for number in range(edits):
                clients.append(group.create_task(client(number)))
                if number % 100 == 0:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(10.0)
            each = (_memory() - before) / edits
            calls = [account.calls.total() for account in dashscope.accounts]
            spent = time.process_time()
            await asyncio.sleep(seconds)
            share = (time.process_time() - spent) / seconds
            calls = [w.calls.total() - c for w, c in zip(dashscope.accounts, calls, strict=True)]
            begun = sum(len(account.tasks_by_id) for account in dashscope.accounts)
            loop: Any = asyncio.get_running_loop()
            heap: list[asyncio.TimerHandle] = loop.__dict__["_scheduled"]
            timers, void = len(heap), sum(timer.cancelled() for timer in heap)
            running: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
            tasks = Counter(coroutine.__qualname__ for coroutine in running)
            per_second = sum(calls) / seconds
            print(f"  {begun} submitted; {sum(not c.done() for c in clients)} held")
            print(f"  memory of each  {each / 1000:6.1f} KB")
            print(f"  CPU             {100 * share:6.2f} % of a core")
            print(f"  calls a second  {per_second:6.1f}")
            theirs = call_seconds * per_second
            print(f"  its share       {100 * theirs:6.2f} % of a core is DashScope's double")
            print(f"  timers          {timers}, {void} of them void")
            print(f"  tasks           {dict(tasks.most_common(6))}")
            print(f"  bugs            {len(bugs)} {bugs[:1]}", flush=True)
            for one in clients:
                one.cancel()
        os._exit(0)  # what follows is not measured


def main() -> int:
    reader = argparse.ArgumentParser(description="The cost of many edits held at once.")
    reader.add_argument("--case", choices=list(_CASES))
    reader.add_argument("--edits", type=int, default=10_000)
    reader.add_argument("--seconds", type=float, default=20.0, help="of measuring CPU")
    reader.add_argument("--quick", action="store_true", help="1,000 edits, 2 seconds")
    args = reader.parse_args()
    edits, seconds = (1_000, 2.0) if args.quick else (args.edits, args.seconds)
    if args.case:
        print(f"{args.case}, {edits} edits", flush=True)
        chosen = _CASES[args.case]
        call_seconds = asyncio.run(_cost_of_calls(chosen))
        asyncio.run(_hold(chosen, edits, seconds, call_seconds))
        return 0
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    for case in _CASES:
        given = ["--case", case, "--edits", str(edits), "--seconds", str(seconds)]
        subprocess.run([sys.executable, "-m", "benchmarks.held", *given], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
