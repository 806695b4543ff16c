"""Through the service: an edit of several parts of which a restart found only some submitted."""

from dataclasses import replace

import pytest

from gateway.domain.record import EditState, TaskState
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.edits.records import a_record, a_task
from tests.fakes import Run
from tests.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio


def leave_half_an_edit(harness: EditHarness) -> None:
    """Leave behind six pictures in two parts: the first runs, the second was never asked for."""
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    harness.dashscope.tasks_by_id[task_id].n = 4
    first = replace(a_task(harness, TaskState.ACCEPTED, task_id=task_id), n=4)
    harness.ledger.put(a_record(EditState.OPEN, first, n=6, digest=harness.request(n=6).digest))


async def test_a_retry_brings_the_bytes() -> None:
    """Who comes back while the first part runs gets the rest too; nothing is paid twice."""
    harness = EditHarness()
    leave_half_an_edit(harness)
    async with harness.service() as service:
        await harness.clock.sleep(5.0)
        answer = await complete(service, harness.request(n=6, retry_count=1))

    assert answer.status.edit_id == "edit_1"
    assert [picture[-1:] for picture in picture_bytes(answer)] == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"0",
        b"1",
    ]
    assert harness.dashscope.count("submit") == 1


async def test_nobody_brings_them() -> None:
    """Once the first part has ended, its pictures are the answer: the rest was never paid."""
    harness = EditHarness()
    leave_half_an_edit(harness)
    async with harness.service() as service:
        await harness.clock.sleep(60.0)
        answer = await complete(service, harness.request(n=6, retry_count=1))

    assert (answer.delivered, answer.requested) == (4, 6)
    assert harness.dashscope.count("submit") == 0


def between_two_submits(harness: EditHarness) -> None:
    """Leave six pictures in two parts behind: of the first nobody knows whether it was made."""
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    harness.dashscope.tasks_by_id[task_id].n = 4
    first = replace(a_task(harness, TaskState.SUBMITTING), n=4)
    harness.ledger.put(a_record(EditState.OPEN, first, n=6, digest=harness.request(n=6).digest))


async def test_an_uncertain_part_is_waited_for_too() -> None:
    """While the list is asked what became of one part, a retry may bring the other's bytes."""
    harness = EditHarness()
    between_two_submits(harness)
    async with harness.service() as service:
        await harness.clock.sleep(2.0)
        answer = await complete(service, harness.request(n=6, retry_count=1))

    assert [picture[-1:] for picture in picture_bytes(answer)] == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"0",
        b"1",
    ]
    assert harness.dashscope.count("submit") == 1


async def test_an_uncertain_part_and_nobody_came() -> None:
    """Without the bytes the answer is what was paid for."""
    harness = EditHarness()
    between_two_submits(harness)
    async with harness.service() as service:
        await harness.clock.sleep(60.0)
        answer = await complete(service, harness.request(n=6, retry_count=1))

    assert (answer.delivered, answer.requested) == (4, 6)
    assert harness.dashscope.count("submit") == 0


async def test_an_uncertain_part_that_was_none_and_nobody_came() -> None:
    """Two parts without a task and without bytes do not wait for each other."""
    harness = EditHarness()
    first = replace(a_task(harness, TaskState.SUBMITTING), n=4)
    harness.ledger.put(a_record(EditState.OPEN, first, n=6, digest=harness.request(n=6).digest))
    async with harness.service():
        await harness.clock.sleep(60.0)

    assert harness.ledger.records == []
    assert harness.dashscope.count("submit") == 0


class BreaksOnRecovery(RecordingObserver):
    """Breaks the first time that a task of another process is followed."""

    def recovered(self, how: str) -> None:
        first = how == "task_followed" and not self.of("recovered")
        super().recovered(how)
        if first:
            raise KeyError("nobody foresaw this")


async def test_a_part_that_broke_is_not_waited_for() -> None:
    """A bug in one part, and no bytes for another that was never made: the edit still ends."""
    harness = EditHarness()
    harness.observer = BreaksOnRecovery()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 1.0))
    harness.dashscope.tasks_by_id[task_id].n = 4
    first = replace(a_task(harness, TaskState.ACCEPTED, task_id=task_id), n=4)
    second = replace(a_task(harness, TaskState.SUBMITTING), part=1, n=2)
    harness.ledger.put(
        a_record(EditState.OPEN, first, second, n=6, digest=harness.request(n=6).digest)
    )
    async with harness.service():
        await harness.clock.sleep(60.0)

    assert harness.ledger.records[0].state is EditState.SUCCEEDED
    assert (len(harness.bugs), harness.dashscope.count("submit")) == (1, 0)


async def test_a_part_that_was_lost_is_lost_after_each_restart() -> None:
    """A process that finds it written as lost ends the edit in doubt for the next one, too."""
    harness = EditHarness()
    lost = replace(a_task(harness, TaskState.ENDED), outcome="lost")
    harness.ledger.put(a_record(EditState.OPEN, lost))
    codes = []
    for _ in range(2):
        async with harness.service() as service:
            await harness.clock.sleep(10.0)
            codes.append((await error_of(complete(service, harness.request()))).code)
            state = harness.ledger.records[0].state

    assert codes == ["upstream_task_lost", "upstream_task_lost"]
    assert state is EditState.FAILED
    assert harness.dashscope.count("submit") == 0
