"""A request body, in any of the encodings that clients use → fields and pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import Receive

from gateway.domain.errors import InvalidRequest
from gateway.downstream.body import Limits, pour
from gateway.downstream.bytes_budget import Share
from gateway.downstream.multipart_form import MultipartForm
from gateway.downstream.urlencoded_form import UrlencodedForm
from gateway.translate.charsets import ToUtf8
from gateway.translate.json_scan import JsonScan
from gateway.translate.openai_json import read_json
from gateway.translate.openai_pictures import (
    MostOf,
    PictureRef,
    beside,
    check_beside,
    picture_order,
    picture_ref,
)
from gateway.translate.picture_text import PictureText

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_Received = Sequence[tuple[str, str | PictureText]]


@dataclass(frozen=True, slots=True)
class Form:
    """What a body asks for, whatever its encoding was."""

    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """Name and text in the order sent, without pictures."""
    pictures: tuple[PictureRef, ...]
    """In the order that the prompt counts; none for a generation."""
    mask: PictureRef | None = None
    markup: PictureRef | None = None


async def read_form(
    receive: Receive,
    headers: Mapping[str, str],
    limits: Limits,
    share: Share,
    most_of: MostOf,
) -> Form:
    """
    Read a body to its end.

    Args:
        receive: ASGI's.
        headers: By lower-case name.
        limits: What a body may be at most.
        share: Grows with the bytes that arrive.
        most_of: How many pictures the model takes that the fields ask for.

    Raises:
        InvalidRequest: of a kind we do not read, broken, cut short; pictures missing or wrong.
        RequestTooLarge, BodyTooSlow, Overloaded, CustomerLeft: see body.pour.
    """
    content_type = headers.get("content-type", "")
    charset = _parameter(_CHARSET, content_type) or ""
    form: MultipartForm | UrlencodedForm
    match content_type.partition(";")[0].strip().lower():
        case "multipart/form-data":
            form = MultipartForm(_boundary(content_type), limits, charset)
        case "application/x-www-form-urlencoded":
            # aiohttp's FormData without a file: the refusal shall say what is missing.
            form = UrlencodedForm(limits, charset)
        case kind if kind == "application/json" or kind.endswith("+json"):
            json = _Json(limits, charset)
            await pour(receive, json.feed, limits, share)
            body = read_json(json.end(), most_of)
            return Form(body.fields, body.pictures, body.mask, body.markup)
        case _:
            raise _unsupported(content_type)
    await pour(receive, form.feed, limits, share)
    return _form(form.end(), most_of)


class _Json:
    """A JSON body in any charset."""

    def __init__(self, limits: Limits, charset: str) -> None:
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
        said = self._charset[:40] or "UTF-16 or UTF-32"
        return InvalidRequest(
            "We could not parse the JSON body of your request: it says that its charset is"
            f" '{said}', {why}. Send it in UTF-8.",
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


def _form(received: _Received, most_of: MostOf) -> Form:
    """Sort what came into texts, pictures, mask and markup; empty text counts as absent."""
    given = [(name, value) for name, value in received if not _is_absent(value)]
    fields = tuple((name, value) for name, value in given if isinstance(value, str))
    most = most_of(fields)
    order = picture_order([name for name, _ in given], most)
    over = [(param, value) for name, value in given if (param := beside(name))]
    check_beside([param for param, _ in over], most=most)
    refs = {param: picture_ref(value, which=f"the {param}", param=param) for param, value in over}
    return Form(
        fields=fields,
        pictures=tuple(
            picture_ref(given[place][1], which=f"image {nth}", param=given[place][0])
            for nth, place in enumerate(order, 1)
        ),
        mask=refs.get("mask"),
        markup=refs.get("markup"),
    )


def _is_absent(value: str | PictureText) -> bool:
    return value.absent if isinstance(value, PictureText) else not value
