"""Pictures → OpenAI's answer; the pictures are encoded while they are sent."""

from collections.abc import Iterable, Iterator, Sequence

import orjson

from gateway.domain.edit import AnswerForm, Size
from gateway.translate.base64_slices import encoded, encoded_length

_OPEN, _NEXT, _CLOSE = b'{"b64_json":"', b'"},{"b64_json":"', b'"}'


def answer_pieces(
    created: int,
    pictures: Sequence[bytes | memoryview],
    form: AnswerForm,
    size: Size | None = None,
) -> Iterator[bytes]:
    """
    Yield the answer with the *pictures* in it, at most 256 KiB of them at a time.

    The pieces joined are ``{"created": int, "data": [{"b64_json": str}, ...],
    "output_format": str, "size": "WxH"}``; ``size`` only where it is known. No ``usage``:
    DashScope counts no tokens, and a half one breaks clients.

    Args:
        created: Seconds since the epoch.
        pictures: At least one.
        form: Its output format is named.
        size: Of all pictures, in pixels.
    """
    lead, tail = _head(created) + _OPEN, _CLOSE + _tail(form, size)
    for picture in pictures:
        yield lead
        yield from encoded(picture)
        lead = _NEXT
    yield tail


def answer_length(
    created: int, lengths: Sequence[int], form: AnswerForm, size: Size | None = None
) -> int:
    """Return the bytes of answer_pieces for pictures of such *lengths*, for Content-Length."""
    frames = len(_head(created)) + len(_OPEN) + len(_CLOSE) + len(_tail(form, size))
    return frames + len(_NEXT) * (len(lengths) - 1) + sum(map(encoded_length, lengths))


def url_answer(created: int, urls: Iterable[str], form: AnswerForm) -> bytes:
    """Return the answer for ``response_format=url``: URLs only, never beside ``b64_json``."""
    data = [{"url": url} for url in urls]
    said = {"created": created, "data": data, "output_format": form.output_format}
    return orjson.dumps(said)


def running_answer(*, edit_id: str, status: str, created: int) -> bytes:
    """Return the 202 of an edit that has not ended."""
    said = {"id": edit_id, "object": "image.edit", "status": status, "created": created}
    return orjson.dumps(said)


def models_answer(names: Iterable[str], *, created: int) -> bytes:
    """Return ``GET /v1/models``: every name that an edit may ask for."""
    return orjson.dumps({"object": "list", "data": [_model(name, created) for name in names]})


def model_answer(name: str, *, created: int) -> bytes:
    """Return ``GET /v1/models/{name}``: the bare object (openai.md 5.2)."""
    return orjson.dumps(_model(name, created))


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "wan-gateway"}


def _head(created: int) -> bytes:
    return b'{"created":%d,"data":[' % created


def _tail(form: AnswerForm, size: Size | None) -> bytes:
    tail = b'],"output_format":' + orjson.dumps(form.output_format)
    if size is not None:
        tail += b',"size":' + orjson.dumps(str(size))
    return tail + b"}"
