"""Edits of a model that answers its submit with the pictures, and an answer that is lost."""

from typing import Any

from gateway.domain.errors import GatewayError, SubmitUncertain
from gateway.edits.request import EditRequest
from gateway.edits.service import EditService
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit

QWEN = "qwen-image-edit-plus"
LOST = SubmitUncertain("cut", upstream_code="ReadError")


def request(harness: EditHarness, prompt: str = "a red cat", **changes: Any) -> EditRequest:
    return harness.request(prompt, model=QWEN, **changes)


def a_harness(*submits: Submit) -> EditHarness:
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 15.0)
    harness.dashscope.submits.extend(submits)
    return harness


async def refused_or_made(service: EditService, query: EditRequest) -> str:
    try:
        await complete(service, query)
    except GatewayError as error:
        return error.code
    return "made"
