"""
Checks of a submit's body, each with the region's own error text (sections 1.3, 1.4, 7.2 and 7.3).

`read_envelope` holds the checks that refuse a submit in any case. `read_request` holds those that
DashScope may make at POST or in the task, so that its caller can turn a refusal into a FAILED task.
"""

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

from gateway.sandbox.models import FORMATS, BodyForm, ModelRules, WrongSizeError, rules_of
from gateway.sandbox.responses import Refusal
from gateway.sandbox.tasks import InputPicture, Size, SubmitRequest

_ONE_MESSAGE = "messages length only support 1"


@dataclass(frozen=True, slots=True)
class SubmitInput:
    """The prompts and pictures of a submit; *images* is None where the field is missing."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(repr=False)
    images: tuple[str, ...] | None


def read_input(
    form: BodyForm, entry: Mapping[str, Any], parameters: Mapping[str, Any]
) -> SubmitInput:
    """
    Read the input of a body, in either form.

    Raises:
        Refusal: 400 for a part of a wrong type.
    """
    if form == "messages":
        texts, images = _content(entry)
        return SubmitInput(texts[0], text_field(parameters, "negative_prompt"), images)
    prompt, negative = (text_field(entry, name) for name in ("prompt", "negative_prompt"))
    entries = entry.get("images")
    if entries is None:
        return SubmitInput(prompt, negative, None)
    if not isinstance(entries, list) or not all(isinstance(image, str) for image in entries):
        raise undefined("images")
    return SubmitInput(prompt, negative, tuple(entries))


def prompt_if_readable(form: BodyForm, entry: Mapping[str, Any]) -> str:
    """Return the prompt of a body that may be wrong elsewhere; empty if the prompt is wrong too."""
    prompt_only = {name: entry[name] for name in ("prompt", "messages") if name in entry}
    try:
        return read_input(form, prompt_only, {}).prompt
    except Refusal:
        return ""


def text_field(table: Mapping[str, Any], name: str) -> str:
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
    if not all(isinstance(part, str) for part in (*texts, *images)):
        raise undefined("content")
    return texts, tuple(images)


SIDES = range(384, 5001)
#: Assumed size of the picture behind a URL: the sandbox fetches nothing.
PLACEHOLDER = (1024, 1024)

_DATA_URL_HEAD = re.compile(r"data:image/([a-z]+);base64,", re.IGNORECASE)
#: A ``data:`` URL whose head is longer than this is malformed.
_HEAD_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class PictureRules:
    """
    What an input picture must be.

    Attributes:
        max_bytes: Limit of the encoded file.
        refuse_alpha: Refuse pictures with an alpha channel.
        decodes: Decode every pixel and keep the file, to render results from it; else read the
            header and keep the digest.
        sides: Allowed width and height, in pixels.
        formats: Allowed formats of the file, and of the media type of an inline one.
    """

    max_bytes: int
    refuse_alpha: bool
    decodes: bool
    sides: range = SIDES
    formats: tuple[str, ...] = FORMATS


def check_picture(
    entry: str, rules: PictureRules, read_upload: Callable[[str], bytes]
) -> InputPicture:
    """
    Read and check one entry of ``images``.

    Args:
        entry: An ``http(s)``, ``data`` or ``oss`` URL.
        rules: What the picture must be.
        read_upload: Returns the file behind an ``oss://`` URL, or raises `Refusal`.

    Raises:
        Refusal: 400 with the region's error text.
    """
    if entry.startswith(("http://", "https://")):
        return InputPicture("url", sha256(entry.encode()).hexdigest(), PLACEHOLDER)
    if entry.startswith("oss://"):
        return _check_file("oss", read_upload(entry), rules)
    if entry[:5].lower() == "data:":
        return _check_file("data", _decode(entry, rules.formats), rules)
    raise invalid("The provided URL does not appear to be valid. Ensure it is correctly formatted.")


def _decode(entry: str, formats: tuple[str, ...]) -> bytes:
    head = _DATA_URL_HEAD.match(entry[:_HEAD_CHARACTERS])
    if not head or head[1].upper().replace("JPG", "JPEG") not in formats:
        raise invalid("image format error")
    try:
        return pybase64.b64decode(memoryview(entry.encode("ascii"))[head.end() :], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid("image format error") from exc


def _check_file(kind: str, data: bytes, rules: PictureRules) -> InputPicture:
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
    return InputPicture(
        "oss" if kind == "oss" else "data",
        sha256(data).hexdigest(),
        size,
        data if rules.decodes else None,
    )


NEGATIVE_CHARACTERS = 500
SEEDS = range(2**31)

_OTHER_ROUTE = ("wan", "qwen", "z-image")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The outer form of a body: a model that the path serves, and two JSON objects."""

    model: str
    input: Mapping[str, Any]
    parameters: Mapping[str, Any]


