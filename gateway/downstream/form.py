"""A request body, in any of the encodings that customers use → fields and pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.types import Receive

from gateway.domain.errors import InvalidImage, InvalidRequest, RequestTooLarge
from gateway.downstream.body import Limits, pour
from gateway.downstream.bytes_budget import Share
from gateway.downstream.multipart_form import MultipartForm
from gateway.translate.openai_json import read_json
from gateway.translate.openai_pictures import (
    MostOf,
    PictureRef,
    is_mask,
    is_picture,
    picture_order,
    picture_ref,
    plain_name,
    refuse_picture,
    refuse_pictures,
)

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_Received = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Form:
    """What a body asks for, whatever its encoding was."""

    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """Name and text in the order sent, without pictures."""
    pictures: tuple[PictureRef, ...]
    """In the order that the prompt counts; none for a generation."""
    mask: PictureRef | None = None


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
    match content_type.partition(";")[0].strip().lower():
        case "multipart/form-data":
            parts = MultipartForm(_boundary(content_type), limits)
            await pour(receive, parts.feed, limits, share)
            parts.end()
            if parts.unknown_file:
                raise refuse_picture(parts.unknown_file)
            return _form(parts.fields, most_of)
        case "application/x-www-form-urlencoded":
            # aiohttp's FormData without a file: the refusal shall say what is missing.
            return _form(_urlencoded(await _whole(receive, limits, share), limits), most_of)
        case kind if kind == "application/json" or kind.endswith("+json"):
            body = read_json(await _whole(receive, limits, share), most_of)
            return Form(body.fields, body.pictures, body.mask)
        case _:
            raise _unsupported(content_type)


def _unsupported(content_type: str) -> InvalidRequest:
    return InvalidRequest(
        "Unsupported content type. This API method only accepts 'multipart/form-data' or "
        "'application/json' requests, but you specified the header "
        f"'Content-Type: {content_type[:100]}'. "
        "Please try again with a supported content type.",
        code="unsupported_content_type",
    )


def _boundary(content_type: str) -> str:
    if (match := _BOUNDARY.search(content_type)) is None:
        raise InvalidRequest(
            "We could not parse the multipart body of your request: the header "
            "'Content-Type' names no boundary.",
            code="invalid_request_body",
        )
    return match[1] or match[2] or ""


async def _whole(receive: Receive, limits: Limits, share: Share) -> bytes:
    pieces: list[bytes] = []
    await pour(receive, pieces.append, limits, share)
    return b"".join(pieces)


def _urlencoded(body: bytes, limits: Limits) -> _Received:
    try:
        fields = parse_qsl(
            body.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=limits.max_parts,
        )
    except ValueError as exc:
        raise RequestTooLarge(f"Your form has more than {limits.max_parts} fields.") from exc
    for name, text in fields:
        if len(text) > limits.max_text_bytes and not is_picture(name):
            raise RequestTooLarge(
                f"The field '{name[:64]}' is over {limits.max_text_bytes} bytes.", param=name[:64]
            )
    return [(plain_name(name), text) for name, text in fields]


def _form(received: _Received, most_of: MostOf) -> Form:
    """Sort what came into texts, pictures and mask; empty text counts as absent."""
    given = [(name, value) for name, value in received if value != ""]
    fields = tuple(
        (name, value) for name, value in given if isinstance(value, str) and not is_picture(name)
    )
    most = most_of(fields)
    order = picture_order([name for name, _ in given], most)
    masks = [value for name, value in given if is_mask(name)]
    if not most:
        refuse_pictures(len(masks), param="mask")
    if len(masks) > 1:
        raise InvalidRequest("Duplicate parameter: 'mask'. Send one.", param="mask")
    return Form(
        fields=fields,
        pictures=tuple(
            _ref(given[place][1], which=f"image {nth}", param=given[place][0])
            for nth, place in enumerate(order, 1)
        ),
        mask=_ref(masks[0], which="the mask", param="mask") if masks else None,
    )


def _ref(value: str | bytes, *, which: str, param: str) -> PictureRef:
    if isinstance(value, str):
        return picture_ref(value, which=which, param=param)
    if not value:
        raise InvalidImage(f"Invalid image file for {which}: it is empty.", param=param)
    return PictureRef(content=value)
