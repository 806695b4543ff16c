"""The fakes keep their promises."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.domain.edit import parts_of
from gateway.domain.errors import ResultUnavailable, SubmitUncertain, UpstreamUnreachable
from gateway.domain.intent import Intent
from gateway.domain.task import TaskStatus
from gateway.edits.ports import DashScope, Ledger, Observer
from tests.fake_stores import FakeLedger
from tests.fakes import FakeDashScope, Run, Submit, a_request, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WARP, WarpClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


UP = an_upstream()


async def submit(dashscope: FakeDashScope, prompt: str = "a cat") -> str:
    edit_request = a_request(dashscope.clock, prompt=prompt)
    return (
        await dashscope.submit(
            UP,
            edit_request.edit,
            parts_of(edit_request.edit, 4)[0],
            edit_request.pictures,
            Intent(dashscope.clock),
        )
    ).task_id


async def test_the_fakes_answer_the_ports() -> None:
    """Each fake is what gateway.edits asks for."""
    clock = WarpClock()
    dashscope: DashScope = FakeDashScope(clock)
    ledger: Ledger = FakeLedger(clock.epoch)
    observer: Observer = RecordingObserver()

    assert dashscope.clock_offset("beijing") == 0.0
    assert await ledger.owed() == []
    observer.undelivered("expired")


async def test_a_task_goes_through_its_states() -> None:
    """PENDING, RUNNING, then its end, by the clock; the picture tells whose it is."""
    dashscope = FakeDashScope(WarpClock())
    dashscope.run = Run(pending=2.0, running=5.0)
    task_id = await submit(dashscope)

    statuses = []
    for wait in (0.0, 3.0, 5.0):
        await dashscope.clock.sleep(wait)
        statuses.append((await dashscope.fetch(UP, task_id)).status)
    task = await dashscope.fetch(UP, task_id)

    assert statuses == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCEEDED]
    assert await dashscope.download(UP, task.images[0].url) == b"task-1|a cat|in|0"
    assert task.orig_prompt == "a cat"
    assert task.times.ended is not None
    assert task.times.submitted is not None
    assert task.times.ended - task.times.submitted == pytest.approx(7.0)


async def test_running_limit() -> None:
    """No more tasks run at once than the account may."""
    dashscope = FakeDashScope(WarpClock(), running_limit=1)
    dashscope.run = Run(pending=0.0, running=10.0)
    first, second = dashscope.stranger("one"), dashscope.stranger("two")
    await dashscope.clock.sleep(5.0)
    early = [dashscope.status(dashscope.tasks_by_id[task_id]) for task_id in (first, second)]
    await dashscope.clock.sleep(10.0)
    late = [dashscope.status(dashscope.tasks_by_id[task_id]) for task_id in (first, second)]

    assert early == [TaskStatus.RUNNING, TaskStatus.PENDING]
    assert late == [TaskStatus.SUCCEEDED, TaskStatus.RUNNING]


async def test_scripted_submits() -> None:
    """An error with a task, without one, and an upstream that is down."""
    dashscope = FakeDashScope(WarpClock())
    cut = SubmitUncertain("cut")
    dashscope.submits.extend([Submit(cut), Submit(cut, makes=False)])
    for made in (1, 1):
        with pytest.raises(SubmitUncertain):
            await submit(dashscope)
        assert len(dashscope.ours) == made
    dashscope.down["main"] = UpstreamUnreachable("down")
    with pytest.raises(UpstreamUnreachable):
        await submit(dashscope)

    assert len(dashscope.ours) == len(dashscope.paid) == 1
    assert dashscope.count("submit") == 3


async def test_late_and_strange_tasks() -> None:
    """A task appears when it is said to, in its own account's list only."""
    dashscope = FakeDashScope(WarpClock(), offset=30.0)
    late = dashscope.stranger("late", after=2.0)
    now = dashscope.clock.epoch()

    async def listed(upstream_account: str = "acct") -> list[str]:
        upstream = an_upstream(account=an_account(upstream_account))
        page = await dashscope.tasks(upstream, since=now, until=now + 60.0)
        return [row.task_id for row in page.rows]

    before, early = await listed(), await dashscope.fetch(UP, late)
    await dashscope.clock.sleep(2.0)
    after, elsewhere = await listed(), await listed("another")

    assert (before, after, elsewhere) == ([], [late], [])
    assert early.status is TaskStatus.UNKNOWN
    assert dashscope.ours == []


async def test_pages_and_states_of_the_list() -> None:
    """The list comes in pages and by state."""
    dashscope = FakeDashScope(WarpClock())
    for number in range(5):
        dashscope.stranger(str(number), run=Run(0.0, 1.0 if number < 2 else 100.0))
    await dashscope.clock.sleep(5.0)
    now = dashscope.clock.epoch()

    page = await dashscope.tasks(UP, since=now - 60.0, until=now, page=3, page_size=2)
    running = await dashscope.tasks(UP, since=now - 60.0, until=now, status=TaskStatus.RUNNING)

    assert (len(page.rows), page.total, page.pages) == (1, 5, 3)
    assert running.total == 3


async def test_cancel() -> None:
    """A pending task is cancelled and costs nothing; a running one is not."""
    dashscope = FakeDashScope(WarpClock())
    dashscope.run = Run(pending=1.0, running=10.0)
    first = await submit(dashscope)
    gone = await dashscope.cancel(UP, first)
    second = await submit(dashscope)
    await dashscope.clock.sleep(2.0)
    refused = await dashscope.cancel(UP, second)

    assert (gone, refused) == (True, False)
    assert [task.task_id for task in dashscope.paid] == [second]
    assert (await dashscope.fetch(UP, first)).status is TaskStatus.CANCELED


async def test_faults_come_in_order() -> None:
    """A call raises what was scripted for it, then goes well."""
    dashscope = FakeDashScope(WarpClock())
    task_id = await submit(dashscope)
    dashscope.fail("fetch", UpstreamUnreachable("down"), None)

    with pytest.raises(UpstreamUnreachable):
        await dashscope.fetch(UP, task_id)
    await dashscope.fetch(UP, task_id)
    with pytest.raises(ResultUnavailable):
        await dashscope.download(UP, f"https://oss.test/{task_id}/0")

    assert dashscope.count("fetch") == 2


async def test_observer_sums_up() -> None:
    """Gauges are the sums of their changes."""
    observer = RecordingObserver()
    observer.queued("beijing", "acme", 1)
    observer.task_state("beijing", None, "pending")
    observer.task_state("beijing", "pending", "running")

    assert observer.in_line == 1
    assert observer.states == {"running": 1}
