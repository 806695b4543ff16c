"""A poller that runs against a fake DashScope, and how late it finds the ends of tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.domain.task import Task, TaskPage
from gateway.domain.tenant import Account, Upstream
from gateway.polling.limiter import RateLimiter
from gateway.polling.loop import Poller
from gateway.polling.plan import Watch
from gateway.polling.schedule import Durations, Kind
from tests.fakes import FakeDashScope, Run, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

KIND = Kind("wan2.5-i2i-preview", 1, -1)


@dataclass(slots=True)
class PollerHarness:
    clock: WarpClock
    dashscope: FakeDashScope
    durations: Durations
    observer: RecordingObserver
    limiter: RateLimiter
    poller: Poller

    @property
    def calls(self) -> int:
        """Fetches and lists so far."""
        return self.dashscope.count("fetch") + self.dashscope.count("tasks")

    def watch(self, run: Run | None = None, *, task_id: str = "", age: float = 0.0) -> Watch:
        """Watch *task_id*, or a new task."""
        new = task_id or self.dashscope.stranger("a cat", run=run)
        return self.poller.watch(an_upstream(), new, KIND, age=age)

    async def end_of(self, watch: Watch) -> Task:
        task = await self.poller.end_of(watch)
        assert task is not None
        self.poller.forget(watch)
        return task

    async def follow(self, run: Run, *, age: float = 0.0) -> tuple[Task, float]:
        """Poll a new task to its end; return it, and how late the end was found."""
        watch = self.watch(run, age=age)
        task = await self.end_of(watch)
        fake = self.dashscope.tasks_by_id[watch.task_id]
        return task, self.clock.now() - self.dashscope._times(fake)[1]


@asynccontextmanager
async def running_poller(
    account: Account | None = None,
    *,
    running_limit: int = 0,
    dashscope: type[FakeDashScope] = FakeDashScope,
    failover_for: Callable[[Upstream, GatewayError], Upstream] = lambda upstream, _: upstream,
) -> AsyncIterator[PollerHarness]:
    account = account or an_account()
    clock = WarpClock()
    fake = dashscope(clock, running_limit=running_limit)
    durations = Durations()
    observer = RecordingObserver()
    limiter = RateLimiter(account.polls_per_second, clock)
    poller = Poller(
        account,
        limiter=limiter,
        dashscope=fake,
        clock=clock,
        durations=durations,
        observer=observer,
        failover_for=failover_for,
    )
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(poller.run())
        try:
            yield PollerHarness(clock, fake, durations, observer, limiter, poller)
        finally:
            loop.cancel()


class SlowList(FakeDashScope):
    """The list takes ten seconds."""

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        await self.clock.sleep(10.0)
        return page
