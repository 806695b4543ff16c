"""
Looking after an account's running tasks: one loop, one budget, no task per poll.

Few tasks are fetched one by one, each when its end is likely. Many are looked at together
by one list call; those that it no longer shows as running are fetched. Every wait comes
from the durations that were measured. docs/polling.md has the reasons and the figures.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, Throttled, UpstreamFailed, UpstreamUnavailable
from gateway.domain.task import Task, TaskRow, TaskStatus
from gateway.domain.tenant import Account, Upstream
from gateway.edits.glance import Glances
from gateway.edits.listing import running_tasks
from gateway.edits.ports import DashScope, Observer
from gateway.edits.watch import Watch, Watches
from gateway.polling.limiter import RateLimiter
from gateway.polling.schedule import Durations, Kind, pause, remaining

_LOOKS_AT_ONCE = 32
_DOUBTED_SECONDS = 10.0  # a task younger than this may be unknown only because it is new
_SAFETY_SECONDS = 20.0  # at least so long between fetches of a task that the list takes care of
# At least so long between fetches of a task that by order should not run yet,
_BEHIND_SECONDS = 10.0
_BEHIND_LISTED_SECONDS = 45.0  # and so long when the list would show it running
_SIDELINE = 0.1  # share of the calls that these two may use
_FETCHES = 0.85  # share of the calls that fetches may use; cancels and doubtful submits need some


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
        calls: RateLimiter,
        dashscope: DashScope,
        clock: Clock,
        durations: Durations,
        observer: Observer,
        failover_for: Callable[[Upstream, GatewayError], Upstream] = lambda upstream, _: upstream,
    ) -> None:
        self._account = account
        self._calls = calls
        self._dashscope = dashscope
        self._clock = clock
        self._durations = durations
        self._observer = observer
        self._failover_for = failover_for
        self._watches = Watches(account.running_tasks)
        self._plans: list[_Plan] = []
        self._number = 0
        self._demand = 0.0
        self._glances = Glances(account.polls_per_second)
        self._glance_at = 0.0
        self._glancing = False
        self._together = False
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(_LOOKS_AT_ONCE)

    def watch(self, upstream: Upstream, task_id: str, kind: Kind, *, age: float = 0.0) -> Watch:
        """Begin to look after a task; ``await watch.ended`` gives it ended."""
        since = self._clock.now() - age
        watch = Watch(
            upstream=upstream,
            task_id=task_id,
            kind=kind,
            since=since,
            runs_since=since,
            ended=asyncio.get_running_loop().create_future(),
        )
        self._watches.add(watch)
        watch.ended.add_done_callback(lambda _: self._forget(watch))
        self._plan_next(watch)
        return watch

    async def run(self) -> None:
        """Look for ever; ends by being cancelled. After a bug it may be run again."""
        self._glancing = False
        for left in self._watches:
            if left.looking:
                left.looking = False
                self._plan_next(left)
        async with asyncio.TaskGroup() as looks:
            while True:
                watch = await self._next()
                await self._room.acquire()
                await self._calls.acquire("polls")
                self._observer.poll_budget_used(self._account.name, self._calls.used)
                looks.create_task(self._glance() if watch is None else self._look(watch))

    async def _next(self) -> Watch | None:
        """Wait for the next look: at one task, or (``None``) at the list."""
        while True:
            self._news.clear()
            self._choose_manner()
            now = self._clock.now()
            times = []
            if self._together and not self._glancing:
                if self._glance_at <= now:
                    self._glancing = True
                    return None
                times.append(self._glance_at)
            plan = self._first_plan()
            if plan is not None:
                if plan.at <= now:
                    heapq.heappop(self._plans)
                    plan.watch.plan = 0
                    plan.watch.looking = True
                    return plan.watch
                times.append(plan.at)
            try:
                async with asyncio.timeout(min(times) - now if times else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _choose_manner(self) -> None:
        """Look at all together while that pays; on a change, plan every task again."""
        together = self._glances.pay(len(self._watches.running), self._clock.now())
        if together == self._together:
            return
        self._together = together
        for watch in self._watches.running.values():
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
        """Plan the next fetch of a task that has not ended, by what is known of such tasks."""
        rate = self._account.polls_per_second * self._calls.factor
        now = self._clock.now()
        age = now - watch.runs_since
        known = self._durations.known(watch.kind)
        if watch.task_id in self._watches.behind:
            crowd = len(self._watches.behind) / (_SIDELINE * rate)
            waited = now - watch.since
            least = _BEHIND_LISTED_SECONDS if self._together else _BEHIND_SECONDS
            self._plan(watch, max(least, 0.5 * waited, crowd))
        elif self._together:
            # The next look was planned without this task, which may end before.
            soon = now + self._glances.pause([watch], self._durations, now)
            self._glance_at = min(self._glance_at, soon)
            # The list sees the end; a fetch only guards against a list that does not.
            crowd = len(self._watches.running) / (_SIDELINE * rate)
            self._plan(watch, max(_SAFETY_SECONDS, remaining(known, age, 0.95), crowd))
        else:
            wait = pause(known, age)
            self._ask(watch, 1 / wait)
            fetches = _FETCHES * rate
            # Stretched to fit the budget, but nobody waits for more than two rounds of all.
            stretched = wait * max(1.0, self._demand / fetches)
            self._plan(watch, min(stretched, max(wait, 2 * len(self._watches.running) / fetches)))

    def _ask(self, watch: Watch, demand: float) -> None:
        self._demand += demand - watch.demand
        watch.demand = demand

    def _forget(self, watch: Watch) -> None:
        watch.plan = 0
        self._ask(watch, 0.0)
        successor = self._watches.remove(watch)
        if successor is not None:
            successor.runs_since = watch.ended_at or self._clock.now()
            if not successor.looking:
                self._plan_next(successor)

    async def _look(self, watch: Watch) -> None:
        try:
            watch.polls += 1
            watch.overtaken = False
            task = await self._dashscope.fetch(watch.upstream, watch.task_id)
            if not watch.ours(task):
                raise UpstreamFailed("The upstream told of a task of another prompt.")
        except GatewayError as error:
            watch.looking = False
            watch.trace.polled(watch.part, error.code)
            self._missed(watch, error)
        else:
            watch.looking = False
            watch.trace.polled(watch.part, task.status)
            self._seen(watch, task)
        finally:
            self._room.release()

    async def _glance(self) -> None:
        """Look at all running tasks by the list, and fetch those that are gone from it."""
        started = self._clock.now()
        self._glance_at = started + 1.0
        try:
            rows = await self._running()
        except Throttled:
            self._throttled("list")
        except GatewayError as error:
            self._glances.failed(error, started)
        else:
            self._read(rows, started)
        finally:
            self._glancing = False
            self._room.release()
            self._news.set()

    async def _running(self) -> list[TaskRow] | None:
        watch = next(iter(self._watches), None)
        if watch is None:
            return []
        return await running_tasks(
            watch.upstream,
            dashscope=self._dashscope,
            clock=self._clock,
            calls=self._calls,
            worth=self._worth,
        )

    def _read(self, rows: list[TaskRow] | None, started: float) -> None:
        """Fetch those that are gone from the list, and plan the next look."""
        if rows is not None:
            slots = self._account.running_tasks
            for watch in self._glances.read(rows, self._watches, slots, started):
                watch.overtaken = watch.looking
                if not watch.looking:
                    self._plan(watch, 0.0)
        running = self._watches.running.values()
        self._glance_at = started + self._glances.pause(running, self._durations, started)

    def _worth(self, pages: int) -> bool:
        """Say whether a list of so many pages tells more than fetches would."""
        self._glances.pages = pages
        pays = self._glances.pay(len(self._watches.running), self._clock.now())
        if not pays and pages > 1:
            self._glances.suspend(self._clock.now())
        return pays

    def _missed(self, watch: Watch, error: GatewayError) -> None:
        """Take a failed look for what it is: nothing is known, so ask again later."""
        if isinstance(error, Throttled):
            self._throttled("poll")
        if isinstance(error, UpstreamUnavailable):
            watch.upstream = self._failover_for(watch.upstream, error)
        wait = min(5.0, 0.5 * 2 ** min(watch.missed, 5))
        watch.missed += 1
        watch.spared_until = self._clock.now() + wait
        self._plan(watch, wait)

    def _throttled(self, operation: str) -> None:
        self._calls.slow_down()
        self._observer.upstream_throttled(self._account.region, operation)

    def _seen(self, watch: Watch, task: Task) -> None:
        watch.missed = 0
        if watch.ended.done():
            return
        if task.inconclusive and self._doubt(watch):
            self._plan(watch, 2.0)
            return
        if task.status.ended:
            self._end(watch, task)
            return
        if task.status is not watch.status:
            region = self._account.region
            self._observer.task_state(region, watch.status.lower(), task.status.lower())
            watch.status = task.status
        now = self._clock.now()
        if task.status is TaskStatus.RUNNING:
            self._watches.promote(watch)
            watch.runs_since = self._ours(watch, task, task.times.scheduled) or watch.runs_since
        else:
            watch.runs_since = now
        if watch.overtaken:
            self._plan(watch, 0.0)
            return
        if watch.missing_at:
            watch.missing_at = 0.0
            self._glances.denied(watch, now)
        self._plan_next(watch)

    def _end(self, watch: Watch, task: Task) -> None:
        now = self._clock.now()
        watch.ended_at = self._ours(watch, task, task.times.ended) or 0.0
        if task.status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED):
            began = self._ours(watch, task, task.times.scheduled) or watch.runs_since
            self._durations.learn(watch.kind, max(0.05, (watch.ended_at or now) - began))
        if watch.missing_at:
            self._glances.confirmed(watch, len(self._watches.running))
        elif self._together and watch.ended_at < watch.listed_at:
            self._glances.overlooked(now)
        watch.ended.set_result(task)

    def _ours(self, watch: Watch, task: Task, theirs: float | None) -> float | None:
        """
        Return an instant of upstream's clock on ours.

        Both clocks saw the submit, so they need not agree.
        """
        if theirs is None or task.times.submitted is None:
            return None
        return min(self._clock.now(), watch.since + max(0.0, theirs - task.times.submitted))

    def _doubt(self, watch: Watch) -> bool:
        """
        Say whether an UNKNOWN, or a SUCCEEDED without a result, may be a passing error: of a
        task too new, or of one replica.

        One such answer would lose a paid picture, so it takes two, and three of a new task.
        """
        watch.unknown += 1
        new = self._clock.now() - watch.since < _DOUBTED_SECONDS
        return watch.unknown < (3 if new else 2)
