"""The process before was not proven dead: its submits may still leave, and its writes may come."""

import pytest

from gateway.domain.errors import TaskFoundError
from gateway.domain.intent import INTENT_SECONDS
from gateway.edits.request import EditRequest
from tests.edits.crashing import run_until_death
from tests.edits.harness import CUT, EditHarness, complete, retry_until_done
from tests.fakes import Submit

pytestmark = pytest.mark.anyio


async def _left_submitting() -> EditHarness:
    """Let a process stop in the middle of a submit of which nothing has left."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT, makes=False))
    await run_until_death(harness, lambda count: harness.request(retry_count=count), 7)
    assert [task.state for it in harness.ledger.records for task in it.tasks] == ["submitting"]
    return harness


async def _finish(harness: EditHarness, submits_end_at: float) -> tuple[str, ...]:
    def request(count: int) -> EditRequest:
        return harness.request(retry_count=count + 1)

    async with harness.service(submits_end_at=submits_end_at) as service:
        answer = await retry_until_done(service, request, harness.clock)
    return answer.status.task_ids


@pytest.mark.parametrize("wait", [0.0, INTENT_SECONDS])
async def test_no_submit_before_its_last_byte(wait: float) -> None:
    """The list proves nothing until its intents have expired; 5 s of silence after that do."""
    harness = await _left_submitting()
    start = harness.clock.now()

    await _finish(harness, start + wait)

    again = [call.at for call in harness.dashscope.calls if call.operation == "submit"][-1]
    assert wait + 5.0 <= again - start < wait + 10.0
    assert len(harness.dashscope.paid) == 1


async def test_a_task_that_it_makes_yet_is_found() -> None:
    """A process that was stopped sends the rest after a takeover: nothing is paid again."""
    harness = await _left_submitting()
    late = harness.dashscope.stranger("a red cat", after=INTENT_SECONDS - 5)

    assert await _finish(harness, harness.clock.now() + INTENT_SECONDS) == (late,)
    assert harness.dashscope.count("submit") == 1


async def test_a_task_that_it_reports_late_is_followed() -> None:
    """The ledger has it when the part is to be submitted again: it is followed instead."""
    harness = EditHarness()
    late = harness.dashscope.stranger("a red cat")
    harness.ledger.faults["intend"] = [TaskFoundError(late, "main")]

    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == (late,)
    assert harness.dashscope.count("submit") == 0
