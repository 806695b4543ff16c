"""Pictures → OpenAI's answer; the pictures are encoded while they are sent."""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.translate.openai_error import error_object

_OBJECTS = {Operation.EDIT: "image.edit", Operation.GENERATE: "image.generation"}
_FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
"""By the endings of file names."""
_OPEN = b'{"b64_json":"'
_NEXT = b',{"b64_json":"'
_CLOSE = b'"}'


def answer_frames(
    created: int,
    n: int,
    form: OutputOptions,
    size: Size | None = None,
    prompts: Sequence[str] = (),
) -> tuple[bytes, ...]:
    """
    Return what stands before, between and after *n* pictures in base64: n + 1 pieces.

    With them it is ``{"created": int, "data": [{"b64_json": str}, ...],
    "output_format": str, "size": "WxH"}``; ``size`` only where it is known. No ``usage``:
    DashScope counts no tokens, and a half one breaks clients.

    Args:
        created: Seconds since the epoch.
        n: Pictures, at least one.
        form: Its output format is named.
        size: Of all pictures, in pixels.
        prompts: What each was made by, where DashScope rewrote the prompt; empty: not known.
    """
    closes = [_close(prompt) for prompt in prompts] or [_CLOSE] * n
    between = [close + _NEXT for close in closes[:-1]]
    return (_head(created) + _OPEN, *between, closes[-1] + _tail(form, size))


def _close(prompt: str) -> bytes:
    """Return the end of a picture's object, with the prompt that it was made by."""
    return b'","revised_prompt":%b}' % orjson.dumps(prompt) if prompt else _CLOSE


def url_answer(created: int, urls: Iterable[str], prompts: Sequence[str] = ()) -> bytes:
    """
    Return the answer for ``response_format=url``: URLs only, never beside ``b64_json``.

    The pictures are not read: ``output_format`` is set if the file names agree on it.
    """
    data = [{"url": url} for url in urls]
    for row, prompt in zip(data, prompts, strict=False):
        if prompt:
            row["revised_prompt"] = prompt
    body: dict[str, object] = {"created": created, "data": data}
    formats = {_FORMATS.get(_ending(row["url"])) for row in data}
    if len(formats) == 1 and (format_ := formats.pop()):
        body["output_format"] = format_
    return orjson.dumps(body)


def _ending(url: str) -> str:
    path = url.partition("#")[0].partition("?")[0]
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def running_answer(edit_id: str, operation: Operation, *, status: str, created: int) -> bytes:
    """Return the 202 of an edit that has not ended."""
    body = {"id": edit_id, "object": _OBJECTS[operation], "status": status, "created": created}
    return orjson.dumps(body)


def models_answer(names: Iterable[str], *, created: int) -> bytes:
    """Return ``GET /v1/models``: every name that may be asked for."""
    return orjson.dumps({"object": "list", "data": [_model(name, created) for name in names]})


def model_answer(name: str, *, created: int) -> bytes:
    """Return ``GET /v1/models/{name}``: the bare object (openai.md 5.2)."""
    return orjson.dumps(_model(name, created))


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "wan-gateway"}


def _head(created: int) -> bytes:
    return b'{"created":%d,"data":[' % created


def _tail(form: OutputOptions, size: Size | None) -> bytes:
    tail = b'],"output_format":' + orjson.dumps(form.output_format)
    if size is not None:
        tail += b',"size":' + orjson.dumps(str(size))
    return tail + b"}"


HEARTBEAT = b": keep-alive\n\n"
"""A comment: an event without data, such as a ping, breaks the Python SDK (openai.md 7.4)."""

_COMPLETED = {
    Operation.EDIT: b"image_edit.completed",
    Operation.GENERATE: b"image_generation.completed",
}
# The schema requires it, and DashScope counts no tokens.
_NO_USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


def completed_frames(
    created: int, form: OutputOptions, size: Size | None, operation: Operation
) -> tuple[bytes, bytes]:
    """
    Return what stands before and after one picture in base64 in its event.

    It has every field of the SDKs' ImageEditCompletedEvent, or of ImageGenCompletedEvent.
    What is not known is ``auto``, which the schema allows; ``usage`` is all zeros.

    Args:
        created: Seconds since the epoch.
        form: Its output format is named.
        size: Of this picture, in pixels.
        operation: What the client asked for; it names the event.
    """
    event = _COMPLETED[operation]
    before = b'event: %b\ndata: {"type":"%b","b64_json":"' % (event, event)
    return before, b'",' + orjson.dumps(_about_picture(created, form, size))[1:] + b"\n\n"


def completed_url(created: int, url: str, form: OutputOptions, operation: Operation) -> bytes:
    """Return the event of one picture with its URL in place of the picture; see above."""
    event = _COMPLETED[operation]
    data = {"type": event.decode(), "url": url, **_about_picture(created, form, None)}
    return b"event: %b\ndata: %b\n\n" % (event, orjson.dumps(data))


def _about_picture(created: int, form: OutputOptions, size: Size | None) -> dict[str, object]:
    return {
        "created_at": created,
        "size": "auto" if size is None else str(size),
        "quality": "auto",
        "background": "auto",
        "output_format": form.output_format,
        "usage": _NO_USAGE,
    }


def error_event(error: GatewayError, request_id: str) -> bytes:
    """Return what SDKs raise as APIError: an event whose data has an ``error`` inside."""
    return error_event_of(error_object(error, request_id))


def error_event_of(error: Mapping[str, str | None]) -> bytes:
    """Return the same of the inner object of OpenAI's envelope."""
    data = {"type": "error", "error": error}
    return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"


def header_comments(headers: Mapping[str, str]) -> bytes:
    """Return headers that are known too late for the head, as comments of an event stream."""
    lines = "".join(f": {name}: {value}\n" for name, value in headers.items())
    return f"{lines}\n".encode() if headers else b""
