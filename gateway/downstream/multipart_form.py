"""multipart/form-data → fields, whatever the client's HTTP library makes of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from gateway.domain.errors import InvalidRequest, RequestTooLarge
from gateway.downstream.body import Limits
from gateway.downstream.fields import Fields, TextField
from gateway.translate.openai_fields import NAMES
from gateway.translate.openai_pictures import is_picture, plain_name, refuse_picture
from gateway.translate.picture_text import PictureText
from gateway.translate.transfer import AsItIs, Base64, Decoder, QuotedPrintable

_EXTENDED_FILE_NAME = re.compile(r";\s*filename\*\s*=", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"|[^;\s]*)", re.IGNORECASE)
_OF_FILES = ("image/", "multipart/", "application/octet-stream")
_LONGEST_BOUNDARY = 250  # RFC 2046 allows 70
_TRANSFER: dict[str, type[Decoder]] = {
    "": AsItIs,
    "7bit": AsItIs,
    "8bit": AsItIs,
    "binary": AsItIs,
    "base64": Base64,
    "quoted-printable": QuotedPrintable,
}


class _NoField:
    """A file in a field that takes none: refused by its name, and not kept."""

    size = 0

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)


@dataclass(slots=True)
class _Part:
    """The part that is being received."""

    name: str
    into: TextField | PictureText | _NoField
    decoder: Decoder
    chosen: bool
    """False for ``filename=""``: a browser's form without a file."""
    size: int = 0


class MultipartForm:
    """
    Collects the fields of one body from pieces cut anywhere.

    Args:
        boundary: Of the Content-Type.
        limits: What a body may be at most.
        charset: Of texts that declare none, unless a field ``_charset_`` says otherwise.

    Raises:
        InvalidRequest: no body can have such a boundary.
    """

    def __init__(self, boundary: str, limits: Limits, charset: str = "") -> None:
        if len(boundary) > _LONGEST_BOUNDARY:
            raise InvalidRequest(
                f"The boundary of your multipart body is over {_LONGEST_BOUNDARY} characters.",
                code="invalid_request_body",
            )
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
        self._fields = Fields(limits, charset)
        self._unknown_file = ""

    def feed(self, piece: bytes) -> None:
        """
        Take the next piece of the body.

        Raises:
            InvalidRequest: this is not multipart body.
            RequestTooLarge: a limit is passed.
        """
        with _refusing():
            for event in self._parser.parse(piece):
                if event is None:
                    self._close()
                elif isinstance(event, MultipartSegment):
                    self._part = self._opened(event)
                else:
                    part = cast("_Part", self._part)
                    part.size += len(event)
                    part.into.feed(part.decoder.feed(event))

    def end(self) -> list[tuple[str, str | PictureText]]:
        """
        Return the fields in the order received, once the body has ended.

        Raises:
            InvalidRequest: it was cut short, or a field is not what it says it is.
        """
        with _refusing():
            self._parser.close()
        if self._unknown_file:
            raise refuse_picture(self._unknown_file)
        return self._fields.received()

    def _opened(self, segment: MultipartSegment) -> _Part:
        name = plain_name(_utf8(segment.name or "", "a field's name"))
        headers = dict(segment.headerlist)
        named = segment.filename is not None or bool(
            _EXTENDED_FILE_NAME.search(headers.get("Content-Disposition", ""))
        )
        content_type = segment.content_type or "text/plain"
        into: TextField | PictureText | _NoField
        if is_picture(name):
            # (None, bytes, "image/png") in Python's SDK sends a picture without any file name.
            into = PictureText(is_file=named or not content_type.startswith("text/"))
        elif (named or content_type.startswith(_OF_FILES)) and name not in NAMES:
            into = _NoField()
        else:
            into = self._fields.text(name, charset=_charset(headers.get("Content-Type", "")))
        decoder = _decoder(headers.get("Content-Transfer-Encoding", ""), name)
        return _Part(name, into, decoder, chosen=segment.filename != "")

    def _close(self) -> None:
        part = cast("_Part", self._part)
        self._part = None
        part.into.feed(part.decoder.end())
        if part.decoder.fault:
            raise InvalidRequest(
                f"The part '{part.name[:64]}' says that it is base64, and it is not:"
                f" {part.decoder.fault}.",
                param=part.name[:64],
            )
        if not part.size and not part.chosen:
            return
        if isinstance(part.into, _NoField):
            self._unknown_file = self._unknown_file or part.name or "?"
        else:
            self._fields.add(part.name, part.into)


def _utf8(latin1: str, what: str) -> str:
    try:
        return latin1.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"We could not read your form: {what} is not valid UTF-8. Send names in UTF-8.",
            code="invalid_request_body",
        ) from None


def _charset(content_type: str) -> str:
    match = _CHARSET.search(content_type)
    return match[1].strip('"') if match else ""


def _decoder(encoding: str, name: str) -> Decoder:
    kind = _TRANSFER.get(encoding.strip().lower())
    if kind is None:
        raise InvalidRequest(
            f"The part '{name[:64]}' has the Content-Transfer-Encoding '{encoding[:40]}', which"
            " cannot be read here. Send it without one, or in base64.",
            param=name[:64],
        )
    return kind()


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
