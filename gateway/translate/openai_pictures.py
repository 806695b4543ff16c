"""Pictures as customers send them: field names in order, data URLs, https URLs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pybase64

from gateway.domain.errors import InvalidImage, InvalidRequest

MostOf = Callable[[Sequence[tuple[str, str]]], int]
"""From the plain fields of a request to how many pictures its model takes."""

# image, image[], image[0], images[1], images[][image_url]: what SDKs make of lists and objects.
_IMAGE = re.compile(r"images?(?:\[(\d{0,9})\])?(?:\[(?:image_)?url\])?", re.ASCII)
_MASK = re.compile(r"mask(?:\[\d{0,9}\])?(?:\[(?:image_)?url\])?", re.ASCII)
_PERCENT = re.compile(r"%5[bd]", re.IGNORECASE)
_FILE_ID = re.compile(r"(?:.*\[)?file_id\]?", re.DOTALL)
_WEB = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_SAYS_PICTURE = re.compile(r"image|mask|picture|photo|markup", re.IGNORECASE)
_SAYS_URL = re.compile(r"(?:image|mask)_?urls?", re.IGNORECASE)
_PICTURE_FILE = re.compile(
    r"https?://[^?#\s]*\.(?:png|jpe?g|webp|gif|bmp|tiff?|heic|avif)(?:[?#]\S*)?", re.IGNORECASE
)
_URL_SAFE = str.maketrans("-_", "+/")
_START_BYTES = 12
_PICTURE_START = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0"
    rb"|II\*\0|MM\0\*|....ftyp",
    re.DOTALL,
)
_DATA = re.compile(r"data:[^,]{0,200};base64", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PictureRef:
    """A picture as it was handed over: its bytes, or the URL where it lies; one of both."""

    content: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)


def plain_name(name: str) -> str:
    """Return *name* with its brackets as such: some clients send ``image%5B%5D``."""
    return _PERCENT.sub(lambda match: "[" if match[0] in "%5b%5B" else "]", name)


def is_image(name: str) -> bool:
    """Return whether a field of this *name* holds an input picture."""
    return _IMAGE.fullmatch(name) is not None


def place_of(name: str) -> int:
    """Return which of the pictures a field of this *name* holds; -1: the next, in order."""
    match = _IMAGE.fullmatch(name)
    return int(match[1] or -1) if match else -1


def is_mask(name: str) -> bool:
    return _MASK.fullmatch(name) is not None


def is_picture(name: str) -> bool:
    return is_image(name) or is_mask(name)


def is_file_id(name: str) -> bool:
    """Return whether *name* asks for a file of OpenAI's storage, which is not ours."""
    return _FILE_ID.fullmatch(name) is not None


def carries_picture(name: str, text: str) -> bool:
    """
    Return whether a field that takes no picture was sent one: nobody sends one to be ignored.

    Args:
        name: Of a field without a meaning here, ``reference_image``, ``images2[][url]``.
        text: What it holds.
    """
    text = text.strip()
    if _SAYS_URL.search(name):
        return bool(text)
    if _WEB.fullmatch(text):
        return bool(_SAYS_PICTURE.search(name) or _PICTURE_FILE.fullmatch(text))
    return text[:5].casefold() == "data:" or is_raw_base64(text)


def refuse_picture(name: str) -> InvalidRequest:
    """Return the refusal of a picture under a *name* that takes none."""
    shown = name[:64]
    return InvalidRequest(
        f"The field '{shown}' has no meaning here, so its picture would be ignored. Send the"
        " pictures to be edited as 'image' or 'image[]', a mask as 'mask', to /v1/images/edits.",
        param=shown,
        code="unknown_parameter",
    )


def picture_order(names: Sequence[str], most: int) -> tuple[int, ...]:
    """
    Return the places in *names* of the input pictures, in the order that the prompt counts.

    Those without a number come first, in the order sent; ``image[2]`` comes before
    ``image[10]``.

    Raises:
        InvalidRequest: there are none, or more than the *most* that the model takes.
    """
    numbered = [(place_of(name), place) for place, name in enumerate(names) if is_image(name)]
    check_count(len(numbered), param="image", most=most)
    return tuple(place for _, place in sorted(numbered))


def check_count(count: int, *, param: str, most: int) -> None:
    """Refuse no picture at all, and more than the *most* that the model takes; 0: it takes none."""
    if not most:
        refuse_pictures(count, param=param)
    elif not count:
        raise InvalidRequest(
            f"Missing required parameter: '{param}'.",
            param=param,
            code="missing_required_parameter",
        )
    elif count > most:
        raise InvalidRequest(f"Too many images: {count}. Send {most} at most.", param=param)


def refuse_pictures(count: int, *, param: str) -> None:
    """Refuse any picture where a prompt alone is asked for."""
    if count:
        raise InvalidRequest(
            f"A generation takes no '{param}': send it to /v1/images/edits, or leave it out.",
            param=param,
        )


def is_raw_base64(text: str) -> bool:
    """Return whether *text* begins as a picture's base64 does, without ``data:`` before it."""
    try:
        start = pybase64.b64decode(text[:16].translate(_URL_SAFE), validate=True)
    except ValueError:
        return False
    return len(start) == _START_BYTES and _PICTURE_START.match(start) is not None


def picture_ref(text: str, *, which: str, param: str) -> PictureRef:
    """
    Read a picture that came as text: a base64 data URL, or an URL, which is not opened here.

    Args:
        text: ``data:image/png;base64,…`` or ``https://…``.
        which: How messages call it: ``image 1``, ``the mask``.
        param: The field it came in.

    Raises:
        InvalidImage: the base64 is broken or empty.
        InvalidRequest: it is something else.
    """
    text = text.strip()
    if text[:5].casefold() == "data:":
        return PictureRef(content=_decoded(text, which, param))
    if _WEB.fullmatch(text):
        return PictureRef(url=text)
    raise InvalidRequest(
        f"Invalid URL for {which}: expected https://…, http://… or data:image/png;base64,…",
        param=param,
    )


def _decoded(text: str, which: str, param: str) -> bytes:
    head, _, tail = text.partition(",")
    if not _DATA.fullmatch(head):
        raise InvalidImage(
            f"Invalid data URL for {which}: expected data:image/png;base64,…", param=param
        )
    try:
        content = pybase64.b64decode(tail, validate=True)
    except ValueError:  # binascii.Error is one; so is text beyond ASCII
        content = b""
    if not content:
        raise InvalidImage(
            f"Invalid data URL for {which}: its base64 is empty or broken.", param=param
        )
    return content