def read_envelope(
    body: bytes, serves: Callable[[str], bool], *, synchronous: bool = False
) -> Envelope:
    """
    Read a JSON body down to its two objects.

    Args:
        body: The body of the POST.
        serves: Whether this path serves a model.
        synchronous: The path responds with results, not with a task.

    Raises:
        Refusal: 400 for a malformed body or a model that this path does not serve; 403 for a model
            that has no asynchronous calls.
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
    _check_model(model, serves, synchronous=synchronous)
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


def _check_model(model: Any, serves: Callable[[str], bool], *, synchronous: bool) -> None:
    if not isinstance(model, str):
        raise invalid("The type or value of model is out of definition.")
    if serves(model):
        return
    if rules_of(model).synchronous and not synchronous:
        raise not_asynchronous()
    if model.startswith(_OTHER_ROUTE):
        raise invalid(
            "url error, please check url！"
            " For details, see: https://help.aliyun.com/zh/model-studio"
        )
    raise invalid("Model not exist.")


def not_asynchronous() -> Refusal:
    return Refusal(403, "AccessDenied", "current user api does not support asynchronous calls")


def read_request(envelope: Envelope, read_picture: Callable[[str], InputPicture]) -> SubmitRequest:
    """
    Read and check the fields of a submit.

    Args:
        envelope: The outer form.
        read_picture: Reads and checks one entry of ``images``.

    Raises:
        Refusal: 400 for the first field that is wrong.
    """
    parameters = envelope.parameters
    rules = rules_of(envelope.model)
    submitted = read_input(rules.form, envelope.input, parameters)
    if not submitted.prompt:
        raise invalid("Field required: input.prompt")
    if rules.count_first:
        _count(parameters, rules)
    size = _size(parameters.get("size"), rules, of_pictures=bool(submitted.images))
    named = parameters.get("size")
    return SubmitRequest(
        model=envelope.model,
        prompt=submitted.prompt[: rules.characters],
        negative_prompt=submitted.negative_prompt[:NEGATIVE_CHARACTERS],
        n=_count(parameters, rules),
        size=size,
        area=None if named is None else rules.results.tokens.get(named),
        seed=_seed(parameters.get("seed")),
        prompt_extend=_flag(parameters, "prompt_extend", default=rules.extends),
        watermark=_flag(parameters, "watermark", default=False),
        images=tuple(read_picture(entry) for entry in _images(submitted.images, rules)),
    )


def readable_part(envelope: Envelope) -> SubmitRequest:
    """Return the readable part of a submit whose checks fail in the task."""
    rules = rules_of(envelope.model)
    results = rules.results
    count = envelope.parameters.get("n", results.count)
    return SubmitRequest(
        model=envelope.model,
        prompt=prompt_if_readable(rules.form, envelope.input)[: rules.characters],
        n=count if type(count) is int and count in results.counts else results.count,
    )


def _images(images: tuple[str, ...] | None, rules: ModelRules) -> tuple[str, ...]:
    if images is None and rules.images.start:
        raise invalid("Field required: input.images")
    if len(images or ()) not in rules.images:
        least = rules.images.start
        most = rules.images.stop - 1
        if rules.form == "prompt":
            raise invalid(
                "the parameters must conform to the specification: images must be"
                f" {least} to {most}."
            )
        if least:
            raise invalid(f"the last message must contain {least} to {most} images")
        raise invalid(f"the model supports {least}~{most} image content items")
    return images or ()


def _count(parameters: Mapping[str, Any], rules: ModelRules) -> int:
    count = parameters.get("n", rules.results.count)
    if type(count) is not int or count not in rules.results.counts:
        if rules.results.counts.stop == 2:
            raise invalid("num_images_per_prompt must be 1")
        raise undefined("n")
    return count


def _size(value: Any, rules: ModelRules, *, of_pictures: bool) -> Size | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise undefined("size")
    try:
        return rules.results.read(value, of_pictures=of_pictures)
    except WrongSizeError as exc:
        raise invalid(str(exc)) from exc


def _seed(value: Any) -> int | None:
    # DashScope's Java sample sends a string of digits.
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
