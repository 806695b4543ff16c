"""A poller at work in its world, how often it looks, and a list that is slow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.domain.task import Task, TaskPage
from gateway.domain.tenant import Account
from gateway.edits.poller import Poller
from gateway.polling.limiter import RateLimiter
from gateway.polling.schedule import Durations, Kind
from tests.fakes import FakeDashScope, Run, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

KIND = Kind("wan2.5-i2i-preview", 1, -1)


@dataclass(slots=True)
class Room:
    """A poller at work in its world."""

    clock: WarpClock
    world: FakeDashScope
    durations: Durations
    observer: RecordingObserver
    limiter: RateLimiter
    poller: Poller

    async def follow(self, run: Run, *, age: float = 0.0) -> tuple[Task, float]:
        """Watch a new task; return it as ended, and how late that was seen."""
        task_id = self.world.stranger("a cat", run=run)
        watch = self.poller.watch(an_upstream(), task_id, KIND, age=age)
        task = await watch.ended
        fake = self.world.tasks_by_id[task_id]
        ended = self.world._times(fake)[1]
        return task, self.clock.now() - ended


@asynccontextmanager
async def at_work(
    account: Account | None = None,
    *,
    running_limit: int = 0,
    world: type[FakeDashScope] = FakeDashScope,
) -> AsyncIterator[Room]:
    account = account or an_account()
    clock = WarpClock()
    room = Room(
        clock=clock,
        world=world(clock, running_limit=running_limit),
        durations=Durations(),
        observer=RecordingObserver(),
        limiter=(limiter := RateLimiter(account.polls_per_second, clock)),
        poller=None,  # type: ignore[arg-type]  # set in the next line
    )
    room.poller = Poller(
        account,
        calls=limiter,
        dashscope=room.world,
        clock=clock,
        durations=room.durations,
        observer=room.observer,
    )
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(room.poller.run())
        try:
            yield room
        finally:
            loop.cancel()


def looks(room: Room) -> int:
    return sum(1 for call in room.world.calls if call.operation in ("fetch", "tasks"))


class SlowList(FakeDashScope):
    """The list takes ten seconds."""

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        await self.clock.sleep(10.0)
        return page
