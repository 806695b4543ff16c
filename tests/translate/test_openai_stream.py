import base64
import json

from openai.types import ImageEditCompletedEvent

from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import InternalError, UpstreamFailed
from gateway.domain.models import Operation
from gateway.translate.openai_response import (
    HEARTBEAT,
    completed_frames,
    error_event,
    header_comments,
)


def test_completed_frames() -> None:
    """Around a picture they are one event, ended by a blank line, that the SDK's class takes."""
    picture = b"any picture"

    before, after = completed_frames(
        7, OutputOptions(output_format="webp"), Size(640, 480), Operation.EDIT
    )

    name, data, *rest = (before + base64.b64encode(picture) + after).decode().split("\n")
    assert (name, rest) == ("event: image_edit.completed", ["", ""])
    event = ImageEditCompletedEvent.model_validate_json(data.removeprefix("data: "), strict=True)
    assert base64.b64decode(event.b64_json) == picture
    assert (event.type, event.created_at, event.size) == ("image_edit.completed", 7, "640x480")
    assert (event.output_format, event.usage.total_tokens) == ("webp", 0)


def test_unknown_size() -> None:
    """A size that is not known is auto, which the schema allows."""
    _, after = completed_frames(7, OutputOptions(), None, Operation.EDIT)

    assert b'"size":"auto"' in after


def test_error_event() -> None:
    """An error stands inside the data, where SDKs look for it, and ends with a blank line."""
    event = error_event(UpstreamFailed("Theirs.\n\nReally."), "req_1")

    name, data, *rest = event.decode().split("\n")
    assert (name, rest) == ("event: error", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {
        "type": "error",
        "error": {
            "message": "Theirs.\n\nReally.",
            "type": "server_error",
            "param": None,
            "code": "upstream_failed",
        },
    }


def test_a_bug_as_an_event() -> None:
    """A bug tells its request id and nothing else."""
    event = error_event(InternalError("secret"), "req_1")

    assert b"req_1" in event
    assert b"secret" not in event


def test_comments() -> None:
    """Late headers are comments, one a line; none of them is no bytes at all."""
    assert header_comments({"a": "1", "b": "2"}) == b": a: 1\n: b: 2\n\n"
    assert header_comments({}) == b""
    assert HEARTBEAT.startswith(b":")
    assert HEARTBEAT.endswith(b"\n\n")
