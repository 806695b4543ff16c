"""A submit's JSON that is made while it is sent, and the query of the task list."""

import math
from collections.abc import Iterable, Iterator
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


def around(pieces: Iterable[bytes | Picture]) -> SubmitBody:
    """
    Return the body of *pieces* in order: JSON, and pictures that become strings in it.

    A picture with bytes is a data URI, encoded while it is sent; any other is its URL.
    """
    frames = [b""]
    contents = list[bytes]()
    for piece in pieces:
        if isinstance(piece, bytes):
            frames[-1] += piece
        elif piece.url:
            frames[-1] += orjson.dumps(piece.url)
        else:
            # The string stays open: base64 needs no escaping, and the next frame closes it.
            frames[-1] += orjson.dumps(f"data:{piece.media_type};base64,")[:-1]
            contents.append(piece.content)
            frames.append(b'"')
    length = sum(map(len, frames)) + sum(encoded_length(len(content)) for content in contents)
    return SubmitBody(length, tuple(frames), tuple(contents))


def parameters_of(edit: Edit, part: Part) -> dict[str, object]:
    """Return the parameters that both families know; what the client left out is left out."""
    parameters: dict[str, object] = {"n": part.n}
    if edit.size is not None:
        # OpenAI writes 1024x1024, DashScope 1024*1024.
        parameters["size"] = f"{edit.size.width}*{edit.size.height}"
    wanted = {
        "seed": part.seed,
        "watermark": edit.watermark,
        "prompt_extend": edit.prompt_extend,
    }
    return parameters | {name: value for name, value in wanted.items() if value is not None}


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


def _beijing(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
