"""Edits of a model that answers its submit with the pictures, and an answer that is lost."""

from typing import Any

from gateway.domain.errors import GatewayError, SubmitUncertain
from gateway.journey.ask import Ask
from gateway.journey.desk import Desk
from tests.fakes import Run, Submit
from tests.journey.house import House, buy

QWEN = "qwen-image-edit-plus"
LOST = SubmitUncertain("cut", upstream_code="ReadError")


def ask(house: House, prompt: str = "a red cat", **changes: Any) -> Ask:
    return house.ask(prompt, model=QWEN, **changes)


def a_house(*submits: Submit) -> House:
    house = House()
    house.world.run = Run(0.0, 15.0)
    house.world.submits.extend(submits)
    return house


async def refused_or_made(desk: Desk, asked: Ask) -> str:
    try:
        await buy(desk, asked)
    except GatewayError as error:
        return error.code
    return "made"
