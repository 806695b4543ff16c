"""A JSON body → the same plain fields as a form has, and its pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.domain.errors import InvalidRequest
from gateway.translate.openai_pictures import (
    MostOf,
    PictureRef,
    check_count,
    is_image,
    is_mask,
    picture_ref,
    place_of,
    plain_name,
    refuse_pictures,
)

_DEEPEST = 8
_MOST_FIELDS = 200  # a form has such a limit too; an edit has some twenty
_URL_KEYS = ("image_url", "url")
_KEYS_OF_A_PICTURE = frozenset({*_URL_KEYS, "file_id", "type"})


@dataclass(frozen=True, slots=True)
class JsonBody:
    """What a JSON body asks for."""

    fields: tuple[tuple[str, str], ...]
    """Name and text in the order sent; nested ones as ``parameters[seed]``."""
    pictures: tuple[PictureRef, ...]
    """In order; none for a generation."""
    mask: PictureRef | None = None


def read_json(body: bytes, most_of: MostOf) -> JsonBody:
    """
    Read ``application/json`` (openai.md 2.3), tolerant of the dialects of hand-written clients.

    Pictures come as ``images`` or ``image``: one or a list of ``{"image_url": URL}``,
    ``{"url": URL}`` or the URL itself. ``null`` counts as absent.

    Args:
        body: All of it.
        most_of: How many pictures the model takes that the fields ask for.

    Raises:
        InvalidRequest: no JSON object, no picture or too many, a ``file_id``, a bad URL.
        InvalidImage: a data URL that cannot be decoded.
    """
    said = {plain_name(name): value for name, value in _object(body).items()}
    given = [
        (name, entry)
        for name in sorted(filter(is_image, said), key=place_of)
        for entry in _listed(said.pop(name))
        if entry is not None
    ]
    masks = [
        (name, entry)
        for name in list(filter(is_mask, said))
        for entry in _listed(said.pop(name))
        if entry is not None
    ]
    fields = tuple(_fields(said, given[:_MOST_FIELDS]))
    param = given[0][0] if given else "images"
    most = most_of(fields)
    check_count(len(given), param=param, most=most)
    if not most:
        refuse_pictures(len(masks), param="mask")
    if len(masks) > 1:
        raise InvalidRequest("Duplicate parameter: 'mask'. Send one.", param="mask")
    if len(fields) > _MOST_FIELDS:
        raise _unreadable(f"more than {_MOST_FIELDS} fields")
    pictures = tuple(
        picture_ref(_url(entry, name), which=f"image {nth}", param=name)
        for nth, (name, entry) in enumerate(given, 1)
    )
    for name, entry in masks:
        mask = picture_ref(_url(entry, name), which="the mask", param="mask")
        return JsonBody(fields, pictures, mask)
    return JsonBody(fields, pictures)


def flattened(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield *value* as the text fields that OpenAI's SDKs would make of it in a form."""
    if depth > _DEEPEST:
        raise _unreadable("nested too deeply")
    match value:
        case None:
            return
        case dict():
            for key, inner in value.items():
                yield from flattened(f"{name}[{key}]", inner, depth + 1)
        case list():
            for inner in value:
                yield from flattened(f"{name}[]", inner, depth + 1)
        case _:
            yield name, _text(value)


def _fields(said: dict[str, Any], given: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        yield from flattened(name, value)
    # What stands beside a picture's URL has no effect, so it is to be listed like the rest.
    for nth, (name, entry) in enumerate(given):
        beside = entry.items() if isinstance(entry, dict) else ()
        for key, value in beside:
            if key not in _KEYS_OF_A_PICTURE:
                yield from flattened(f"{name}[{nth}][{key}]", value)


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))  # 2.0 is how some languages write 2
        case _:
            return str(value)


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _unreadable("not valid JSON") from None
    if not isinstance(said, dict):
        raise _unreadable("not a JSON object")
    return said


def _unreadable(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"We could not parse the JSON body of your request: it is {why}.",
        code="invalid_request_body",
    )


def _listed(said: object) -> list[Any]:
    return said if isinstance(said, list) else [said]


def _url(entry: object, name: str) -> str:
    """Return the URL of a picture entry; the chat API's ``{"image_url": {"url": …}}`` too."""
    if isinstance(entry, dict) and entry.get("file_id") is not None:
        raise InvalidRequest(
            "A 'file_id' cannot be used here: send a data URL or an https URL as 'image_url'.",
            param=name,
        )
    while isinstance(entry, dict):
        entry = next((entry[key] for key in _URL_KEYS if entry.get(key) is not None), None)
    if not isinstance(entry, str):
        raise InvalidRequest(
            f"Invalid entry in '{name}': expected an URL or an object with 'image_url'.",
            param=name,
        )
    return entry
