"""A JSON body → the same plain fields as a form has, and its pictures."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidRequest, RequestTooLarge
from gateway.translate.encodings import JsonEscapes
from gateway.translate.openai_fields import JSON_VALUED
from gateway.translate.openai_pictures import (
    START_BYTES,
    Form,
    MostOf,
    PictureText,
    check_count,
    check_overlays,
    holds_picture,
    is_image,
    is_picture,
    overlay_of,
    place_of,
    plain_name,
    read_picture,
    refuse_picture,
)

MOST_VALUES = 4_000
"""Commas, colons and brackets of one text; an edit has about forty."""

_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST_CUT = 5
_TO_QUOTE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_MARK = "\0picture:"


class JsonScan:
    """
    Splits JSON that arrives in pieces into its pictures and the rest, which is short.

    A string that begins as a data URL or as the base64 of a picture is replaced by a marker
    and decoded while it arrives. To parse 62 MiB of anything else would take much memory and
    time, so it is refused as soon as it is seen.

    Args:
        most_bytes: Of all that is not a picture.
        most_values: Commas, colons and brackets.

    Raises:
        RequestTooLarge: there are more bytes.
        InvalidRequest: there are more values.
    """

    def __init__(self, most_bytes: int, most_values: int = MOST_VALUES) -> None:
        self._most_bytes = most_bytes
        self._most_values = most_values
        self._values = 0
        self._strings = 0
        self._text = bytearray()
        self._cut = b""
        self._string_at = -1
        """Where in the text the string begins that is being read; -1 between strings."""
        self._kind_known = False
        self._picture: PictureText | None = None
        self._escapes = JsonEscapes()
        self._pictures: dict[str, PictureText] = {}
        self.members = 0
        """How many names there are, in all objects."""

    @property
    def text(self) -> bytes:
        """JSON in which each picture is replaced by its mark."""
        return bytes(self._text)

    def picture(self, text: object) -> PictureText | None:
        """Return the picture for which *text* stands, if it stands for one."""
        return self._pictures.get(text) if isinstance(text, str) else None

    def feed(self, piece: bytes) -> None:
        piece = self._whole_escapes(self._cut + piece)
        at = 0
        while at < len(piece):
            if self._string_at < 0:
                at = self._between_strings(piece, at)
            else:
                at = self._in_string(piece, at)

    def end(self) -> None:
        """Say that this was all; what is cut short is the parser's to say."""
        self._add(self._cut)

    def _whole_escapes(self, piece: bytes) -> bytes:
        """Return *piece* without an escape that is cut at its end, which waits for the next."""
        self._cut = b""
        match = _CUT_ESCAPE.search(piece, max(0, len(piece) - _LONGEST_CUT))
        if match is None:
            return piece
        before = piece[: match.start()]
        if (len(before) - len(before.rstrip(b"\\"))) % 2:
            return piece  # that backslash is itself escaped
        self._cut = piece[match.start() :]
        return before

    def _between_strings(self, piece: bytes, at: int) -> int:
        end = piece.find(b'"', at)
        between = piece[at:] if end < 0 else piece[at:end]
        colons = between.count(b":")
        self.members += colons
        self._values += colons + between.count(b",") + between.count(b"[") + between.count(b"{")
        self._add(between)
        if end < 0:
            return len(piece)
        self._strings += 1
        self._add(b'"')
        self._string_at = len(self._text)
        self._kind_known = False
        return end + 1

    def _in_string(self, piece: bytes, at: int) -> int:
        end = piece.find(b'"', at)
        if piece.find(b"\\", at, len(piece) if end < 0 else end) >= 0:
            match = _TO_QUOTE.match(piece, at)
            end = len(piece) if match is None else match.end()
        elif end < 0:
            end = len(piece)
        self._take(piece[at:end])
        if end == len(piece):
            return end
        self._close()
        return end + 1

    def _take(self, some: bytes) -> None:
        if self._picture is not None:
            if not self._picture.has_fault:
                self._picture.feed(self._escapes.feed(some))
            return
        self._text += some
        if not self._kind_known and len(self._text) - self._string_at >= START_BYTES:
            self._detect_kind()
        self._check()

    def _detect_kind(self) -> None:
        """Find out whether the string is a picture; its start lies in the text."""
        self._kind_known = True
        start = self._escapes.feed(bytes(self._text[self._string_at :]))
        if holds_picture(start):
            self._picture = PictureText()
            self._picture.feed(start)
            del self._text[self._string_at :]

    def _close(self) -> None:
        if self._picture is not None:
            self._picture.end()
            mark = f"{_MARK}{len(self._pictures)}"
            self._pictures[mark] = self._picture
            self._picture = None
            self._text += mark.replace("\0", "\\u0000").encode()
        self._add(b'"')
        self._string_at = -1

    def _add(self, some: bytes) -> None:
        self._text += some
        self._check()

    def _check(self) -> None:
        if len(self._text) > self._most_bytes:
            raise RequestTooLarge(
                f"Your JSON is over {self._most_bytes} bytes beside its pictures."
            )
        if max(self._values, self._strings) > self._most_values:
            raise InvalidRequest(
                "We could not parse the JSON body of your request: it has more than"
                f" {self._most_values} values.",
                code="invalid_request_body",
            )


