"""
Checks of a submit's body, each with the region's own text (reference sections 1.3, 7.2).

`read_envelope` holds what is always refused at POST; `read_order` what the documents leave open
between POST and task, so that the caller can turn its refusal into a FAILED task.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.sandbox.answers import Refusal
from gateway.sandbox.models import Rules, rules_of
from gateway.sandbox.order import Order, Sent, Size
from gateway.sandbox.said import invalid, prompt_of, read_said, undefined

NEGATIVE_CHARACTERS = 500
SEEDS = range(2**31)

_SIZE = re.compile(r"([1-9][0-9]{0,4})\*([1-9][0-9]{0,4})")
_SYNC_ONLY = ("qwen-image-edit", "qwen-image-2.0", "qwen-image-max", "z-image")
_OTHER_ROUTE = ("wan", "qwen", "z-image")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The outer form: a known model and two JSON objects."""

    model: str
    input: Mapping[str, Any]
    parameters: Mapping[str, Any]


def read_envelope(body: bytes, models: tuple[str, ...], *, at_once: bool = False) -> Envelope:
    """
    Read the JSON body down to its objects.

    Args:
        body: What was posted.
        models: What this route serves.
        at_once: The route answers with results, and not with a task.

    Raises:
        Refusal: 400 for what is no such JSON, or names no model of this route; 403 for a model
            that cannot be called asynchronously.
    """
    try:
        table = orjson.loads(body)
    except orjson.JSONDecodeError:
        table = None
    if not isinstance(table, dict):
        raise invalid("Required body invalid, please check the request body format.")
    model = table.get("model")
    if not model:
        raise Refusal(
            400, "BadRequest.EmptyModel", 'Required parameter "model" missing from request.'
        )
    _check_model(model, models, at_once=at_once)
    entry = table.get("input")
    parameters = table.get("parameters")
    if entry is None or entry == {}:
        raise Refusal(
            400, "BadRequest.EmptyInput", "Required input parameter missing from request."
        )
    if not isinstance(entry, dict):
        raise Refusal(400, "BadRequest.IllegalInput", "The input parameter requires json format.")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid("check input data style.")
    return Envelope(model, entry, parameters or {})


def _check_model(model: Any, models: tuple[str, ...], *, at_once: bool) -> None:
    if model in models:
        return
    if not isinstance(model, str):
        raise invalid("The type or value of model is out of definition.")
    if model.startswith(_SYNC_ONLY) and not at_once:
        raise not_asynchronous()
    if model.startswith(_OTHER_ROUTE):
        raise invalid(
            "url error, please check url！"
            " For details, see: https://help.aliyun.com/zh/model-studio"
        )
    raise invalid("Model not exist.")


def not_asynchronous() -> Refusal:
    return Refusal(403, "AccessDenied", "current user api does not support asynchronous calls")


def read_order(envelope: Envelope, look_at: Callable[[str], Sent]) -> Order:
    """
    Read the fields of one edit.

    Args:
        envelope: The outer form.
        look_at: Turns one entry of ``images`` into the picture, or refuses it.

    Raises:
        Refusal: 400 with the text for the first field that is wrong.
    """
    parameters = envelope.parameters
    rules = rules_of(envelope.model)
    said = read_said(rules.form, envelope.input, parameters)
    if not said.prompt:
        raise invalid("Field required: input.prompt")
    count = parameters.get("n", rules.results.count)
    if type(count) is not int or count not in rules.results.counts:
        raise undefined("n")
    return Order(
        model=envelope.model,
        prompt=said.prompt[: rules.characters],
        negative_prompt=said.negative_prompt[:NEGATIVE_CHARACTERS],
        n=count,
        size=_size(parameters.get("size"), rules),
        seed=_seed(parameters.get("seed")),
        prompt_extend=_flag(parameters, "prompt_extend", default=True),
        watermark=_flag(parameters, "watermark", default=False),
        images=tuple(look_at(entry) for entry in _images(said.images, rules)),
    )


def broken_order(envelope: Envelope) -> Order:
    """Keep what can be kept of an edit that fails its checks inside the task."""
    rules = rules_of(envelope.model)
    results = rules.results
    count = envelope.parameters.get("n", results.count)
    return Order(
        model=envelope.model,
        prompt=prompt_of(rules.form, envelope.input)[: rules.characters],
        n=count if type(count) is int and count in results.counts else results.count,
    )


def _images(images: tuple[str, ...] | None, rules: Rules) -> tuple[str, ...]:
    if images is None and rules.images.start:
        raise invalid("Field required: input.images")
    if len(images or ()) not in rules.images:
        least = rules.images.start
        most = rules.images.stop - 1
        raise invalid(
            f"the parameters must conform to the specification: images must be {least} to {most}."
        )
    return images or ()


def _size(value: Any, rules: Rules) -> Size | None:
    if value is None:
        return None
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise undefined("size")
    width = int(match[1])
    height = int(match[2])
    if not rules.results.fit(width, height):
        raise undefined("size")
    return width, height


def _seed(value: Any) -> int | None:
    # The vendor's Java sample sends a string of digits.
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if value is None:
        return None
    if type(value) is not int or value not in SEEDS:
        raise undefined("seed")
    return value


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise undefined(name)
    return value
