import json

import pytest

from gateway.domain.edit import Edit, Part
from gateway.translate.dashscope_request import submit_body
from tests.models import MODELS


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_its_form(model: str) -> None:
    """The table's family decides whether a prompt goes by itself or in a message."""
    body = submit_body(MODELS[model], Edit(model=model, prompt="a cat"), Part(0, 1), ())

    content = json.loads(b"".join(body.pieces()))
    assert content["model"] == model
    form = "prompt" if model.startswith("wan2.5") else "messages"
    assert list(content["input"]) == [form]
