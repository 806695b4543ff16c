"""The input of a submit in both forms, word for word."""

from typing import Any

import pytest

from gateway.sandbox.checks import Said, prompt_of, read_said
from gateway.sandbox.models import Form
from gateway.sandbox.responses import Refusal


def message(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(content)}]}


def test_the_older_form() -> None:
    """Prompt, negative prompt and pictures are fields; no pictures is not the same as none."""
    entry = {"prompt": "a hat", "negative_prompt": "no cap", "images": ["u"]}

    assert read_said("prompt", entry, {}) == Said("a hat", "no cap", ("u",))
    assert read_said("prompt", {"prompt": "a hat"}, {}) == Said("a hat", "", None)


def test_the_newer_form() -> None:
    """One message holds a text and pictures in any order; the negative prompt is a parameter."""
    entry = message({"image": "u"}, {"text": "a hat"}, {"image": "v"})

    assert read_said("messages", entry, {"negative_prompt": "no cap"}) == Said(
        "a hat", "no cap", ("u", "v")
    )


@pytest.mark.parametrize(
    ("form", "entry", "text"),
    [
        pytest.param("prompt", {"prompt": 1}, "type or value of prompt", id="prompt"),
        pytest.param("prompt", {"images": "u"}, "type or value of images", id="images"),
        pytest.param("messages", {"prompt": "a"}, "No messages found in input", id="none"),
        pytest.param("messages", {"messages": []}, "No messages found in input", id="empty"),
        pytest.param(
            "messages", {"messages": [{}, {}]}, "messages length only support 1", id="two"
        ),
        pytest.param("messages", message(role="system"), "value of messages", id="role"),
        pytest.param("messages", message({"image": "u"}), "lack of image or text", id="no text"),
        pytest.param(
            "messages", message({"text": "a"}, {"text": "b"}), "lack of image or text", id="texts"
        ),
        pytest.param("messages", message({"text": "a"}, "b"), "lack of image or text", id="string"),
        pytest.param("messages", message({"text": 1}), "type or value of content", id="number"),
    ],
)
def test_what_is_wrong(form: Form, entry: dict[str, Any], text: str) -> None:
    """The first thing that is wrong is told."""
    with pytest.raises(Refusal) as refused:
        read_said(form, entry, {})

    assert text in refused.value.message


@pytest.mark.parametrize(
    ("form", "entry", "prompt"),
    [
        pytest.param("prompt", {"prompt": "a", "images": 1}, "a", id="older"),
        pytest.param("prompt", {"prompt": 1}, "", id="no text"),
        pytest.param("messages", message({"text": "a"}), "a", id="newer"),
        pytest.param("messages", {"messages": 1}, "", id="no message"),
    ],
)
def test_prompt_of_a_broken_body(form: Form, entry: dict[str, Any], prompt: str) -> None:
    """A prompt that can be read is kept, whatever else is wrong."""
    assert prompt_of(form, entry) == prompt
