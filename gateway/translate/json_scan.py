"""JSON that arrives in pieces: bounded before it is parsed, its pictures decoded on the way."""

import re

from gateway.domain.errors import InvalidRequest, RequestTooLarge
from gateway.translate.picture_text import START_BYTES, PictureText, holds_picture
from gateway.translate.transfer import JsonEscapes

MOST_VALUES = 4_000
"""Commas, colons and brackets of one text; an edit has some forty."""

_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST_CUT = 5
_TO_QUOTE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_MARK = "\0picture:"


class JsonScan:
    """
    Splits JSON into its pictures and the rest, which is short.

    A string that begins as a picture's data URL or base64 leaves a mark in the text, and is
    decoded while it comes. To parse 62 MiB of anything else would take memory and time
    without end, so that is refused as soon as it is seen.

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
        self._told = False
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
        self._told = False
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
            if not self._picture.broken:
                self._picture.feed(self._escapes.feed(some))
            return
        self._text += some
        if not self._told and len(self._text) - self._string_at >= START_BYTES:
            self._tell()
        self._check()

    def _tell(self) -> None:
        """Find out whether the string is a picture; its start lies in the text."""
        self._told = True
        said = self._escapes.feed(bytes(self._text[self._string_at :]))
        if holds_picture(said):
            self._picture = PictureText()
            self._picture.feed(said)
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
