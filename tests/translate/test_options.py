"""Options that some models have: thinking, boxes, colours, transparency."""

import json
from typing import Any

import pytest

from gateway.domain.edit import Edit, Part
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Catalog, Operation
from gateway.edits.digest import digest_of
from gateway.ledger.encoding import decode_promised_edit, encode_promised_edit
from gateway.translate.dashscope_request import submit_body
from gateway.translate.openai_json import JsonScan, read_json
from gateway.translate.openai_request import edit_of
from tests.models import MODELS

WAN27, QWEN3, QWEN21, WAN25 = (
    "wan2.7-image",
    "qwen-image-3.0",
    "qwen-image-2.1-pro",
    "wan2.5-i2i-preview",
)
BOXES = [[[10, 20, 110, 220]], []]
COLOURS = [
    {"hex": "#C2D1E6", "ratio": "23.51%"},
    {"hex": "#000000", "ratio": "50.00%"},
    {"hex": "#ffffff", "ratio": "26.49%"},
]


def made(
    model: str, *fields: tuple[str, str], operation: Operation = Operation.EDIT, prompt: str = "a"
) -> Edit:
    catalog = Catalog(operation, MODELS, model)
    return edit_of([("prompt", prompt), *fields], catalog=catalog, strict=True, fit=True)


