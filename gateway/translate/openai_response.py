"""Pictures → OpenAI's answer; the pictures are encoded while they are sent."""

from collections.abc import Iterable

import orjson

from gateway.domain.edit import OutputOptions, Size
from gateway.domain.models import Operation

_OBJECTS = {Operation.EDIT: "image.edit", Operation.GENERATE: "image.generation"}
_FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
"""By the endings of file names."""
_OPEN = b'{"b64_json":"'
_NEXT = b'"},{"b64_json":"'
_CLOSE = b'"}'


def answer_frames(
    created: int, n: int, form: OutputOptions, size: Size | None = None
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
    """
    return (_head(created) + _OPEN, *[_NEXT] * (n - 1), _CLOSE + _tail(form, size))


def url_answer(created: int, urls: Iterable[str]) -> bytes:
    """
    Return the answer for ``response_format=url``: URLs only, never beside ``b64_json``.

    Their pictures are not looked at: ``output_format`` is told where the names of the files
    agree on it.
    """
    data = [{"url": url} for url in urls]
    said: dict[str, object] = {"created": created, "data": data}
    formats = {_FORMATS.get(_ending(row["url"])) for row in data}
    if len(formats) == 1 and (known := formats.pop()):
        said["output_format"] = known
    return orjson.dumps(said)


def _ending(url: str) -> str:
    path = url.partition("#")[0].partition("?")[0]
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def running_answer(edit_id: str, operation: Operation, *, status: str, created: int) -> bytes:
    """Return the 202 of an edit that has not ended."""
    said = {"id": edit_id, "object": _OBJECTS[operation], "status": status, "created": created}
    return orjson.dumps(said)


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
