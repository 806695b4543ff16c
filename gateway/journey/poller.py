"""
Looking after an account's running tasks: one loop, one budget, no task per poll.

Few tasks are fetched one by one, each when its end is likely. Many are looked at together
by one list call; those that it no longer shows as running are fetched. Every wait comes
from the durations that were measured. docs/polling.md has the reasons and the figures.
"""

import asyncio
import heapq
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, Throttled
from gateway.domain.task import Task, TaskRow, TaskStatus
from gateway.domain.tenant import Account, Upstream
from gateway.journey.glance import Glances
from gateway.journey.pace import Pace
from gateway.journey.ports import DashScope, Observer
from gateway.journey.schedule import Durations, Kind, pause
from gateway.journey.watch import Watch

_LOOKS_AT_ONCE = 32
_DOUBTED_SECONDS = 10.0  # a task younger than this may be unknown only because it is new
_SAFETY_SECONDS = 45.0  # between fetches of a task that the list goes on to call running
_PAGE_SIZE = 100
_MOST_PAGES = 20


@dataclass(order=True, slots=True)
class _Plan:
    at: float
    number: int
    watch: Watch = field(compare=False)


class Poller:
    """
    Sees each watched task's end soon after it came, never above the account's call rate.

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
        self._watches: dict[str, Watch] = {}
        self._plans: list[_Plan] = []
        self._number = 0
        self._glances = Glances()
        self._glance_at = 0.0
        self._glancing = False
        self._together = False
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
        self._watches[task_id] = watch
        watch.ended.add_done_callback(lambda _: self._forget(watch))
        self._plan_next(watch)
        self._news.set()
        return watch

    async def run(self) -> None:
        """Look for ever; ends by being cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                watch = await self._next()
                await self._room.acquire()
                await self._calls.turn()
                self._observer.poll_budget_used(self._account.name, self._calls.used)
                looks.create_task(self._glance() if watch is None else self._look(watch))

    async def _next(self) -> Watch | None:
        """Wait for the next look: at one task, or (``None``) at the list."""
        while True:
            self._news.clear()
            self._choose_manner()
            now = self._clock.now()
            plan = self._first_plan()
            if plan is not None and plan.at <= now:
                heapq.heappop(self._plans)
                plan.watch.plan, plan.watch.looking = 0, True
                return plan.watch
            times = [plan.at] if plan is not None else []
            if self._together and not self._glancing:
                if self._glance_at <= now:
                    self._glancing = True
                    return None
                times.append(self._glance_at)
            try:
                async with asyncio.timeout(min(times) - now if times else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _choose_manner(self) -> None:
        """Look at all together while that pays; on a change, plan every task anew."""
        together = self._glances.pay(len(self._watches), self._clock.now())
        if together == self._together:
            return
        self._together = together
        if together:
            self._glance_at = min(self._glance_at, self._clock.now() + 1.0)
        for watch in self._watches.values():
            if not watch.looking:
                self._plan_next(watch)

    def _first_plan(self) -> _Plan | None:
        while self._plans:
            plan = self._plans[0]
            if plan.watch.plan == plan.number and not plan.watch.ended.done():
                return plan
            heapq.heappop(self._plans)
        return None

    def _plan(self, watch: Watch, wait: float) -> None:
        """Plan the next fetch of *watch*; an earlier plan of it is void."""
        self._number += 1
        watch.plan = self._number
        heapq.heappush(self._plans, _Plan(self._clock.now() + wait, self._number, watch))
        self._news.set()

    def _plan_next(self, watch: Watch) -> None:
        age = self._clock.now() - watch.since
        known = self._durations.known(watch.kind)
        wait = pause(known, age)
        if self._together:
            # The list sees the end; a fetch only guards against a list that does not.
            wait = max(_SAFETY_SECONDS, wait)
        self._plan(watch, wait)

    def _forget(self, watch: Watch) -> None:
        self._watches.pop(watch.task_id, None)
        watch.plan = 0

    async def _look(self, watch: Watch) -> None:
        try:
            watch.polls += 1
            task = await self._dashscope.fetch(watch.upstream, watch.task_id)
        except GatewayError as error:
            watch.looking = False
            self._missed(watch, error)
        else:
            watch.looking = False
            self._seen(watch, task)
        finally:
            self._room.release()

    async def _glance(self) -> None:
        """Look at all running tasks by the list, and fetch those that are gone from it."""
        started = self._clock.now()
        try:
            rows = await self._rows()
        except GatewayError as error:
            if isinstance(error, Throttled):
                self._throttled("list")
                self._glance_at = started + 2.0
            else:
                self._glances.refused(started)
        else:
            slots = self._account.running_tasks
            for watch in self._glances.read(rows, self._watches.values(), slots, started):
                if not watch.looking:
                    self._plan(watch, 0.0)
            rest = self._glances.pause(self._watches.values(), self._durations, started)
            self._glance_at = started + rest
        finally:
            self._glancing = False
            self._room.release()
            self._news.set()

    async def _rows(self) -> list[TaskRow]:
        """Return the account's running tasks; page by page if upstream's pages are small."""
        oldest = min(self._watches.values(), key=lambda w: w.since, default=None)
        if oldest is None:
            return []
        offset = self._dashscope.clock_offset(oldest.upstream.region.name)
        until = self._clock.epoch() + offset + 60.0
        since = until - 120.0 - min(23 * 3600.0, self._clock.now() - oldest.since)
        rows: list[TaskRow] = []
        for number in range(1, _MOST_PAGES + 1):
            if number > 1:
                await self._calls.turn()
            page = await self._dashscope.tasks(
                oldest.upstream,
                since=since,
                until=until,
                status=TaskStatus.RUNNING,
                page=number,
                page_size=_PAGE_SIZE,
            )
            rows.extend(page.rows)
            self._glances.pages = max(1, min(page.pages, _MOST_PAGES))
            if number >= page.pages or not page.rows:
                break
        return rows

    def _missed(self, watch: Watch, error: GatewayError) -> None:
        """Take a failed look for what it is: nothing is known, so ask again later."""
        if isinstance(error, Throttled):
            self._throttled("poll")
        watch.missed += 1
        self._plan(watch, min(10.0, 0.5 * 2 ** min(watch.missed, 5)))

    def _throttled(self, operation: str) -> None:
        self._calls.throttled()
        self._observer.upstream_throttled(self._account.region, operation)

    def _seen(self, watch: Watch, task: Task) -> None:
        watch.missed = 0
        if watch.ended.done():
            return
        if task.status is TaskStatus.UNKNOWN and self._doubt(watch):
            self._plan(watch, 2.0)
            return
        if task.status.ended:
            if self._together:
                self._glances.confirmed(watch, self._lag(watch, task), self._clock.now())
            watch.ended.set_result(task)
            return
        if task.status is not watch.status:
            region = self._account.region
            self._observer.task_state(region, watch.status.lower(), task.status.lower())
            watch.status = task.status
        if self._together:
            self._glances.confirmed(watch, None, self._clock.now())
        self._plan_next(watch)

    def _lag(self, watch: Watch, task: Task) -> float:
        """Return how old the end is, by upstream's clock; 0 if it does not tell."""
        if task.times.ended is None:
            return 0.0
        offset = self._dashscope.clock_offset(watch.upstream.region.name)
        return max(0.0, self._clock.epoch() + offset - task.times.ended)

    def _doubt(self, watch: Watch) -> bool:
        """Say whether an UNKNOWN may only mean that the task is too new to be seen."""
        watch.unknown += 1
        return self._clock.now() - watch.since < _DOUBTED_SECONDS and watch.unknown < 3
