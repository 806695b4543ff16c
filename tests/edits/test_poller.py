"""gateway.edits.poller: tasks are followed to their ends, one by one, and none is lost."""

import asyncio

import pytest

from gateway.domain.errors import GatewayError, Throttled, UpstreamUnreachable
from gateway.domain.task import Task, TaskStatus
from tests.edits.looking import KIND, at_work, looks
from tests.fakes import Run, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_one_task() -> None:
    """A task is seen through its states, its end soon after it came."""
    async with at_work() as room:
        task, late = await room.follow(Run(2.0, 20.0))

    assert task.status is TaskStatus.SUCCEEDED
    assert 0.0 <= late <= 1.6
    assert room.observer.of("task_state") == [("beijing", "pending", "running")]
    assert looks(room) <= 60


async def test_failures_tell_how_long_tasks_take() -> None:
    """A task that fails has ended too: when such ends come is learned from all of them."""
    async with at_work() as room:
        for _ in range(8):
            await room.follow(Run(0.0, 4.0, end=TaskStatus.FAILED))

    assert room.durations.known(KIND) == pytest.approx([4.0] * 8)


async def test_learned() -> None:
    """Once it is known how long tasks take, fewer looks see the end sooner."""
    async with at_work() as room:
        for seconds in range(20, 40):
            room.durations.learn(KIND, float(seconds))
        _, late = await room.follow(Run(0.0, 30.0))

    assert late < 1.0
    assert looks(room) <= 25


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([UpstreamUnreachable("down")] * 3, id="unreachable"),
        pytest.param([Throttled("slow")] * 3, id="throttled"),
        pytest.param([GatewayError("nonsense")] * 30, id="nonsense, long"),
    ],
)
async def test_a_failed_look_never_loses_a_task(errors: list[GatewayError]) -> None:
    """Whatever a look ends with, the task is looked at again and its end is seen."""
    async with at_work() as room:
        room.world.fail("fetch", *errors)
        task, late = await room.follow(Run(0.0, 30.0))

    assert task.status is TaskStatus.SUCCEEDED
    assert late <= (11.0 if len(errors) < 10 else 300.0)
    throttled = sum(isinstance(error, Throttled) for error in errors)
    assert len(room.observer.of("upstream_throttled")) == throttled


async def test_unknown_because_new() -> None:
    """A task that is not visible yet is doubted, not lost."""
    async with at_work() as room:
        task_id = room.world.stranger("a cat", after=1.0)
        task = await room.poller.watch(an_upstream(), task_id, KIND).ended

    assert task.status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("age", [0.0, 60.0])
async def test_unknown_for_good(age: float) -> None:
    """A task that stays unknown is lost: an old one at the second look, a new one at the third."""
    async with at_work() as room:
        watch = room.poller.watch(an_upstream(), "task-none", KIND, age=age)
        task = await watch.ended

    assert task.status is TaskStatus.UNKNOWN
    assert watch.polls == (2 if age else 3)


@pytest.mark.parametrize("refused", [True, False], ids=["list refused", "list works"])
@pytest.mark.parametrize("running_limit", [0, 20])
async def test_a_hundred_tasks_within_the_budget(running_limit: int, *, refused: bool) -> None:
    """With a hundred tasks no second holds more calls than the account allows, none is lost."""
    account = an_account(polls_per_second=10, running_tasks=100)
    async with at_work(account, running_limit=running_limit) as room:
        if refused:
            room.world.fail("tasks", *[UpstreamUnreachable("no list")] * 1000)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(room.follow(Run(1.0, 15.0 + number / 2))) for number in range(100)
            ]

    lates = [task.result()[1] for task in tasks]
    calls = [call.at for call in room.world.calls]
    assert all(task.result()[0].status is TaskStatus.SUCCEEDED for task in tasks)
    assert max(sum(1 for at in calls if first <= at < first + 1.0) for first in calls) <= 10
    assert sum(lates) / 100 < (15.0 if refused else 5.0)
    assert max(ratio for _, ratio in room.observer.of("poll_budget_used")) <= 1.0


async def test_an_end_that_came_from_elsewhere() -> None:
    """A watch that was ended by a cancel is looked at no more."""
    async with at_work() as room:
        task_id = room.world.stranger("a cat", run=Run(60.0))
        watch = room.poller.watch(an_upstream(), task_id, KIND)
        await room.clock.sleep(1.0)
        watch.ended.set_result(Task(task_id, TaskStatus.CANCELED))
        before = looks(room)
        await room.clock.sleep(60.0)

    assert looks(room) == before


async def test_an_end_from_elsewhere_during_a_look() -> None:
    """A look that comes back after the end changes nothing."""
    async with at_work() as room:
        task_id = room.world.stranger("a cat", run=Run(60.0))
        watch = room.poller.watch(an_upstream(), task_id, KIND)
        while not room.world.calls:
            await room.clock.sleep(0.01)
        watch.ended.set_result(Task(task_id, TaskStatus.CANCELED))
        await room.clock.sleep(60.0)

    assert watch.ended.result().status is TaskStatus.CANCELED
    assert looks(room) == 1
