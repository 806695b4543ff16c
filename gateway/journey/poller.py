"""Looking after an account's running tasks: one loop, one budget, no task per poll."""

import asyncio
import heapq
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, Throttled
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Account, Upstream
from gateway.journey.pace import Pace
from gateway.journey.ports import DashScope, Observer
from gateway.journey.schedule import Durations, Kind, pause

_LOOKS_AT_ONCE = 32
_DOUBTED_SECONDS = 10.0  # a task younger than this may be unknown only because it is new


@dataclass(slots=True, eq=False)
class Watch:
    """One task until its end."""

    upstream: Upstream
    task_id: str
    kind: Kind
    since: float
    """When it was accepted, on the monotonic clock."""
    ended: "asyncio.Future[Task]"
    status: TaskStatus = TaskStatus.PENDING
    polls: int = 0
    missed: int = 0
    unknown: int = 0


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    watch: Watch = field(compare=False)


class Poller:
    """
    Fetches each watched task when an end is likely, never above the account's call rate.

    A look that fails is repeated later: it never loses a task.
    """

    def __init__(
        self,
        account: Account,
        *,
        calls: Pace,
        dashscope: DashScope,
        clock: Clock,
        durations: Durations,
        observer: Observer,
    ) -> None:
        self._account = account
        self._calls = calls
        self._dashscope = dashscope
        self._clock = clock
        self._durations = durations
        self._observer = observer
        self._due: list[_Due] = []
        self._number = 0
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(_LOOKS_AT_ONCE)

    def watch(self, upstream: Upstream, task_id: str, kind: Kind, *, age: float = 0.0) -> Watch:
        """Begin to look after a task; ``await watch.ended`` gives it ended."""
        watch = Watch(
            upstream=upstream,
            task_id=task_id,
            kind=kind,
            since=self._clock.now() - age,
            ended=asyncio.get_running_loop().create_future(),
        )
        self._plan(watch, self._next_pause(watch))
        return watch

    async def run(self) -> None:
        """Look for ever; ends by being cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                watch = await self._next()
                await self._room.acquire()
                await self._calls.turn()
                looks.create_task(self._look(watch))

    async def _next(self) -> Watch:
        """Wait for the first due watch that has not ended."""
        while True:
            self._news.clear()
            while self._due and self._due[0].watch.ended.done():
                heapq.heappop(self._due)
            wait = self._due[0].at - self._clock.now() if self._due else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self._due).watch
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _plan(self, watch: Watch, wait: float) -> None:
        self._number += 1
        due = _Due(self._clock.now() + wait, self._number, watch)
        heapq.heappush(self._due, due)
        if self._due[0] is due:
            self._news.set()

    async def _look(self, watch: Watch) -> None:
        try:
            watch.polls += 1
            self._observer.poll_budget_used(self._account.name, self._calls.used)
            task = await self._dashscope.fetch(watch.upstream, watch.task_id)
        except GatewayError as error:
            self._missed(watch, error)
        else:
            self._seen(watch, task)
        finally:
            self._room.release()

    def _missed(self, watch: Watch, error: GatewayError) -> None:
        """Take a failed look for what it is: nothing is known, so ask again later."""
        if isinstance(error, Throttled):
            self._calls.throttled()
            self._observer.upstream_throttled(self._account.region, "poll")
        watch.missed += 1
        self._plan(watch, min(10.0, 0.5 * 2 ** min(watch.missed, 5)))

    def _seen(self, watch: Watch, task: Task) -> None:
        watch.missed = 0
        doubted = task.status is TaskStatus.UNKNOWN and self._doubt(watch)
        if watch.ended.done():
            return
        if task.status.ended and not doubted:
            watch.status = task.status
            watch.ended.set_result(task)
            return
        if not doubted and task.status is not watch.status:
            self._observer.task_state(
                self._account.region, watch.status.lower(), task.status.lower()
            )
            watch.status = task.status
        self._plan(watch, 2.0 if doubted else self._next_pause(watch))

    def _doubt(self, watch: Watch) -> bool:
        """Say whether an UNKNOWN may only mean that the task is too new to be seen."""
        watch.unknown += 1
        return self._clock.now() - watch.since < _DOUBTED_SECONDS and watch.unknown < 3

    def _next_pause(self, watch: Watch) -> float:
        age = self._clock.now() - watch.since
        return pause(self._durations.known(watch.kind), age)
