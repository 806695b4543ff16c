"""The poller with many tasks at once and a list that helps, lies, lags or fails."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import Throttled
from gateway.domain.task import Task, TaskPage, TaskStatus
from tests.fakes import FakeDashScope, Run, an_account
from tests.polling.harness import KIND, PollerHarness, SlowList, running_poller

pytestmark = pytest.mark.anyio

WIDE = an_account(polls_per_second=10, running_tasks=100)
NARROW = an_account(polls_per_second=10, running_tasks=5)


class SlowFetch(FakeDashScope):
    """The answer to a fetch takes a second."""

    async def fetch(self, *given: Any, **named: Any) -> Task:
        task = await super().fetch(*given, **named)
        await self.clock.sleep(1.0)
        return task


class StuckList(FakeDashScope):
    """The list goes on to show as running what it once showed."""

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        self.shown = {row.task_id: row for row in page.rows} | getattr(self, "shown", {})
        return TaskPage(tuple(self.shown.values()), total=len(self.shown), pages=1)


class UnreadList(FakeDashScope):
    """The list says that it has tasks, none of which can be read."""

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        return TaskPage((), total=page.total, pages=1)


class LateList(FakeDashScope):
    """The list shows what was true three seconds ago."""

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        shown, self.seen = getattr(self, "seen", []), [*getattr(self, "seen", []), page]
        self.at = [*getattr(self, "at", []), self.clock.now()]
        old = [p for p, at in zip(shown, self.at, strict=False) if at <= self.clock.now() - 3.0]
        return old[-1] if old else TaskPage((), total=0, pages=1)


async def follow(
    harness: PollerHarness, count: int, run: Run, *, spread: float = 0.5
) -> list[float]:
    """Follow so many tasks, each *spread* seconds longer than the one before; return the lags."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(harness.follow(Run(run.pending, run.running + spread * number)))
            for number in range(count)
        ]
    ended = [task.result() for task in tasks]
    assert all(task.status is TaskStatus.SUCCEEDED for task, _ in ended)
    return [lag for _, lag in ended]


async def test_many_are_listed() -> None:
    """Thirty running tasks cost fewer calls than one a task and second, and no end is late."""
    async with running_poller(WIDE) as harness:
        lates = await follow(harness, 30, Run(1.0, 20.0))

    assert max(lates) < 1.0
    assert harness.dashscope.count("fetch") <= 3 * 30
    assert len(harness.dashscope.calls) < 30 * 20 / 2


@pytest.mark.parametrize("seconds", [0.3, 2.0, 20.0])
async def test_tasks_that_begin_and_end_together(seconds: float) -> None:
    """Though no end was expected a moment ago, the ends of the next tasks are not skipped."""
    lates = []
    async with running_poller(WIDE) as harness:
        for _ in range(6):
            lates += await follow(harness, 8, Run(0.0, seconds), spread=0.005)
            await harness.clock.sleep(0.3)

    assert max(lates[16:]) < 1.0


async def test_a_task_that_joins_after_a_list_was_planned() -> None:
    """A task that joins young ones shortly before its own end does not wait for their next list."""
    async with running_poller(WIDE) as harness:
        for number in range(40):
            harness.durations.learn(KIND, 20.0 + 0.05 * number)
        async with asyncio.TaskGroup() as group:
            young = group.create_task(follow(harness, 5, Run(0.0, 20.0), spread=0.1))
            await harness.clock.sleep(2.0)
            _, late = await harness.follow(Run(0.0, 1.0), age=19.0)

    assert late < 1.0
    assert max(young.result()) < 1.0


async def test_a_list_that_cannot_be_read() -> None:
    """Rows that are counted but cannot be read prove no ends: fetches do the work."""
    async with running_poller(WIDE, dashscope=UnreadList) as harness:
        lates = await follow(harness, 10, Run(0.0, 20.0))

    assert harness.dashscope.count("tasks") == 3
    assert max(lates) < 2.0


@pytest.mark.parametrize("comes", [4.6, 4.7, 4.8, 4.9, 4.95])
async def test_a_fetch_that_the_list_overtook(comes: float) -> None:
    """What a fetch found before the list missed its task is no proof against the list."""
    async with running_poller(WIDE, dashscope=SlowFetch) as harness, asyncio.TaskGroup() as group:
        ending = group.create_task(follow(harness, 2, Run(0.0, 5.0), spread=0.0))
        await harness.clock.sleep(comes)
        group.create_task(harness.follow(Run(0.0, 20.0)))

    assert max(ending.result()) < 2.7


async def test_a_throttled_list() -> None:
    """A 429 for the list slows the account down and is counted; the list is asked again."""
    async with running_poller(WIDE) as harness:
        harness.dashscope.fail("tasks", Throttled("slow"))
        lates = await follow(harness, 10, Run(0.0, 20.0))

    assert harness.observer.of("upstream_throttled") == [("beijing", "list")]
    assert harness.dashscope.count("tasks") > 1
    assert max(lates) < 5.0


async def test_a_slow_list() -> None:
    """A list that is too slow is given up after three tries, and fetches do the work."""
    async with running_poller(WIDE, dashscope=SlowList) as harness:
        lates = await follow(harness, 10, Run(0.0, 25.0), spread=0.1)

    assert harness.dashscope.count("tasks") == 3
    assert max(lates) < 5.0


