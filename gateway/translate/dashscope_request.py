"""Edit → DashScope's submit body, and a time window → the query of its task list."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import orjson

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.task import TaskStatus
from gateway.translate.base64_slices import encoded, encoded_length

BEIJING = timezone(timedelta(hours=8))  # DashScope's times carry no offset (dashscope.md 3.2)


@dataclass(frozen=True, slots=True)
class SubmitBody:
    """
    A submit's JSON, made piece by piece: pictures are encoded while they are sent.

    May be gone through more than once; each time it is the same.
    """

    length: int
    """Bytes, for ``Content-Length``."""
    _frames: tuple[bytes, ...] = field(repr=False)
    """The JSON before, between and after the pictures."""
    _contents: tuple[bytes, ...] = field(repr=False)
    """Each goes in base64 behind the frame of the same place."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most 256 KiB of a picture at a time."""
        for frame, content in zip(self._frames, self._contents, strict=False):
            yield frame
            yield from encoded(content)
        yield self._frames[-1]


def submit_body(edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """
    Translate the *part* of *edit* into the body of DashScope's task submit.

    Returns:
        ``{"model": str, "input": {"prompt": str, "images": [data URI or URL, ...],
        "negative_prompt": str}, "parameters": {"n": int, "size": "W*H", "seed": int,
        "watermark": bool, "prompt_extend": bool}}``. ``n`` is always there, since
        DashScope's default is 4 and billed; all that the customer left out is left out.

    Source: Alibaba Model Studio, "Wan2.5 - general image editing"; dashscope.md 1.3.
    """
    frames = [b'{"model":%b,"input":{"prompt":%b,"images":[' % _json(edit.model, edit.prompt)]
    contents: list[bytes] = []
    for nth, picture in enumerate(pictures):
        comma = b"," if nth else b""
        if picture.url:
            frames[-1] += comma + orjson.dumps(picture.url)
            continue
        # The string stays open: base64 needs no escaping, and the next frame closes it.
        frames[-1] += comma + orjson.dumps(f"data:{picture.media_type};base64,")[:-1]
        contents.append(picture.content)
        frames.append(b'"')
    frames[-1] += _tail(edit, part)
    length = sum(map(len, frames)) + sum(encoded_length(len(content)) for content in contents)
    return SubmitBody(length, tuple(frames), tuple(contents))


def list_query(
    since: float, until: float, status: TaskStatus | None, page: int, page_size: int
) -> dict[str, str]:
    """
    Return the query of ``GET /tasks`` for the tasks made from *since* to *until*.

    Times are epoch seconds in, Beijing's ``YYYYMMDDhhmmss`` out; the window is widened to
    whole seconds, never narrowed. It may span 24 h at most (dashscope.md 4.2).
    """
    query = {
        "start_time": _beijing(math.floor(since)),
        "end_time": _beijing(math.ceil(until)),
        "page_no": str(page),
        "page_size": str(page_size),
    }
    if status is not None:
        query["status"] = status.value
    return query


def _json(*texts: str) -> tuple[bytes, ...]:
    return tuple(orjson.dumps(text) for text in texts)


def _tail(edit: Edit, part: Part) -> bytes:
    parameters: dict[str, object] = {"n": part.n}
    if edit.size is not None:
        # OpenAI writes 1024x1024, DashScope 1024*1024.
        parameters["size"] = f"{edit.size.width}*{edit.size.height}"
    wanted = {
        "seed": part.seed,
        "watermark": edit.watermark,
        "prompt_extend": edit.prompt_extend,
    }
    parameters |= {name: value for name, value in wanted.items() if value is not None}
    negative = b""
    if edit.negative_prompt is not None:
        negative = b',"negative_prompt":' + orjson.dumps(edit.negative_prompt)
    return b']%b},"parameters":%b}' % (negative, orjson.dumps(parameters))


def _beijing(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
