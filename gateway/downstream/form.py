"""A request body, in any of the encodings that clients use → fields and pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from starlette.types import Receive

from gateway.domain.errors import InvalidRequest, RequestTooLarge
from gateway.downstream.body import NEXT_ROUND, BodyLimits, Turn, read_body
from gateway.downstream.memory_budget import Reservation
from gateway.translate.charsets import ToUtf8, decode_text
from gateway.translate.encodings import Base64, Decoder, Identity, Percents, QuotedPrintable
from gateway.translate.openai_fields import NAMES
from gateway.translate.openai_json import JsonScan, read_json
from gateway.translate.openai_pictures import (
    Form,
    MostOf,
    PictureText,
    check_count,
    check_overlays,
    is_picture,
    overlay_of,
    picture_order,
    plain_name,
    read_picture,
    refuse_picture,
)

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)


async def read_form(
    receive: Receive,
    headers: Mapping[str, str],
    limits: BodyLimits,
    reservation: Reservation,
    most_of: MostOf,
    turn: Turn = NEXT_ROUND,
) -> Form:
    """
    Read a body to its end.

    Args:
        receive: ASGI's.
        headers: By lower-case name.
        limits: What a body may be at most.
        reservation: Grows with the bytes that arrive.
        most_of: How many pictures the request may have.
        turn: Awaited before each piece is parsed.

    Raises:
        InvalidRequest: the content type is unknown, the body is broken or cut short, or
            pictures are missing or wrong.
        RequestTooLarge, BodyTooSlow, Overloaded, ClientLeft: see read_body.
    """
    content_type = headers.get("content-type", "")
    charset = _parameter(_CHARSET, content_type) or ""
    form: MultipartForm | UrlencodedForm
    match content_type.partition(";")[0].strip().lower():
        case "multipart/form-data":
            form = MultipartForm(_boundary(content_type), limits, charset)
        case "application/x-www-form-urlencoded":
            # aiohttp's FormData without a file: the error is to say what is missing.
            form = UrlencodedForm(limits, charset)
        case kind if kind == "application/json" or kind.endswith("+json"):
            json = _Json(limits, charset)
            await read_body(receive, json.feed, limits, reservation, turn)
            return read_json(json.end(), most_of)
        case _:
            raise _unsupported(content_type)
    await read_body(receive, form.feed, limits, reservation, turn)
    return _sort_fields(form.end(), most_of)


class _Json:
    """A JSON body in any charset."""

    def __init__(self, limits: BodyLimits, charset: str) -> None:
        self._charset = charset
        self._scan = JsonScan(limits.max_text_bytes)
        try:
            self._to_utf8 = ToUtf8(charset)
        except LookupError:
            raise self._unreadable("which is not known here") from None

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        try:
            self._scan.feed(self._to_utf8.feed(piece, last=last))
        except UnicodeDecodeError:
            raise self._unreadable("and is not valid in it") from None

    def end(self) -> JsonScan:
        self.feed(b"", last=True)
        self._scan.end()
        return self._scan

    def _unreadable(self, why: str) -> InvalidRequest:
        charset = self._charset[:40] or "UTF-16 or UTF-32"
        return InvalidRequest(
            "We could not parse the JSON body of your request: it says that its charset is"
            f" '{charset}', {why}. Send it in UTF-8.",
            code="invalid_request_body",
        )


def _unsupported(content_type: str) -> InvalidRequest:
    return InvalidRequest(
        "Unsupported content type. This API method only accepts 'multipart/form-data' or "
        "'application/json' requests, but you specified the header "
        f"'Content-Type: {content_type[:100]}'. "
        "Please try again with a supported content type.",
        code="unsupported_content_type",
    )


def _boundary(content_type: str) -> str:
    if (boundary := _parameter(_BOUNDARY, content_type)) is None:
        raise InvalidRequest(
            "We could not parse the multipart body of your request: the header "
            "'Content-Type' names no boundary.",
            code="invalid_request_body",
        )
    return boundary


def _parameter(name: re.Pattern[str], content_type: str) -> str | None:
    match = name.search(content_type)
    return None if match is None else match[1] or match[2] or ""


def _sort_fields(received: Sequence[tuple[str, str | PictureText]], most_of: MostOf) -> Form:
    """Sort fields into texts, pictures, mask and markup; an empty text counts as absent."""
    given = [(name, value) for name, value in received if not _is_absent(value)]
    fields = tuple((name, value) for name, value in given if isinstance(value, str))
    order = picture_order([name for name, _ in given])
    most = most_of(fields, len(order))
    check_count(len(order), param="image", most=most)
    over = [(param, value) for name, value in given if (param := overlay_of(name))]
    check_overlays([param for param, _ in over], most=most)
    refs = {param: read_picture(value, which=f"the {param}", param=param) for param, value in over}
    return Form(
        fields=fields,
        pictures=tuple(
            read_picture(given[place][1], which=f"image {nth}", param=given[place][0])
            for nth, place in enumerate(order, 1)
        ),
        mask=refs.get("mask"),
        markup=refs.get("markup"),
    )


def _is_absent(value: str | PictureText) -> bool:
    return value.is_empty if isinstance(value, PictureText) else not value


_CHARSET_FIELD = "_charset_"
"""RFC 7578 4.6: the field that names the charset of texts that declare none."""


class TextField:
    """A text whose charset may be named by a field that comes later."""

    def __init__(self, name: str, charset: str, fields: "Fields") -> None:
        self.name = name
        self.charset = charset
        self._fields = fields
        self._content = BytesIO()

    @property
    def content(self) -> bytes:
        return self._content.getvalue()

    def feed(self, piece: bytes) -> None:
        self._fields.count_text(self.name, len(piece))
        self._content.write(piece)


class Fields:
    """
    Collects the fields of one body in the order received.

    Args:
        limits: ``max_text_bytes`` is what all texts together may be.
        charset: Of texts that declare none.
    """

    def __init__(self, limits: BodyLimits, charset: str = "") -> None:
        self._most = limits.max_text_bytes
        self._charset = charset
        self._texts = 0
        self._given: list[tuple[str, TextField | PictureText]] = []

    def text(self, name: str, charset: str = "") -> TextField:
        return TextField(name, charset, self)

    def count_text(self, name: str, n: int) -> None:
        """Count *n* bytes more of text; RequestTooLarge if they are too many."""
        self._texts += n
        if self._texts > self._most:
            raise RequestTooLarge(
                f"The texts of your form are over {self._most} bytes at '{name[:64]}'.",
                param=name[:64],
            )

    def add(self, name: str, value: TextField | PictureText) -> None:
        """Add a field that is complete."""
        if isinstance(value, PictureText):
            value.end()
        elif name == _CHARSET_FIELD:
            self._charset = decode_text(value.content, "ascii", name).strip()
            return
        self._given.append((name, value))

    def received(self) -> list[tuple[str, str | PictureText]]:
        """
        Return name and value of each.

        Raises:
            InvalidRequest: a text is not valid in its charset.
        """
        return [
            (name, value)
            if isinstance(value, PictureText)
            else (name, decode_text(value.content, value.charset or self._charset, name))
            for name, value in self._given
        ]


_EXTENDED_FILE_NAME = re.compile(r";\s*filename\*\s*=", re.IGNORECASE)
_OF_FILES = ("image/", "multipart/", "application/octet-stream")
_LONGEST_BOUNDARY = 250  # RFC 2046 allows 70
_TRANSFER: dict[str, type[Decoder]] = {
    "": Identity,
    "7bit": Identity,
    "8bit": Identity,
    "binary": Identity,
    "base64": Base64,
    "quoted-printable": QuotedPrintable,
}


class _UnknownFile:
    """A file in a field that takes none: it is not kept, and refused by its name at the end."""

    size = 0

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)


@dataclass(slots=True)
class _BodyPart:
    """The part of a multipart body that is being received."""

    name: str
    into: TextField | PictureText | _UnknownFile
    decoder: Decoder
    chosen: bool
    """False for ``filename=""``, which browsers send for a form without a file."""
    size: int = 0


class MultipartForm:
    """
    Collects the fields of one body from pieces cut anywhere.

    Args:
        boundary: Of the Content-Type.
        limits: What a body may be at most.
        charset: Of texts that declare none, unless a field ``_charset_`` says otherwise.

    Raises:
        InvalidRequest: the boundary is not valid.
    """

    def __init__(self, boundary: str, limits: BodyLimits, charset: str = "") -> None:
        if len(boundary) > _LONGEST_BOUNDARY:
            raise InvalidRequest(
                f"The boundary of your multipart body is over {_LONGEST_BOUNDARY} characters.",
                code="invalid_request_body",
            )
        with _refusing():
            # latin-1 decodes every header: file names come in UTF-8 or, from some systems, in
            # GBK, and are not used.
            self._parser: Any = PushMultipartParser(  # half of it is annotated
                boundary.encode("latin-1", "replace"),
                max_header_size=limits.max_header_bytes,
                max_header_count=limits.max_headers,
                max_segment_count=limits.max_parts,
                header_charset="latin-1",
            )
        self._part: _BodyPart | None = None
        self._fields = Fields(limits, charset)
        self._unknown_file = ""

    def feed(self, piece: bytes) -> None:
        """
        Take the next piece of the body.

        Raises:
            InvalidRequest: this is not a multipart body.
            RequestTooLarge: a limit is passed.
        """
        with _refusing():
            for event in self._parser.parse(piece):
                if event is None:
                    self._close()
                elif isinstance(event, MultipartSegment):
                    self._part = self._opened(event)
                else:
                    part = cast("_BodyPart", self._part)
                    part.size += len(event)
                    part.into.feed(part.decoder.feed(event))

    def end(self) -> list[tuple[str, str | PictureText]]:
        """
        Return the fields in the order received, once the body has ended.

        Raises:
            InvalidRequest: it was cut short, or a field is not in the encoding that it declares.
        """
        with _refusing():
            self._parser.close()
        if self._unknown_file:
            raise refuse_picture(self._unknown_file)
        return self._fields.received()

    def _opened(self, segment: MultipartSegment) -> _BodyPart:
        name = plain_name(_utf8(segment.name or "", "a field's name"))
        headers = dict(segment.headerlist)
        named = segment.filename is not None or bool(
            _EXTENDED_FILE_NAME.search(headers.get("Content-Disposition", ""))
        )
        content_type = segment.content_type or "text/plain"
        into: TextField | PictureText | _UnknownFile
        if is_picture(name):
            # (None, bytes, "image/png") in Python's SDK sends a picture without any file name.
            into = PictureText(is_file=named or not content_type.startswith("text/"))
        elif (named or content_type.startswith(_OF_FILES)) and name not in NAMES:
            into = _UnknownFile()
        else:
            charset = _parameter(_CHARSET, headers.get("Content-Type", ""))
            into = self._fields.text(name, charset or "")
        decoder = _decoder(headers.get("Content-Transfer-Encoding", ""), name)
        return _BodyPart(name, into, decoder, chosen=segment.filename != "")

    def _close(self) -> None:
        part = cast("_BodyPart", self._part)
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
        if isinstance(part.into, _UnknownFile):
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
    """Turn the parser's exceptions into ours (D28)."""
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


