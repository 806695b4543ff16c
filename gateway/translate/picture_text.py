"""A picture that comes as text, decoded while it arrives: data URL, base64, or a URL."""

import re
from io import BytesIO

import pybase64

from gateway.domain.errors import InvalidImage, InvalidRequest
from gateway.translate.transfer import Base64

START_BYTES = 300
"""So many tell what a text is: no data URL has longer parameters."""

_LONGEST_TEXT = 2**20
_SPACE = b" \t\r\n\f\v"
_BOM = b"\xef\xbb\xbf"
_WEB = re.compile(rb"https?://[^\s/?#\x00-\x1f\x7f][^\s\x00-\x1f\x7f]*", re.IGNORECASE)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TOLD_BY = 12
"""Bytes of a picture, in 16 characters of base64."""
_PICTURE_START = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0"
    rb"|II\*\0|MM\0\*|....ftyp",
    re.DOTALL,
)


def is_web_url(text: bytes) -> bool:
    return _WEB.fullmatch(text) is not None


def is_data_url(start: bytes) -> bool:
    return start[:5].lower() == b"data:"


def is_raw_base64(start: bytes) -> bool:
    """Return whether *start* begins as a picture's base64 does, without ``data:`` before it."""
    try:
        told = pybase64.b64decode(
            start[:START_BYTES].translate(_TO_STANDARD, _SPACE)[:16], validate=True
        )
    except ValueError:
        return False
    return len(told) == _TOLD_BY and _PICTURE_START.match(told) is not None


def holds_picture(start: bytes) -> bool:
    """Return whether a text that begins with *start* is a picture's data, as far as that tells."""
    start = _trimmed(start)
    return is_data_url(start) or is_raw_base64(start)


class PictureText:
    """
    Reads one picture. Nothing of its text is kept that is not needed any more.

    Args:
        is_file: Whether it came as a file: what is no text of a picture is the picture itself.
    """

    def __init__(self, *, is_file: bool = False) -> None:
        self._is_file = is_file
        self._start = b""
        self._plain = BytesIO()
        self._base64: Base64 | None = None
        self._in_url = False
        self._told = False
        self._fault = ""

    def feed(self, piece: bytes) -> None:
        if not self._told:
            self._start += piece
            if len(self._start) < START_BYTES:
                return
            piece = self._tell()
        self._take(piece)

    def end(self) -> None:
        """Say that this was all."""
        if not self._told:
            self._take(self._tell())
        if self._base64 is not None:
            self._plain.write(self._base64.end())
            self._fault = self._fault or self._base64.fault

    @property
    def broken(self) -> bool:
        """Whether a fault was found, so that the rest needs no look."""
        return bool(self._fault) or (self._base64 is not None and bool(self._base64.fault))

    @property
    def absent(self) -> bool:
        """Whether it was left empty, and so is as if it were not there."""
        told = self._in_url or self._base64 is not None or self._is_file
        return not told and not self._plain.tell()

    def content(self, which: str, param: str) -> tuple[bytes, str]:
        """
        Return the picture's bytes, or its URL; call ``end`` first.

        Args:
            which: How messages call it: ``image 1``, ``the mask``.
            param: The field it came in.

        Raises:
            InvalidImage: its base64 is broken, or there is nothing.
            InvalidRequest: it is something else.
        """
        plain = self._plain.getvalue()
        if self._in_url or self._base64 is not None:
            return self._decoded(plain, which, param), ""
        if plain and (self._is_file or not _is_text(plain)):
            return plain, ""
        text = _trimmed(plain)
        if is_web_url(text):
            return b"", text.decode()
        if not plain:
            raise InvalidImage(f"Invalid image file for {which}: it is empty.", param=param)
        raise InvalidRequest(
            f"Invalid URL for {which}: expected https://…, http://…, data:image/png;base64,…"
            " or a picture's base64.",
            param=param,
        )

    def _decoded(self, content: bytes, which: str, param: str) -> bytes:
        what = "data URL" if self._in_url else "base64"
        fault = self._fault or ("" if content else "it is empty")
        if fault:
            raise InvalidImage(f"Invalid {what} for {which}: {fault}.", param=param)
        return content

    def _take(self, piece: bytes) -> None:
        if self._base64 is not None:
            self._plain.write(self._base64.feed(piece))
        elif not self._fault:
            self._plain.write(piece)

    def _tell(self) -> bytes:
        """Find out what it is; return what of the start is still to be taken."""
        self._told = True
        start = self._start
        self._start = b""
        trimmed = _trimmed(start)
        if is_data_url(trimmed):
            self._in_url = True
            head, comma, rest = trimmed.partition(b",")
            if not comma:
                self._fault = "it has no comma, behind which its data would begin"
            elif b"base64" not in [part.strip() for part in head.lower().split(b";")[1:]]:
                self._fault = "its data is not base64; expected data:image/png;base64,…"
            else:
                self._base64 = Base64()
            return rest
        if is_raw_base64(trimmed):
            self._base64 = Base64()
            return trimmed
        return start


def _is_text(content: bytes) -> bool:
    if len(content) > _LONGEST_TEXT:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _trimmed(text: bytes) -> bytes:
    return text.strip(_SPACE).removeprefix(_BOM).lstrip(_SPACE)
