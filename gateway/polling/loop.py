"""The loop that carries out an account's polling plan within its rate limit."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.clock import Clock
from gateway.domain.errors import (
    GatewayError,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.task import Task, TaskPage, TaskStatus
from gateway.domain.tenant import Account, Upstream
from gateway.polling.limiter import RateLimiter
from gateway.polling.plan import Fetch, List, PollingPlan, Wait, Watch
from gateway.polling.schedule import Durations, Kind

_CALLS_MAX = 32  # under way at once
_LIST_TIMEOUT = 3.0  # a slower list is of no use
_PAGE_SIZE = 100
_TASK_SECONDS_MAX = 4 * 3600.0  # a task ends within 3 hours (dashscope.md 7.6)
_CLOCK_MARGIN = 60.0


class TaskCalls(Protocol):
    """DashScope's calls that read tasks; gateway.upstream.dashscope implements them."""

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        """
        Fetch one task; safe to repeat.

        Raises:
            GatewayError: no answer, or one that says nothing about the task
                (Throttled for 429, UpstreamUnavailable for a refused key).
        """
        ...

    async def tasks(
        self,
        upstream: Upstream,
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        """
        List the account's tasks of a window of at most 24 h, in epoch seconds.

        Raises:
            GatewayError: as fetch.
        """
        ...

    def clock_offset(self, region: str) -> float:
        """Return upstream's clock minus ours, in seconds, by its ``Date`` headers; 0 if unknown."""
        ...


class PollObserver(Protocol):
    """Counts what polling does. Nothing here may raise."""

    def task_state(self, region: str, leaves: str | None, enters: str | None) -> None:
        """States: submitting, pending, running, downloading."""
        ...

    def poll_budget_used(self, account: str, ratio: float) -> None: ...
    def upstream_throttled(self, region: str, operation: str) -> None: ...


@dataclass(slots=True)
class _Watcher:
    """Who waits for the end of a watched task."""

    end: "asyncio.Future[Task]"
    is_ours: Callable[[Task], bool]
    on_poll: Callable[[str], None]


class Poller:
    """
    Finds out that tasks have ended, soon after they did (P7).

    One loop for each account, with a limited number of calls under way: a task that waits
    costs no asyncio task and no timer. A failed call is repeated later, so no task is lost.

    Args:
        account: Its limits.
        limiter: Of the account's calls.
        dashscope: Makes the calls.
        clock: Monotonic and calendar time.
        durations: How long tasks take; learns from those that end.
        observer: Counts calls and states.
        failover_for: Returns the upstream to use after one has refused its key.
    """

    def __init__(
        self,
        account: Account,
        *,
        limiter: RateLimiter,
        dashscope: TaskCalls,
        clock: Clock,
        durations: Durations,
        observer: PollObserver,
        failover_for: Callable[[Upstream, GatewayError], Upstream] = lambda upstream, _: upstream,
    ) -> None:
        self._account = account
        self._limiter = limiter
        self._dashscope = dashscope
        self._clock = clock
        self._observer = observer
        self._failover_for = failover_for
        self._plan = PollingPlan(
            account, durations, rate=lambda: self._account.polls_per_second * limiter.factor
        )
        self._callers: dict[Watch, _Watcher] = {}
        self._changed = asyncio.Event()
        self._window_end = 0.0
        """Epoch seconds by upstream's clock, for all pages of one list."""

    def reconfigure(self, account: Account, renewed: Callable[[Upstream], Upstream]) -> None:
        """Go by other limits from now on, and by the keys that *renewed* returns."""
        self._account = account
        self._plan.reconfigure(account, renewed, self._clock.now())
        self._changed.set()

    def watch(
        self,
        upstream: Upstream,
        task_id: str,
        kind: Kind,
        *,
        age: float = 0.0,
        is_ours: Callable[[Task], bool] = lambda _: True,
        on_poll: Callable[[str], None] = lambda _: None,
    ) -> Watch:
        """
        Begin to poll a task; ``forget`` ends it.

        Args:
            upstream: Whose key to use.
            task_id: Of an accepted task.
            kind: Tasks that take about as long.
            age: Seconds since the task was accepted.
            is_ours: Says whether what was fetched can be this task; if not, the fetch failed.
            on_poll: Called with the result of each fetch, a task status or an error code.
        """
        watch = self._plan.watch(upstream, task_id, kind, self._clock.now(), age=age)
        end: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._callers[watch] = _Watcher(end, is_ours, on_poll)
        self._changed.set()
        return watch

    async def end_of(self, watch: Watch, *, within: float | None = None) -> Task | None:
        """Return the task once it has ended; ``None`` if it does not end *within* seconds."""
        end = self._callers[watch].end
        await asyncio.wait([end], timeout=within)
        return end.result() if end.done() else None

    def end(self, watch: Watch, task: Task) -> None:
        """Record an end that was not found by polling; the first end counts."""
        if not watch.ended:
            self._plan.forget(watch, self._clock.now())
            self._changed.set()
            self._callers[watch].end.set_result(task)

    def forget(self, watch: Watch) -> None:
        """Stop polling a task, ended or not."""
        self._plan.forget(watch, self._clock.now())
        self._callers.pop(watch, None)
        self._changed.set()

    async def run(self) -> None:
        """Poll until cancelled. After a bug has ended it, it may be run again."""
        self._plan.restart(self._clock.now())
        slots = asyncio.Semaphore(_CALLS_MAX)
        async with asyncio.TaskGroup() as calls:
            while True:
                step = await self._next_step()
                await slots.acquire()
                await self._limiter.acquire("polls")
                self._observer.poll_budget_used(self._account.name, self._limiter.used)
                call = self._fetch(step.watch) if isinstance(step, Fetch) else self._list(step)
                calls.create_task(call).add_done_callback(lambda _: slots.release())

    async def _next_step(self) -> Fetch | List:
        while True:
            self._changed.clear()
            now = self._clock.now()
            step = self._plan.next(now)
            if not isinstance(step, Wait):
                return step
            try:
                async with asyncio.timeout(None if step.until == math.inf else step.until - now):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _fetch(self, watch: Watch) -> None:
        if watch.ended:
            return  # while the call waited for its turn
        caller = self._callers[watch]
        sent_at = self._clock.now()
        result: Task | GatewayError
        try:
            result = await self._dashscope.fetch(watch.upstream, watch.task_id)
            if not caller.is_ours(result):
                raise UpstreamFailed("The upstream returned a task with another prompt.")
        except GatewayError as error:
            result = error
            self._heed(error, "poll")
            if isinstance(error, UpstreamUnavailable):
                self._plan.move(watch, self._failover_for(watch.upstream, error))
        caller.on_poll(result.code if isinstance(result, GatewayError) else result.status)
        before = watch.status
        ended = self._plan.fetched(watch, result, sent_at, self._clock.now())
        self._changed.set()
        if ended and isinstance(result, Task):
            caller.end.set_result(result)
        elif watch.status is not before:
            region = self._account.region
            self._observer.task_state(region, before.lower(), watch.status.lower())

    async def _list(self, step: List) -> None:
        sent_at = self._clock.now()
        result: TaskPage | GatewayError
        try:
            result = await self._page(step.page)
        except GatewayError as error:
            result = error
            self._heed(error, "list")
        self._plan.listed(result, sent_at, self._clock.now())
        self._changed.set()

    async def _page(self, number: int) -> TaskPage:
        watch = self._plan.any_watch()
        if watch is None:  # all have ended since the step was planned
            return TaskPage((), total=0, pages=1)
        if number == 1:
            offset = self._dashscope.clock_offset(watch.upstream.region.name)
            self._window_end = self._clock.epoch() + offset + _CLOCK_MARGIN
        try:
            async with asyncio.timeout(_LIST_TIMEOUT):
                return await self._dashscope.tasks(
                    watch.upstream,
                    since=self._window_end - _CLOCK_MARGIN - _TASK_SECONDS_MAX,
                    until=self._window_end,
                    status=TaskStatus.RUNNING,
                    page=number,
                    page_size=_PAGE_SIZE,
                )
        except TimeoutError as late:
            raise UpstreamUnreachable("The task list is too slow.") from late

    def _heed(self, error: GatewayError, operation: str) -> None:
        if isinstance(error, Throttled):
            self._limiter.slow_down()
            self._observer.upstream_throttled(self._account.region, operation)