class UrlencodedForm:
    """
    Collects the fields of one body from pieces cut anywhere.

    Args:
        limits: What a body may be at most.
        charset: Of all texts, unless a field ``_charset_`` says otherwise.
    """

    def __init__(self, limits: BodyLimits, charset: str = "") -> None:
        self._limits = limits
        self._fields = Fields(limits, charset)
        self._count = 0
        self._name = b""
        self._decoded_name = ""
        self._value: TextField | PictureText | None = None
        self._percents = Percents()

    def feed(self, piece: bytes) -> None:
        """
        Take the next piece of the body.

        Raises:
            RequestTooLarge: there are too many fields, or their texts are too long.
        """
        self._count += piece.count(b"&")
        if self._count >= self._limits.max_parts:
            raise RequestTooLarge(f"Your form has more than {self._limits.max_parts} fields.")
        first, *others = piece.split(b"&")
        self._take(first)
        for some in others:
            self._close()
            self._take(some)

    def end(self) -> list[tuple[str, str | PictureText]]:
        """
        Return the fields in the order received, once the body has ended.

        Raises:
            InvalidRequest: a field is not in the encoding that it declares.
        """
        self._close()
        return self._fields.received()

    def _take(self, some: bytes) -> None:
        if self._value is None:
            name, equals, some = some.partition(b"=")
            self._name += name
            if len(self._name) > self._limits.max_header_bytes:
                raise RequestTooLarge("Your form has a field whose name is too long.")
            if not equals:
                return
            self._value = self._open()
        if isinstance(self._value, TextField):
            some = some.replace(b"+", b" ")  # in base64 it is a plus sign that was not encoded
        self._value.feed(self._percents.feed(some))

    def _open(self) -> TextField | PictureText:
        percents = Percents()
        raw = percents.feed(self._name.replace(b"+", b" ")) + percents.end()
        name = plain_name(decode_text(raw, "", "name of a field"))
        self._decoded_name = name
        return PictureText() if is_picture(name) else self._fields.text(name)

    def _close(self) -> None:
        if self._value is None and self._name:
            self._value = self._open()
        if self._value is not None:
            self._value.feed(self._percents.end())
            self._fields.add(self._decoded_name, self._value)
        self._name = b""
        self._value = None
        self._percents = Percents()
