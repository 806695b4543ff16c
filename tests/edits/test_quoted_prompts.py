"""A prompt that upstream quotes in its reason is kept nowhere, nor told."""

import pytest

from gateway.domain.task import TaskStatus
from gateway.translate.dashscope_fault import fault
from tests.edits.dying import one_life
from tests.edits.house import House, buy, refusal
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

PROMPT = "Frau Müller in a red hat before the town hall"
REASON = f"Input “{PROMPT}” may contain inappropriate content"


async def test_a_task_that_failed_for_its_prompt() -> None:
    """Neither the answer nor the ledger holds it; the reason itself stays."""
    house = House()
    why = fault("DataInspectionFailed", REASON)
    house.world.submits.append(Submit(run=Run(end=TaskStatus.FAILED, fault=why)))
    async with house.service() as service:
        refused = await refusal(buy(service, house.request(PROMPT)))

    (record,) = house.ledger.records
    assert "[prompt]" in refused.message
    assert "may contain inappropriate content" in refused.message
    assert record.error_message == refused.message
    assert "Müller" not in refused.message


async def test_the_same_after_a_restart() -> None:
    """The prompt is not known any more then, so that nothing of what was said is kept."""
    house = House()
    why = fault("DataInspectionFailed", REASON)
    house.world.submits.append(Submit(run=Run(end=TaskStatus.FAILED, fault=why)))
    await one_life(house, lambda _: house.request(PROMPT), 9)
    async with house.service():
        await house.clock.sleep(60.0)

    (record,) = house.ledger.records
    assert record.error_message is not None
    assert "Müller" not in record.error_message
    assert "inappropriate" not in record.error_message
