"""A JSON body → the same plain fields as a form has, and its pictures."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidRequest
from gateway.translate.json_scan import JsonScan
from gateway.translate.openai_pictures import (
    Form,
    MostOf,
    beside,
    check_beside,
    check_count,
    is_image,
    is_picture,
    place_of,
    plain_name,
    read_picture,
    refuse_picture,
)

_DEEPEST = 8
_MOST_FIELDS = 200  # a form has such a limit too; an edit has some twenty
_LONGEST_NAME = 500
_URL_KEYS = ("image_url", "url")
_KEYS_OF_A_PICTURE = frozenset({*_URL_KEYS, "file_id", "type"})


def read_json(scan: JsonScan, most_of: MostOf) -> Form:
    """
    Read ``application/json`` (openai.md 2.3), tolerant of the dialects of hand-written clients.

    Pictures come as ``images`` or ``image``: one or a list of ``{"image_url": URL}``,
    ``{"url": URL}`` or the URL itself; by a form's names, too. ``null`` counts as absent.

    Args:
        scan: All of it.
        most_of: How many pictures the model takes that the fields ask for.

    Raises:
        InvalidRequest: no JSON object, no picture or too many, a ``file_id``, a bad URL.
        InvalidImage: a data URL that cannot be decoded.
    """
    said = [(plain_name(name), value) for name, value in _object(scan).items()]
    images = sorted((member for member in said if is_image(member[0])), key=_place)
    given = [one for name, value in images for one in _listed(name, value)]
    over = [one for name, value in said if beside(name) for one in _listed(name, value)]
    others = [(name, value) for name, value in said if not is_picture(name)]
    fields = tuple(islice(_fields(others, given), _MOST_FIELDS + 1))
    param = given[0][0] if given else "images"
    most = most_of(fields)
    check_count(len(given), param=param, most=most)
    check_beside([beside(name) for name, _ in over], most=most)
    if len(fields) > _MOST_FIELDS:
        raise _unreadable(f"more than {_MOST_FIELDS} fields")
    for name, text in fields:
        if scan.picture(text) is not None:
            raise refuse_picture(name)
    pictures = tuple(
        _ref(entry, scan, which=f"image {nth}", param=name)
        for nth, (name, entry) in enumerate(given, 1)
    )
    refs = {
        param: _ref(entry, scan, which=f"the {param}", param=param)
        for name, entry in over
        if (param := beside(name))
    }
    return Form(fields, pictures, refs.get("mask"), refs.get("markup"))


def parsed(scan: JsonScan) -> object:
    """
    Return what *scan* has read.

    Raises:
        InvalidRequest: it is no JSON, or has a name twice: one of the two would be dropped.
    """
    text = scan.text
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise _unreadable(f"not valid JSON: {exc.msg}") from None
    if _members(said) < scan.members:
        json.loads(text, object_pairs_hook=_refuse_duplicates)
    return said


def _members(said: object) -> int:
    """Return how many names there are in all objects of *said*."""
    count = 0
    left = [said]
    while left:
        match left.pop():
            case dict() as members:
                count += len(members)
                left.extend(members.values())
            case list() as entries:
                left.extend(entries)
    return count


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise InvalidRequest(
                f"Duplicate parameter: '{name[:64]}'. Your JSON has it twice; send one.",
                param=name[:64],
            )
        names.add(name)


def flattened(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield *value* as the text fields that OpenAI's SDKs would make of it in a form."""
    if depth > _DEEPEST:
        raise _unreadable("nested too deeply")
    if len(name) > _LONGEST_NAME:
        raise _unreadable(f"a request with a name of over {_LONGEST_NAME} characters")
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


def _fields(
    others: list[tuple[str, Any]], given: list[tuple[str, Any]]
) -> Iterator[tuple[str, str]]:
    for name, value in others:
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


def _object(scan: JsonScan) -> dict[str, Any]:
    said = parsed(scan)
    if not isinstance(said, dict):
        raise _unreadable("not a JSON object")
    return said


def _place(member: tuple[str, object]) -> int:
    return place_of(member[0])


def _unreadable(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"We could not parse the JSON body of your request: it is {why}.",
        code="invalid_request_body",
    )


def _listed(name: str, said: object) -> list[tuple[str, Any]]:
    entries = said if isinstance(said, list) else [said]
    return [(name, entry) for entry in entries if entry is not None]


def _ref(entry: object, scan: JsonScan, *, which: str, param: str) -> Picture:
    url = _url(entry, param)
    return read_picture(scan.picture(url) or url, which=which, param=param)


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
            f"Invalid entry in '{name}': expected a URL or an object with 'image_url'.",
            param=name,
        )
    return entry