async def test_more_pages_than_it_is_worth() -> None:
    """A list of as many pages as there are tasks is read no further than its first page."""
    async with running_poller(WIDE) as harness:
        harness.dashscope.page_limit = 1
        lates = await follow(harness, 10, Run(0.0, 25.0), spread=0.1)

    assert harness.dashscope.count("tasks") == 1
    assert max(lates) < 5.0


async def test_two_pages() -> None:
    """A list of two pages is read whole: no task on the second is taken for ended."""
    async with running_poller(WIDE) as harness:
        harness.dashscope.page_limit = 16
        lates = await follow(harness, 30, Run(0.0, 25.0))

    assert max(lates) < 5.0
    assert harness.dashscope.count("fetch") < 150


async def test_a_list_that_hides_ends() -> None:
    """A task that the list never drops is fetched all the same, and then the list is suspended."""
    async with running_poller(WIDE, dashscope=StuckList) as harness:
        first = await follow(harness, 10, Run(0.0, 25.0), spread=0.1)
        requested = harness.dashscope.count("tasks")
        second = await follow(harness, 10, Run(0.0, 25.0), spread=0.1)

    assert max(first) < 60.0
    assert harness.dashscope.count("tasks") == requested
    assert max(second) < 5.0


async def test_a_list_that_lags() -> None:
    """A list that is three seconds old is suspended after some ends, and fetches are sooner."""
    async with running_poller(WIDE, dashscope=LateList) as harness:
        first = await follow(harness, 8, Run(0.0, 20.0))
        requested = harness.dashscope.count("tasks")
        second = await follow(harness, 8, Run(0.0, 20.0))

    assert max(first) < 5.0
    assert harness.dashscope.count("tasks") == requested
    assert max(second) < 1.0


@pytest.mark.parametrize("slots", [1, 5])
async def test_pending_tasks_are_promoted(slots: int) -> None:
    """With more tasks than may run, the last end is found as soon as the first."""
    account = an_account(polls_per_second=10, running_tasks=slots)
    async with running_poller(account, running_limit=slots) as harness:
        lates = await follow(harness, 2 * slots, Run(0.5, 20.0))

    assert max(lates) < 3.0


@pytest.mark.parametrize("listed", [True, False])
async def test_pending_tasks_that_run_all_the_same(*, listed: bool) -> None:
    """Where upstream runs more than the config says, the list or a later fetch finds it out."""
    async with running_poller(NARROW) as harness:
        if not listed:
            harness.dashscope.page_limit = 1  # a list that does not pay
        lates = await follow(harness, 10, Run(0.5, 30.0), spread=0.1)

    assert max(lates) < (3.0 if listed else 15.0)


async def test_promoted_while_it_is_fetched() -> None:
    """A task that moves up while it is fetched is polled like any other from then on."""
    async with running_poller(an_account(running_tasks=1), running_limit=1) as harness:
        first = harness.watch(Run(0.0, 60.0))
        second = harness.watch(Run(0.0, 20.0))
        while not any(call.task_id == second.task_id for call in harness.dashscope.calls):
            await harness.clock.sleep(0.01)
        harness.dashscope.tasks_by_id[first.task_id].cancelled = True
        harness.poller.end(first, Task(first.task_id, TaskStatus.CANCELED))
        await harness.end_of(second)
        fake = harness.dashscope.tasks_by_id[second.task_id]
        late = harness.clock.now() - harness.dashscope._times(fake)[1]

    assert late < 3.0


async def test_all_gone_before_the_list_is_requested() -> None:
    """When the last task ends while the list waits for its turn, no call is made."""
    async with running_poller(an_account(polls_per_second=1, running_tasks=10)) as harness:
        await harness.limiter.acquire()  # somebody else's
        watches = [harness.watch() for _ in range(5)]
        await harness.clock.sleep(0.1)
        for watch in watches:
            harness.poller.forget(watch)
        await harness.clock.sleep(60.0)

    assert harness.calls == 0


async def test_an_end_between_two_lists_is_not_held_against_the_list() -> None:
    """A safety fetch that finds an end before the next list could says nothing about the list."""
    async with running_poller(WIDE) as harness:
        lates = await follow(harness, 4, Run(0.0, 19.0), spread=1.0)
        lates += await follow(harness, 4, Run(0.0, 40.0), spread=5.0)

    assert max(lates) < 6.0
    assert harness.poller._plan._policy.false_alarms == 0


@pytest.mark.parametrize(("page_limit", "pages"), [(10, 3), (25, 1)])
async def test_every_page_is_read(page_limit: int, pages: int) -> None:
    """A list of three pages is read whole, and no task on a later page is taken for ended."""
    async with running_poller(WIDE) as harness:
        harness.dashscope.page_limit = page_limit
        for _ in range(25):
            harness.watch(Run(0.0, 60.0))
        harness.dashscope.stranger("waits", run=Run(60.0, 60.0))
        await harness.clock.sleep(0.3)

    assert harness.dashscope.count("tasks") == pages
    assert harness.dashscope.count("fetch") == 0
