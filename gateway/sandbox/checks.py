"""x"""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Any

import orjson
import pybase64
from PIL import Image

from gateway.sandbox.models import FORMATS, Form, Rules, rules_of
from gateway.sandbox.responses import Refusal
from gateway.sandbox.tasks import Order, Sent, Size

_ONE_MESSAGE = "messages length only support 1"


@dataclass(frozen=True, slots=True)
class Said:
    """What the input says; *images* is None where the field itself is missing."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(repr=False)
    images: tuple[str, ...] | None


def read_said(form: Form, entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> Said:
    """
    Read the input of a body.

    Raises:
        Refusal: 400 for a part of it that has the wrong type.
    """
    if form == "messages":
        texts, images = _content(entry)
        return Said(texts[0], text_of_field(parameters, "negative_prompt"), images)
    prompt, negative = (text_of_field(entry, name) for name in ("prompt", "negative_prompt"))
    given = entry.get("images")
    if given is None:
        return Said(prompt, negative, None)
    if not isinstance(given, list) or not all(isinstance(image, str) for image in given):
        raise undefined("images")
    return Said(prompt, negative, tuple(given))


def prompt_of(form: Form, entry: Mapping[str, Any]) -> str:
    """Return the prompt of a body that may be wrong elsewhere, empty if it is wrong itself."""
    alone = {name: entry[name] for name in ("prompt", "messages") if name in entry}
    try:
        return read_said(form, alone, {}).prompt
    except Refusal:
        return ""


def text_of_field(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise undefined(name)
    return value


def invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameter", message)


def undefined(name: str) -> Refusal:
    return invalid(f"The type or value of {name} is out of definition.")


def _content(entry: Mapping[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    messages = entry.get("messages")
    if not messages:
        raise invalid("No messages found in input")
    match messages:
        case [{"role": "user", "content": [*content]}]:
            texts = [one["text"] for one in content if isinstance(one, dict) and "text" in one]
            images = [one["image"] for one in content if isinstance(one, dict) and "image" in one]
        case [_]:
            raise undefined("messages")
        case _:
            raise invalid(_ONE_MESSAGE)
    if len(texts) != 1 or len(texts) + len(images) != len(content):
        raise invalid("lack of image or text")
    if not all(isinstance(said, str) for said in (*texts, *images)):
        raise undefined("content")
    return texts, tuple(images)


SIDES = range(384, 5001)
#: What a URL's picture is taken for, since the sandbox fetches nothing.
PLACEHOLDER = (1024, 1024)

_HEAD = re.compile(r"data:image/([a-z]+);base64,", re.IGNORECASE)
#: No MIME type is longer; a head without a comma in there is none.
_HEAD_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class PictureRules:
    """
    What a picture must be.

    Attributes:
        sides: Width and height, in pixels.
        formats: Of its bytes, and of the type that an inline one names.
        decodes: Every pixel is decoded (and the bytes are kept to make results from); else its
            header is read and its digest kept.
    """

    max_bytes: int
    refuse_alpha: bool
    decodes: bool
    sides: range = SIDES
    formats: tuple[str, ...] = FORMATS


def look_at(entry: str, rules: PictureRules, uploaded: Callable[[str], bytes]) -> Sent:
    """
    Turn one entry of ``images`` into the picture.

    Args:
        entry: An ``http(s)``, ``data`` or ``oss`` URL.
        rules: What the picture must be.
        uploaded: Bytes behind an ``oss://`` URL, or a refusal.

    Raises:
        Refusal: 400 with the region's text.
    """
    if entry.startswith(("http://", "https://")):
        return Sent("url", sha256(entry.encode()).hexdigest(), PLACEHOLDER)
    if entry.startswith("oss://"):
        return _checked("oss", uploaded(entry), rules)
    if entry[:5].lower() == "data:":
        return _checked("data", _decode(entry, rules.formats), rules)
    raise invalid("The provided URL does not appear to be valid. Ensure it is correctly formatted.")


def _decode(entry: str, formats: tuple[str, ...]) -> bytes:
    head = _HEAD.match(entry[:_HEAD_CHARACTERS])
    if not head or head[1].upper().replace("JPG", "JPEG") not in formats:
        raise invalid("image format error")
    try:
        return pybase64.b64decode(memoryview(entry.encode("ascii"))[head.end() :], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid("image format error") from exc


def _checked(kind: str, data: bytes, rules: PictureRules) -> Sent:
    if len(data) > rules.max_bytes:
        raise invalid("Multimodal file size is too large")
    try:
        with Image.open(BytesIO(data), formats=rules.formats) as picture:
            size = picture.size
            sides = rules.sides
            if size[0] not in sides or size[1] not in sides:
                raise invalid(f"Image dimensions must be in [{sides.start}, {sides.stop - 1}]")
            if rules.refuse_alpha and picture.has_transparency_data:
                raise invalid("The image format is invalid: transparent channel is not supported.")
            if rules.decodes:
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise Refusal(
            400, "InvalidParameter", "The file format is illegal and cannot be opened."
        ) from exc
    return Sent(
        "oss" if kind == "oss" else "data",
        sha256(data).hexdigest(),
        size,
        data if rules.decodes else None,
    )


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
