"""gateway.polling.loop: tasks are polled to their ends within the rate limit, and none is lost."""

import asyncio

import pytest

from gateway.domain.errors import GatewayError, Throttled, UpstreamUnavailable, UpstreamUnreachable
from gateway.domain.task import Task, TaskStatus
from tests.fakes import Run, an_account, an_upstream
from tests.polling.harness import KIND, running_poller

pytestmark = pytest.mark.anyio


async def test_one_task() -> None:
    """A task is followed through its states, and its end is found soon after it came."""
    async with running_poller() as harness:
        task, late = await harness.follow(Run(2.0, 20.0))

    assert task.status is TaskStatus.SUCCEEDED
    assert 0.0 <= late <= 1.6
    assert harness.observer.of("task_state") == [("beijing", "pending", "running")]
    assert harness.calls <= 60


async def test_failed_tasks_are_learned_from() -> None:
    """A task that fails has ended too: when such ends come is learned from all of them."""
    async with running_poller() as harness:
        for _ in range(8):
            await harness.follow(Run(0.0, 4.0, end=TaskStatus.FAILED))

    assert harness.durations.known(KIND) == pytest.approx([4.0] * 8)


async def test_learned() -> None:
    """Once durations are known, fewer fetches find the end sooner."""
    async with running_poller() as harness:
        for seconds in range(20, 40):
            harness.durations.learn(KIND, float(seconds))
        _, late = await harness.follow(Run(0.0, 30.0))

    assert late < 1.0
    assert harness.calls <= 25


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([UpstreamUnreachable("down")] * 3, id="unreachable"),
        pytest.param([Throttled("slow")] * 3, id="throttled"),
        pytest.param([GatewayError("nonsense")] * 30, id="nonsense, long"),
    ],
)
async def test_a_failed_fetch_never_loses_a_task(errors: list[GatewayError]) -> None:
    """Whatever a fetch ends with, the task is fetched again and its end is found."""
    async with running_poller() as harness:
        harness.dashscope.fail("fetch", *errors)
        task, late = await harness.follow(Run(0.0, 30.0))

    assert task.status is TaskStatus.SUCCEEDED
    assert late <= (11.0 if len(errors) < 10 else 300.0)
    throttled = sum(isinstance(error, Throttled) for error in errors)
    assert len(harness.observer.of("upstream_throttled")) == throttled


async def test_unknown_because_new() -> None:
    """A task that is not visible yet is doubted, not lost."""
    async with running_poller() as harness:
        task_id = harness.dashscope.stranger("a cat", after=1.0)
        task = await harness.end_of(harness.watch(task_id=task_id))

    assert task.status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("age", [0.0, 60.0])
async def test_unknown_for_good(age: float) -> None:
    """A task that stays unknown is lost: an old one at the second fetch, a new one at the third."""
    async with running_poller() as harness:
        watch = harness.watch(task_id="task-none", age=age)
        task = await harness.end_of(watch)

    assert task.status is TaskStatus.UNKNOWN
    assert watch.polls == (2 if age else 3)


@pytest.mark.parametrize("refused", [True, False], ids=["list refused", "list works"])
@pytest.mark.parametrize("running_limit", [0, 20])
async def test_a_hundred_tasks_within_the_budget(running_limit: int, *, refused: bool) -> None:
    """With a hundred tasks no second holds more calls than the account allows, none is lost."""
    account = an_account(polls_per_second=10, running_tasks=100)
    async with running_poller(account, running_limit=running_limit) as harness:
        if refused:
            harness.dashscope.fail("tasks", *[UpstreamUnreachable("no list")] * 1000)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(harness.follow(Run(1.0, 15.0 + number / 2)))
                for number in range(100)
            ]

    lates = [task.result()[1] for task in tasks]
    calls = [call.at for call in harness.dashscope.calls]
    assert all(task.result()[0].status is TaskStatus.SUCCEEDED for task in tasks)
    assert max(sum(1 for at in calls if first <= at < first + 1.0) for first in calls) <= 10
    assert sum(lates) / 100 < (15.0 if refused else 5.0)
    assert max(ratio for _, ratio in harness.observer.of("poll_budget_used")) <= 1.0


async def test_an_end_that_was_not_found_by_polling() -> None:
    """A watch that was ended by a cancel is polled no more, and keeps its first end."""
    async with running_poller() as harness:
        watch = harness.watch(Run(60.0))
        await harness.clock.sleep(1.0)
        harness.poller.end(watch, Task(watch.task_id, TaskStatus.CANCELED))
        harness.poller.end(watch, Task(watch.task_id, TaskStatus.FAILED))
        before = harness.calls
        await harness.clock.sleep(60.0)
        task = await harness.end_of(watch)

    assert task.status is TaskStatus.CANCELED
    assert harness.calls == before


async def test_an_end_during_a_fetch() -> None:
    """A fetch that comes back after the end changes nothing."""
    async with running_poller() as harness:
        watch = harness.watch(Run(60.0))
        while not harness.dashscope.calls:
            await harness.clock.sleep(0.01)
        harness.poller.end(watch, Task(watch.task_id, TaskStatus.CANCELED))
        await harness.clock.sleep(60.0)
        task = await harness.end_of(watch)

    assert task.status is TaskStatus.CANCELED
    assert harness.calls == 1


async def test_an_end_while_the_fetch_waits_for_its_turn() -> None:
    """No call is made for a task that ended before the call could leave."""
    async with running_poller(an_account(polls_per_second=0.2)) as harness:
        watch = harness.watch(Run(60.0))
        await harness.clock.sleep(5.0)
        await harness.limiter.acquire()  # somebody else's
        await harness.clock.sleep(3.0)
        harness.poller.forget(watch)
        await harness.clock.sleep(60.0)

    assert harness.calls == 0


async def test_a_refused_key() -> None:
    """After a refused key the task is fetched with the key that the failover names."""
    requested: list[str] = []
    async with running_poller(failover_for=lambda *_: an_upstream("other")) as harness:
        harness.dashscope.fail("fetch", UpstreamUnavailable("key"))
        watch = harness.watch(Run(0.0, 10.0))
        await harness.end_of(watch)
        requested += [call.upstream for call in harness.dashscope.calls]

    assert requested[0] == "main"
    assert set(requested[1:]) == {"other"}


async def test_no_end_in_time() -> None:
    """Who waits for an end for a while only gets None, and the task is polled on."""
    async with running_poller() as harness:
        watch = harness.watch(Run(0.0, 10.0))
        early = await harness.poller.end_of(watch, within=5.0)
        late = await harness.poller.end_of(watch, within=30.0)

    assert early is None
    assert late is not None


async def test_another_task() -> None:
    """What is fetched but cannot be this task is a failed fetch, and the task is fetched again."""
    results: list[str] = []
    answers = iter([False, True])
    async with running_poller() as harness:
        task_id = harness.dashscope.stranger("a cat", run=Run(0.0, 0.1))
        await harness.clock.sleep(1.0)
        watch = harness.poller.watch(
            an_upstream(),
            task_id,
            KIND,
            is_ours=lambda _: next(answers),
            on_poll=results.append,
        )
        task = await harness.end_of(watch)

    assert task.status is TaskStatus.SUCCEEDED
    assert results == ["upstream_failed", "SUCCEEDED"]