_DEEPEST = 8
_MOST_FIELDS = 200  # a form has such a limit too; an edit has about twenty
_LONGEST_NAME = 500
_URL_KEYS = ("image_url", "url")
_KEYS_OF_A_PICTURE = frozenset({*_URL_KEYS, "file_id", "type"})


def read_json(scan: JsonScan, most_of: MostOf) -> Form:
    """
    Read ``application/json`` (openai.md 2.3), tolerant of the dialects of hand-written clients.

    Pictures come as ``images`` or ``image``: one or a list of ``{"image_url": URL}``,
    ``{"url": URL}`` or the URL itself, or as ``image_url`` or ``image_urls``; by a form's
    names, too. ``null`` counts as absent, an empty list does not: who sends one means to edit.

    Args:
        scan: All of it.
        most_of: How many pictures the request may have.

    Raises:
        InvalidRequest: no JSON object, no picture or too many, a ``file_id``, a bad URL.
        InvalidImage: a data URL that cannot be decoded.
    """
    members = [(plain_name(name), value) for name, value in _object(scan).items()]
    images = sorted((member for member in members if is_image(member[0])), key=_place)
    given = [one for name, value in images for one in _entries_of(name, value)]
    over = [one for name, value in members if overlay_of(name) for one in _entries_of(name, value)]
    others = [(name, value) for name, value in members if not is_picture(name)]
    fields = tuple(islice(_fields(others, given), _MOST_FIELDS + 1))
    param = given[0][0] if given else "images"
    most = most_of(fields, len(given))
    check_count(len(given), param=param, most=most)
    if images and not given:
        _refuse_empty(images)
    check_overlays([overlay_of(name) for name, _ in over], most=most)
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
        if (param := overlay_of(name))
    }
    return Form(fields, pictures, refs.get("mask"), refs.get("markup"))


def _refuse_empty(images: list[tuple[str, Any]]) -> None:
    """Refuse a list without a picture; what is ``null`` is absent."""
    for name, value in images:
        if isinstance(value, list):
            raise InvalidRequest(
                f"Invalid value for '{name}': the list has no picture. Send one, or leave"
                f" '{name}' out to get a picture of the prompt alone.",
                param=name,
            )


def parse_json(scan: JsonScan) -> object:
    """
    Return what *scan* has read.

    Raises:
        InvalidRequest: it is not JSON, or has a name twice, of which one would be dropped.
    """
    text = scan.text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise _unreadable(f"not valid JSON: {exc.msg}") from None
    if _members(value) < scan.members:
        json.loads(text, object_pairs_hook=_refuse_duplicates)
    return value


def _members(value: object) -> int:
    """Return how many names there are in all objects of *value*."""
    count = 0
    left = [value]
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


def flatten(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield *value* as the text fields that OpenAI's SDKs would make of it in a form."""
    if depth > _DEEPEST:
        raise _unreadable("nested too deeply")
    if len(name) > _LONGEST_NAME:
        raise _unreadable(f"a request with a name of over {_LONGEST_NAME} characters")
    match value:
        case None:
            return
        case dict() | list() if name.rpartition("[")[2].removesuffix("]") in JSON_VALUED:
            yield name, orjson.dumps(value).decode()
        case dict():
            for key, inner in value.items():
                yield from flatten(f"{name}[{key}]", inner, depth + 1)
        case list():
            for inner in value:
                yield from flatten(f"{name}[]", inner, depth + 1)
        case _:
            yield name, _text(value)


def _fields(
    others: list[tuple[str, Any]], given: list[tuple[str, Any]]
) -> Iterator[tuple[str, str]]:
    for name, value in others:
        yield from flatten(name, value)
    # What stands beside a picture's URL has no effect, so it is to be listed like the rest.
    for nth, (name, entry) in enumerate(given):
        extra = entry.items() if isinstance(entry, dict) else ()
        for key, value in extra:
            if key not in _KEYS_OF_A_PICTURE:
                yield from flatten(f"{name}[{nth}][{key}]", value)


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))  # 2.0 is how some languages write 2
        case _:
            return str(value)


def _object(scan: JsonScan) -> dict[str, Any]:
    members = parse_json(scan)
    if not isinstance(members, dict):
        raise _unreadable("not a JSON object")
    return members


def _place(member: tuple[str, object]) -> int:
    return place_of(member[0])


def _unreadable(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"We could not parse the JSON body of your request: it is {why}.",
        code="invalid_request_body",
    )


def _entries_of(name: str, value: object) -> list[tuple[str, Any]]:
    entries = value if isinstance(value, list) else [value]
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
