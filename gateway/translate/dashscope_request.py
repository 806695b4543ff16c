"""Edit → the JSON of a submit, encoded while it is sent; and the query of the task list."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import orjson

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.models import Family, Model
from gateway.domain.task import TaskStatus
from gateway.translate.encodings import base64_length, encode_base64

BEIJING = timezone(timedelta(hours=8))  # DashScope's times carry no offset (dashscope.md 3.2)


@dataclass(frozen=True, slots=True)
class SubmitBody:
    """
    The JSON of a submit; its pictures are encoded piece by piece while it is sent.

    It may be iterated more than once, with the same bytes each time.
    """

    length: int
    """Bytes, for ``Content-Length``."""
    _frames: tuple[bytes, ...] = field(repr=False)
    """The JSON before, between and after the pictures."""
    _contents: tuple[bytes, ...] = field(repr=False)
    """Each follows, in base64, the frame of the same index."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most 256 KiB of a picture at a time."""
        for frame, content in zip(self._frames, self._contents, strict=False):
            yield frame
            yield from encode_base64(content)
        yield self._frames[-1]


def build_body(pieces: Iterable[bytes | Picture]) -> SubmitBody:
    """
    Return the body of *pieces* in order: JSON, and pictures that become strings in it.

    A picture with content becomes a data URI; any other becomes its URL.
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
    length = sum(map(len, frames)) + sum(base64_length(len(content)) for content in contents)
    return SubmitBody(length, tuple(frames), tuple(contents))


def parameters_of(model: Model, edit: Edit, part: Part) -> dict[str, object]:
    """
    Return the parameters that both families know; what the client left out is left out.

    But for ``n``, which is always there where the model has it: several models make four
    pictures without it, and bill them.
    """
    parameters: dict[str, object] = {"n": part.n} if "n" in model.options else {}
    if edit.size is not None:
        # OpenAI writes 1024x1024, DashScope 1024*1024.
        parameters["size"] = f"{edit.size.width}*{edit.size.height}"
    wanted = {
        "seed": part.seed,
        "watermark": edit.watermark,
        "prompt_extend": edit.prompt_extend,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return parameters | given | {name: orjson.loads(text) for name, text in edit.options}


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


def submit_body(model: Model, edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """Translate the *part* of *edit* into the body of a submit to its *model*."""
    if model.family is Family.SYNTHESIS:
        return build_body(_synthesis_pieces(model, edit, part, pictures))
    return build_body(_message_pieces(model, edit, part, pictures))


def _synthesis_pieces(
    model: Model, edit: Edit, part: Part, pictures: Sequence[Picture]
) -> Iterator[bytes | Picture]:
    """
    Yield the JSON of the older family, Family.SYNTHESIS.

    Yields:
        ``{"model": str, "input": {"prompt": str, "images": [data URI or URL, ...],
        "negative_prompt": str}, "parameters": {"n": int, "size": "W*H", "seed": int,
        "watermark": bool, "prompt_extend": bool}}``, without ``images`` where a generation
        has none.

    Source: Alibaba Model Studio, "Wan2.5 - general image editing", dashscope.md 1.3, and
    "Wan text-to-image V2", docs/models.md.
    """
    yield b'{"model":%b,"input":{"prompt":%b' % (
        orjson.dumps(model.name),
        orjson.dumps(edit.prompt),
    )
    for nth, picture in enumerate(pictures):
        yield b"," if nth else b',"images":['
        yield picture
    if pictures:
        yield b"]"
    if edit.negative_prompt is not None:
        yield b',"negative_prompt":' + orjson.dumps(edit.negative_prompt)
    yield b'},"parameters":%b}' % orjson.dumps(parameters_of(model, edit, part))


def _message_pieces(
    model: Model, edit: Edit, part: Part, pictures: Sequence[Picture]
) -> Iterator[bytes | Picture]:
    """
    Yield the JSON of the newer family, Family.MESSAGES.

    Yields:
        ``{"model": str, "input": {"messages": [{"role": "user", "content": [{"text": str},
        {"image": data URI or URL}, ...]}]}, "parameters": {...}}``, the text last for a model
        without tasks. The parameters are the older family's, and ``negative_prompt``.

    Source: Alibaba Model Studio, "Wan2.6 - image generation and editing" and "Qwen - image
    editing"; dashscope.md 9.
    """
    yield b'{"model":%b,"input":{"messages":[{"role":"user","content":[' % orjson.dumps(model.name)
    text: tuple[bytes | Picture, ...] = (b'{"text":', orjson.dumps(edit.prompt), b"}")
    entries = [(b'{"image":', picture, b"}") for picture in pictures]
    # As in the documents of each family: Wan's have the text first, Qwen's have it last.
    for place, entry in enumerate([text, *entries] if model.has_tasks else [*entries, text]):
        yield b"," if place else b""
        yield from entry
    parameters = parameters_of(model, edit, part)
    if edit.negative_prompt is not None:
        parameters["negative_prompt"] = edit.negative_prompt
    yield b']}]},"parameters":%b}' % orjson.dumps(parameters)
