"""An exception that nobody foresaw: no task is lost by it, and no other edit."""

import pytest

from gateway.domain.clock import Phases
from gateway.domain.errors import ContentRefused
from gateway.edits.active_edit import ActiveEdit
from tests.edits.harness import EditHarness, complete, error_of
from tests.edits.without_tasks import a_harness, request
from tests.fakes import Submit
from tests.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio


async def test_a_bug_in_one_look_loses_no_task() -> None:
    """An exception that nobody foresaw is reported, and every task is still seen to its end."""
    harness = EditHarness()
    harness.dashscope.fail("fetch", None, KeyError("nobody foresaw this"))

    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert len(harness.bugs) == 1


class BreakingObserver(RecordingObserver):
    """Raises, so many times, where a task has ended or an edit left the queue."""

    def __init__(self, where: str, times: int) -> None:
        super().__init__()
        self.where, self.left = where, times

    def polls_spent(self, region: str, polls: int) -> None:
        self._break("polls_spent")

    def queue_waited(self, region: str, seconds: float) -> None:
        self._break("queue_waited")

    def _break(self, where: str) -> None:
        if where == self.where and self.left:
            self.left -= 1
            raise KeyError("nobody foresaw this")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_bug_on_the_way_loses_no_task(times: int) -> None:
    """When our own counting breaks after the task was made, the edit is carried on from there."""
    harness = EditHarness()
    harness.observer = BreakingObserver("polls_spent", times)

    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert len(harness.dashscope.paid) == 1
    assert len(harness.bugs) == times


@pytest.mark.parametrize(
    ("where", "submits", "bugs"),
    [
        pytest.param("polls_spent", 1, 3, id="after-the-submit"),
        pytest.param("queue_waited", 0, 1, id="before-the-submit"),
    ],
)
async def test_a_bug_that_stays(where: str, submits: int, bugs: int) -> None:
    """The client hears of it by its id: at once, or after three tries if a task is paid for."""
    harness = EditHarness()
    harness.observer = BreakingObserver(where, 99)

    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert refused.code == "internal_error"
    assert harness.dashscope.count("submit") == submits
    assert len(harness.bugs) == bugs


async def test_a_bug_in_a_write_loses_no_picture_of_a_model_without_tasks() -> None:
    """What could not be written is written when the edit goes on: a restart still finds it."""
    harness = a_harness()
    bug = KeyError("nobody foresaw this")
    harness.ledger.faults["accept"] = [bug]
    async with harness.service() as service, service.attend(request(harness)) as waiter:
        edit_id = waiter.status.edit_id
        await harness.clock.sleep(60.0)
    async with harness.service() as service:
        now = Phases(harness.clock.now())
        tenant = harness.tenants[0]
        async with service.collect(tenant, edit_id, patience=100.0, phases=now) as waiter:
            answer = await waiter.answer()

    assert harness.bugs == [bug]
    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert harness.dashscope.count("submit") == 1


async def test_a_refused_part_is_not_tried_again_after_a_bug() -> None:
    """A part that has its end keeps it when the edit is carried on because another broke."""
    harness = EditHarness()
    harness.observer = BreakingObserver("polls_spent", 1)
    harness.dashscope.submits.append(Submit(ContentRefused("no"), makes=False))

    async with harness.service() as service:
        answer = await complete(service, harness.request(n=8))

    assert (answer.delivered, answer.requested) == (4, 8)
    assert len(harness.bugs) == 1
    assert harness.observer.of("recovered") == [("task_followed",)]


async def test_a_bug_after_a_bug_ends_no_other_edit() -> None:
    """An end that cannot be written by a bug is reported; other edits, and the service, go on."""
    harness = EditHarness()
    harness.observer = BreakingObserver("queue_waited", 1)
    harness.ledger.faults["end_edit"] = [ValueError("bug")]
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request("first", promise=True)))
        answer = await complete(service, harness.request("second"))

    assert refused.code == "internal_error"
    assert answer.delivered == 1
    assert [type(bug) for bug in harness.bugs] == [KeyError, ValueError]


async def test_a_bug_while_the_service_closes() -> None:
    """It is reported and keeps nobody waiting."""
    harness = EditHarness()
    service = harness.service()
    poller = next(iter(service._accounts.values())).poller

    async def run() -> None:
        try:
            await harness.clock.sleep(1e6)
        finally:
            raise ValueError("bug")

    poller.run = run  # type: ignore[method-assign]  # a bug in the last line
    async with service:
        await harness.clock.sleep(1.0)

    assert [type(bug) for bug in harness.bugs] == [ValueError]


async def test_a_bug_after_the_end_changes_nothing() -> None:
    """What breaks once an edit has ended is reported; its clients keep the end that it had."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(ContentRefused("no"), makes=False))
    async with harness.service() as service:
        run = service._runner.run

        async def break_at_the_end(active: ActiveEdit) -> None:
            await run(active)
            raise RuntimeError("bug")

        service._runner.run = break_at_the_end  # type: ignore[method-assign]  # a bug in the last line
        refused = await error_of(complete(service, harness.request()))
        await harness.clock.sleep(1.0)

    assert isinstance(refused, ContentRefused)
    assert len(harness.bugs) == 1
