"""Edits of a model that answers its submit with the pictures, and an answer that is lost."""

from typing import Any

from gateway.domain.errors import GatewayError, SubmitUncertain
from gateway.edits.request import EditRequest
from gateway.edits.service import EditService
from tests.edits.house import House, buy
from tests.fakes import Run, Submit

QWEN = "qwen-image-edit-plus"
LOST = SubmitUncertain("cut", upstream_code="ReadError")


def request(house: House, prompt: str = "a red cat", **changes: Any) -> EditRequest:
    return house.request(prompt, model=QWEN, **changes)


def a_house(*submits: Submit) -> House:
    house = House()
    house.world.run = Run(0.0, 15.0)
    house.world.submits.extend(submits)
    return house


async def refused_or_made(service: EditService, asked: EditRequest) -> str:
    try:
        await buy(service, asked)
    except GatewayError as error:
        return error.code
    return "made"
