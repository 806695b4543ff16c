"""multipart/form-data → fields, whatever the customer's HTTP library makes of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from gateway.domain.errors import InvalidRequest, RequestTooLarge
from gateway.downstream.body import Limits
from gateway.translate.openai_fields import NAMES
from gateway.translate.openai_pictures import is_picture, plain_name

_EXTENDED_FILE_NAME = re.compile(r";\s*filename\*\s*=", re.IGNORECASE)


class _Kind(Enum):
    TEXT = auto()
    PICTURE_AS_TEXT = auto()
    """A data URL or an URL; or bytes that lost their file name on the way."""
    PICTURE = auto()
    FILE = auto()
    """Of a field that takes none: it is refused by its name."""


@dataclass(slots=True)
class _Part:
    """The part that is being received."""

    name: str
    kind: _Kind
    chosen: bool
    """False for ``filename=""``: a browser's form without a file."""
    size: int = 0
    pieces: list[bytes] = field(default_factory=list)


class MultipartForm:
    """
    Collects the fields of one body from pieces cut anywhere.

    Args:
        boundary: Of the Content-Type.
        limits: What a body may be at most.

    Raises:
        InvalidRequest: no body can have such a boundary.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        self._limits = limits
        with _refusing():
            # latin-1 reads every header: file names come in UTF-8, and from some desks in
            # GBK, and are of no use to us.
            self._parser: Any = PushMultipartParser(  # half of it is annotated
                boundary.encode("latin-1", "replace"),
                max_header_size=limits.max_header_bytes,
                max_header_count=limits.max_headers,
                max_segment_count=limits.max_parts,
                header_charset="latin-1",
            )
        self._part: _Part | None = None
        self.fields: list[tuple[str, str | bytes]] = []
        """In the order received; bytes for a picture's file, text for anything else."""
        self.unknown_file = ""
        """The name of a part that carries a file and takes none; empty where there is none."""

    def feed(self, piece: bytes) -> None:
        """
        Take the next piece of the body.

        Raises:
            InvalidRequest: this is no multipart body.
            RequestTooLarge: a limit is passed.
        """
        with _refusing():
            for event in self._parser.parse(piece):
                if event is None:
                    self._close()
                elif isinstance(event, MultipartSegment):
                    self._part = _opened(event)
                else:
                    self._add(event)

    def end(self) -> None:
        """
        Say that the body has ended.

        Raises:
            InvalidRequest: it was cut short.
        """
        with _refusing():
            self._parser.close()

    def _add(self, piece: bytes) -> None:
        part = cast("_Part", self._part)
        part.size += len(piece)
        if part.kind is _Kind.TEXT and part.size > self._limits.max_text_bytes:
            raise RequestTooLarge(
                f"The field '{part.name[:64]}' is over {self._limits.max_text_bytes} bytes.",
                param=part.name[:64],
            )
        if part.kind is not _Kind.FILE:
            part.pieces.append(piece)

    def _close(self) -> None:
        part = cast("_Part", self._part)
        if part.kind is _Kind.FILE:
            if part.size or part.chosen:
                self.unknown_file = self.unknown_file or part.name or "?"
        elif part.size or part.chosen:
            self.fields.append((part.name, _value(part)))
        self._part = None


def _opened(segment: MultipartSegment) -> _Part:
    name = plain_name((segment.name or "").encode("latin-1").decode("utf-8", "replace"))
    named = segment.filename is not None or any(
        header == "Content-Disposition" and _EXTENDED_FILE_NAME.search(value)
        for header, value in segment.headerlist
    )
    if not is_picture(name):
        a_file = named or (segment.content_type or "").startswith("image/")
        kind = _Kind.FILE if a_file and name not in NAMES else _Kind.TEXT
    # (None, bytes, "image/png") in Python's SDK sends a picture without any file name.
    elif named or not (segment.content_type or "text/").startswith("text/"):
        kind = _Kind.PICTURE
    else:
        kind = _Kind.PICTURE_AS_TEXT
    return _Part(name, kind, chosen=segment.filename != "")


def _value(part: _Part) -> str | bytes:
    content = b"".join(part.pieces)  # of one piece: that piece itself
    part.pieces.clear()
    if part.kind is _Kind.PICTURE:
        return content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content if part.kind is _Kind.PICTURE_AS_TEXT else content.decode("latin-1")


@contextmanager
def _refusing() -> Iterator[None]:
    """End the parser's exceptions here."""
    try:
        yield
    except ParserLimitReached as exc:
        raise RequestTooLarge(f"Your form is too large: {exc}.") from exc
    except MultipartError as exc:
        raise InvalidRequest(
            "We could not parse the multipart body of your request. "
            "Check that it is complete and that its boundary is the Content-Type's.",
            code="invalid_request_body",
        ) from exc
