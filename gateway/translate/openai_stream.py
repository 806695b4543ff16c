"""Pictures and errors → OpenAI's server-sent events (openai.md 3.2)."""

from collections.abc import Mapping

import orjson

from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.translate.openai_error import error_object

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
    rest = {
        "created_at": created,
        "size": "auto" if size is None else str(size),
        "quality": "auto",
        "background": "auto",
        "output_format": form.output_format,
        "usage": _NO_USAGE,
    }
    event = _COMPLETED[operation]
    before = b'event: %b\ndata: {"type":"%b","b64_json":"' % (event, event)
    return before, b'",' + orjson.dumps(rest)[1:] + b"\n\n"


def error_event(error: GatewayError, request_id: str) -> bytes:
    """Return what SDKs raise as APIError: an event whose data has an ``error`` inside."""
    said = {"type": "error", "error": error_object(error, request_id)}
    return b"event: error\ndata: " + orjson.dumps(said) + b"\n\n"


def comments(said: Mapping[str, str]) -> bytes:
    """Return headers that are known too late for the head, as lines that every client skips."""
    lines = "".join(f": {name}: {value}\n" for name, value in said.items())
    return f"{lines}\n".encode() if said else b""
