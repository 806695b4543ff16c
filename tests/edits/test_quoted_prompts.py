"""A prompt that upstream quotes in its reason is kept nowhere, nor told."""

import pytest

from gateway.domain.task import TaskStatus
from gateway.translate.dashscope_fault import fault
from tests.edits.crashing import run_until_death
from tests.edits.harness import EditHarness, complete, error_of
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

PROMPT = "Frau Müller in a red hat before the town hall"
REASON = f"Input “{PROMPT}” may contain inappropriate content"


async def test_a_task_that_failed_for_its_prompt() -> None:
    """Neither the answer nor the ledger holds it; the reason itself stays."""
    harness = EditHarness()
    why = fault("DataInspectionFailed", REASON)
    harness.dashscope.submits.append(Submit(run=Run(end=TaskStatus.FAILED, fault=why)))
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(PROMPT)))

    (record,) = harness.ledger.records
    assert "[prompt]" in refused.message
    assert "may contain inappropriate content" in refused.message
    assert record.error_message == refused.message
    assert "Müller" not in refused.message


async def test_the_same_after_a_restart() -> None:
    """The prompt is not known any more then, so that nothing of what was said is kept."""
    harness = EditHarness()
    why = fault("DataInspectionFailed", REASON)
    harness.dashscope.submits.append(Submit(run=Run(end=TaskStatus.FAILED, fault=why)))
    await run_until_death(harness, lambda _: harness.request(PROMPT), 9)
    async with harness.service():
        await harness.clock.sleep(60.0)

    (record,) = harness.ledger.records
    assert record.error_message is not None
    assert "Müller" not in record.error_message
    assert "inappropriate" not in record.error_message
