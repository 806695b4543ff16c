"""Pictures in requests: their field names and order, data URLs, base64 and URLs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pybase64

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidImage, InvalidRequest
from gateway.translate.encodings import Base64

START_BYTES = 300
"""Enough to recognise the kind of a text: no data URL has longer parameters."""

_LONGEST_TEXT = 2**20
_SPACE = b" \t\r\n\f\v"
_BOM = b"\xef\xbb\xbf"
_WEB = re.compile(rb"https?://[^\s/?#\x00-\x1f\x7f][^\s\x00-\x1f\x7f]*", re.IGNORECASE)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_START_LENGTH = 12
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
        head = pybase64.b64decode(
            start[:START_BYTES].translate(_TO_STANDARD, _SPACE)[:16], validate=True
        )
    except ValueError:
        return False
    return len(head) == _START_LENGTH and _PICTURE_START.match(head) is not None


def holds_picture(start: bytes) -> bool:
    """Return whether a text that begins with *start* is a picture, as far as *start* shows."""
    start = _trimmed(start)
    return is_data_url(start) or is_raw_base64(start)


class PictureText:
    """
    Reads one picture that arrives as text. Text that is decoded is not kept.

    Args:
        is_file: Whether it came as a file, which may be the picture itself.
    """

    def __init__(self, *, is_file: bool = False) -> None:
        self._is_file = is_file
        self._start = b""
        self._plain = BytesIO()
        self._base64: Base64 | None = None
        self._in_url = False
        self._kind_known = False
        self._fault = ""

    def feed(self, piece: bytes) -> None:
        if not self._kind_known:
            self._start += piece
            if len(self._start) < START_BYTES:
                return
            piece = self._detect_kind()
        self._take(piece)

    def end(self) -> None:
        """Mark the end of the text."""
        if not self._kind_known:
            self._take(self._detect_kind())
        if self._base64 is not None:
            self._plain.write(self._base64.end())
            self._fault = self._fault or self._base64.fault

    @property
    def has_fault(self) -> bool:
        """Whether a fault was found, so that the rest need not be read."""
        return bool(self._fault) or (self._base64 is not None and bool(self._base64.fault))

    @property
    def is_empty(self) -> bool:
        """Whether it was left empty, which counts as absent."""
        has_kind = self._in_url or self._base64 is not None or self._is_file
        return not has_kind and not self._plain.tell()

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

    def _detect_kind(self) -> bytes:
        """Detect the kind; return what of the start is still to be read."""
        self._kind_known = True
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


MostOf = Callable[[Sequence[tuple[str, str]], int], int]
"""
From the plain fields of a request, and how many pictures it has, to how many its model takes.