def refusal(*given: Any, **more: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        made(*given, **more)
    return refused.value


@pytest.mark.parametrize(
    ("model", "operation", "name", "text", "value"),
    [
        (WAN27, Operation.GENERATE, "thinking_mode", "true", True),
        (WAN27, Operation.EDIT, "bbox_list", json.dumps(BOXES), BOXES),
        (WAN27, Operation.EDIT, "color_palette", json.dumps(COLOURS), COLOURS),
        (QWEN3, Operation.EDIT, "enable_thinking", "false", False),
        (QWEN3, Operation.EDIT, "prompt_extend_mode", "direct", "direct"),
        (QWEN3, Operation.GENERATE, "prompt_extend_mode", "Agent", "agent"),
    ],
)
def test_an_option_goes_up(
    model: str, operation: Operation, name: str, text: str, value: object
) -> None:
    """An option of the model is a parameter of its submit, as it was sent."""
    edit = made(model, (name, text), operation=operation)

    body = b"".join(submit_body(MODELS[model], edit, Part(0, 1), ()).pieces())
    assert json.loads(body)["parameters"][name] == value
    assert edit.ignored == ()


@pytest.mark.parametrize(
    ("model", "operation", "name", "text", "says"),
    [
        (WAN25, Operation.EDIT, "thinking_mode", "true", "without pictures"),
        (WAN25, Operation.EDIT, "bbox_list", json.dumps(BOXES), "has no 'bbox_list'"),
        (WAN25, Operation.EDIT, "enable_thinking", "true", "has no 'enable_thinking'"),
        (QWEN3, Operation.EDIT, "color_palette", json.dumps(COLOURS), "has no 'color_palette'"),
        (WAN27, Operation.EDIT, "thinking_mode", "true", "without pictures"),
        (WAN27, Operation.GENERATE, "bbox_list", json.dumps(BOXES), "there are none"),
        (QWEN3, Operation.EDIT, "prompt_extend_mode", "agent", "without pictures"),
        (QWEN3, Operation.EDIT, "prompt_extend_mode", "fast", "'direct' or 'agent'"),
        (WAN27, Operation.EDIT, "bbox_list", "[", "a list for each picture"),
        (WAN27, Operation.EDIT, "bbox_list", "[]", "a list for each picture"),
        (WAN27, Operation.EDIT, "bbox_list", "[[[1, 2, 3]]]", "a list for each picture"),
        (WAN27, Operation.EDIT, "bbox_list", "[[[9, 2, 3, 4]]]", "a list for each picture"),
        (WAN27, Operation.EDIT, "bbox_list", "[[[1,2,3,4],[1,2,3,4],[1,2,3,4]]]", "one or two"),
        (WAN27, Operation.EDIT, "color_palette", "[]", "three to ten"),
        (WAN27, Operation.EDIT, "color_palette", "{}", "three to ten"),
        (WAN27, Operation.EDIT, "color_palette", json.dumps(COLOURS * 2), "add up to 100.00%"),
        (WAN27, Operation.EDIT, "color_palette", json.dumps([*COLOURS[:2], 7]), "three to ten"),
        (
            WAN27,
            Operation.EDIT,
            "color_palette",
            json.dumps([*COLOURS[:2], {"hex": "white", "ratio": "26.49%"}]),
            "three to ten",
        ),
    ],
)
def test_an_option_that_is_refused(
    model: str, operation: Operation, name: str, text: str, says: str
) -> None:
    """What a model does not have, or not here, or not of this shape, is refused by its name."""
    refused = refusal(model, (name, text), operation=operation)

    assert refused.param == name
    assert says in refused.message


def test_a_list_in_json_stays_whole() -> None:
    """In a JSON body, and inside parameters, boxes and colours are not taken to pieces."""
    body = {"prompt": "a", "bbox_list": BOXES, "parameters": {"color_palette": COLOURS}}
    raw = json.dumps(body).encode()
    scan = JsonScan(len(raw))
    scan.feed(raw)
    scan.end()

    fields = dict(read_json(scan, lambda *_: 0).fields)

    assert json.loads(fields["bbox_list"]) == BOXES
    assert json.loads(fields["parameters[color_palette]"]) == COLOURS


@pytest.mark.parametrize(
    ("model", "operation", "fields", "options"),
    [
        (WAN27, Operation.GENERATE, {"complexity": "low"}, {"thinking_mode": "false"}),
        (WAN27, Operation.GENERATE, {"complexity": "high"}, {"thinking_mode": "true"}),
        (QWEN3, Operation.EDIT, {"complexity": "medium"}, {"enable_thinking": "true"}),
        (
            QWEN3,
            Operation.EDIT,
            {"complexity": "high", "enable_thinking": "false"},
            {"enable_thinking": "false"},
        ),
    ],
)
def test_complexity_is_thinking(
    model: str, operation: Operation, fields: dict[str, str], options: dict[str, str]
) -> None:
    """OpenAI's effort of planning is thinking, unless the client says itself what it wants."""
    edit = made(model, *fields.items(), operation=operation)

    assert (dict(edit.options), edit.ignored) == (options, ())


@pytest.mark.parametrize("model", [WAN25, WAN27])
def test_complexity_without_thinking(model: str) -> None:
    """A model that cannot think, or not about pictures, has the field listed."""
    edit = made(model, ("complexity", "high"))

    assert (edit.options, edit.ignored) == ((), ("complexity",))


def test_a_transparent_background_is_asked_for_in_words() -> None:
    """The prompt asks for it, since there is no parameter, and the field has its effect."""
    edit = made(QWEN21, ("background", "transparent"), ("output_format", "webp"), prompt="a cat")

    assert edit.prompt.startswith("a cat\n")
    assert "background is fully transparent" in edit.prompt
    assert (edit.transparent, edit.ignored) == (True, ())
    assert not made(QWEN21, ("background", "opaque")).transparent


@pytest.mark.parametrize(
    ("given", "param", "says"),
    [
        ((WAN25, ("background", "transparent")), "background", "or use qwen-image-2.1-pro or"),
        (
            (QWEN21, ("background", "transparent"), ("output_format", "jpeg")),
            "background",
            "a JPEG cannot be transparent",
        ),
    ],
)
def test_no_transparent_background(given: Any, param: str, says: str) -> None:
    """A model or format that cannot be transparent is refused, with those that can."""
    refused = refusal(*given)

    assert refused.param == param
    assert says in refused.message


def test_an_option_is_content() -> None:
    """Requests with different options are different edits, and one is kept with its options."""
    plain = made(WAN27)
    boxed = made(WAN27, ("bbox_list", json.dumps(BOXES)))

    assert digest_of(plain, Operation.EDIT, [], {}) != digest_of(boxed, Operation.EDIT, [], {})
    assert decode_promised_edit(b"".join(encode_promised_edit(boxed, ()))) == (boxed, ())
