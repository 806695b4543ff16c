"""An end that leaves it open whether somebody paid: who hears it, who does not, what it holds."""

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import InternalError, ResultUnavailable, StillRunning, SubmitUncertain
from gateway.domain.record import EditState, TaskState
from gateway.journey.ask import Ask
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream
from tests.journey.house import House, buy, refusal
from tests.journey.test_carry import a_record, a_task

pytestmark = pytest.mark.anyio

QWEN = "qwen-image-edit-plus"
LOST = SubmitUncertain("cut", upstream_code="ReadError")


def ask(house: House, prompt: str = "a red cat", **changes: Any) -> Ask:
    return house.ask(prompt, model=QWEN, **changes)


def a_house(*submits: Submit) -> House:
    house = House()
    house.world.run = Run(0.0, 15.0)
    house.world.submits.extend(submits)
    return house


async def test_it_holds_no_picture() -> None:
    """It is kept until it was told: what the customer sent, and who heard it, is not."""
    house = a_house(Submit(SubmitUncertain("cut")))
    async with house.desk() as desk:
        for _ in range(3):
            await refusal(buy(desk, ask(house, pictures=(Picture(b"canary"),))))
        house.observer.seen.clear()
        gc.collect()
        held = [
            it for it in gc.get_objects() if isinstance(it, Picture) and it.content == b"canary"
        ]

        assert len(desk._register) == 1
    assert held == []