0: the request is for a picture of the prompt alone.
"""

# image, image[], image[0], images[1], images[][image_url]: what SDKs make of lists and objects;
# image_url and image_urls: what others call them.
_IMAGE = re.compile(r"image(?:s|_urls?)?(?:\[(\d{0,9})\])?(?:\[(?:image_)?url\])?", re.ASCII)
_OVERLAY = re.compile(r"(mask|markup)(?:\[\d{0,9}\])?(?:\[(?:image_)?url\])?", re.ASCII)
_PERCENT = re.compile(r"%5[bd]", re.IGNORECASE)
_FILE_ID = re.compile(r"(?:.*\[)?file_id\]?", re.DOTALL)
_SAYS_PICTURE = re.compile(r"image|mask|picture|photo|markup", re.IGNORECASE)
_SAYS_URL = re.compile(r"(?:image|mask|markup)_?urls?", re.IGNORECASE)
_PICTURE_FILE = re.compile(
    r"https?://[^?#\s]*\.(?:png|jpe?g|webp|gif|bmp|tiff?|heic|avif)(?:[?#]\S*)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Form:
    """The content of a request body, in any encoding."""

    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """Name and text in the order sent, without pictures; nested ones as ``parameters[seed]``."""
    pictures: tuple[Picture, ...]
    """In the order that the prompt counts; none for a generation."""
    mask: Picture | None = None
    markup: Picture | None = None


def plain_name(name: str) -> str:
    """Return *name* with its brackets decoded: some clients send ``image%5B%5D``."""
    return _PERCENT.sub(lambda match: "[" if match[0] in "%5b%5B" else "]", name)


def is_image(name: str) -> bool:
    """Return whether a field of this *name* holds an input picture."""
    return _IMAGE.fullmatch(name) is not None


def place_of(name: str) -> int:
    """Return which of the pictures a field of this *name* holds; -1: the next, in order."""
    match = _IMAGE.fullmatch(name)
    return int(match[1] or -1) if match else -1


def overlay_of(name: str) -> str:
    """Return what a field of this *name* lays over the first picture: mask, markup or nothing."""
    match = _OVERLAY.fullmatch(name)
    return match[1] if match else ""


def is_picture(name: str) -> bool:
    return is_image(name) or bool(overlay_of(name))


def check_overlays(names: Sequence[str], *, most: int) -> None:
    """Refuse more than one mask or markup, and any where there is no picture that it lies on."""
    for param in ("mask", "markup"):
        count = names.count(param)
        if count and not most:
            raise InvalidRequest(
                f"A '{param}' lies on a picture: send that as 'image', or leave '{param}' out.",
                param=param,
            )
        if count > 1:
            raise InvalidRequest(f"Duplicate parameter: '{param}'. Send one.", param=param)
    if len(names) > 1:
        raise InvalidRequest(
            "A 'markup' cannot be sent together with a 'mask'. Send one of them.", param="markup"
        )


def is_file_id(name: str) -> bool:
    """Return whether *name* asks for a file of OpenAI's storage, which is not ours."""
    return _FILE_ID.fullmatch(name) is not None


def carries_picture(name: str, text: str) -> bool:
    """
    Return whether a field without a meaning here contains a picture, which must be refused.

    Args:
        name: Of a field without a meaning here, ``reference_image``, ``images2[][url]``.
        text: What it holds.
    """
    raw = text.strip().encode("utf-8", "replace")
    if _SAYS_URL.search(name):
        return bool(raw)
    if is_web_url(raw):
        return bool(_SAYS_PICTURE.search(name) or _PICTURE_FILE.fullmatch(text.strip()))
    return holds_picture(raw[:START_BYTES])


def refuse_picture(name: str) -> InvalidRequest:
    """Return the refusal of a picture under a *name* that takes none."""
    shown = name[:64]
    return InvalidRequest(
        f"The field '{shown}' has no meaning here, so its picture would be ignored. Send the"
        " pictures to be edited as 'image' or 'image[]', a mask as 'mask', to /v1/images/edits.",
        param=shown,
        code="unknown_parameter",
    )


def picture_order(names: Sequence[str]) -> tuple[int, ...]:
    """
    Return the places in *names* of the input pictures, in the order that the prompt counts.

    Those without a number come first, in the order sent; ``image[2]`` comes before
    ``image[10]``.
    """
    numbered = [(place_of(name), place) for place, name in enumerate(names) if is_image(name)]
    return tuple(place for _, place in sorted(numbered))


def check_count(count: int, *, param: str, most: int) -> None:
    """Refuse more pictures than the *most* that the model takes, and none unless that is 0."""
    if most and not count:
        raise InvalidRequest(
            f"Missing required parameter: '{param}'.",
            param=param,
            code="missing_required_parameter",
        )
    if count > most:
        raise InvalidRequest(f"Too many images: {count}. Send {most} at most.", param=param)


def read_picture(value: str | PictureText, *, which: str, param: str) -> Picture:
    """
    Read a picture that came as text; a URL is not opened here.

    Args:
        value: ``data:image/png;base64,…``, ``https://…``, base64, or one already decoded.
        which: How messages call it: ``image 1``, ``the mask``.
        param: The field it came in.

    Raises:
        InvalidImage: the base64 is broken or empty.
        InvalidRequest: it is something else.
    """
    if isinstance(value, str):
        text = PictureText()
        text.feed(value.encode("utf-8", "replace"))
        text.end()
        value = text
    content, url = value.content(which, param)
    return Picture(content=content, url=url)
