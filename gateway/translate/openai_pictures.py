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
_MASK = re.compile(r"mask(?:\[(?:image_)?url\])?")
_FILE_ID = re.compile(r"(?:.*\[)?file_id\]?", re.DOTALL)
_WEB = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_DATA = re.compile(r"data:[^,]{0,200};base64", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PictureRef:
    """A picture as it was handed over: its bytes, or the URL where it lies; one of both."""

    content: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)


def is_image(name: str) -> bool:
    """Return whether a field of this *name* holds an input picture."""
    return _IMAGE.fullmatch(name) is not None


def is_mask(name: str) -> bool:
    return _MASK.fullmatch(name) is not None


def is_picture(name: str) -> bool:
    return is_image(name) or is_mask(name)


def is_file_id(name: str) -> bool:
    """Return whether *name* asks for a file of OpenAI's storage, which is not ours."""
    return _FILE_ID.fullmatch(name) is not None


def picture_order(names: Sequence[str], most: int) -> tuple[int, ...]:
    """
    Return the places in *names* of the input pictures, in the order that the prompt counts.

    Those without a number come first, in the order sent; ``image[2]`` comes before
    ``image[10]``.

    Raises:
        InvalidRequest: there are none, or more than the *most* that the model takes.
    """
    numbered = [
        (int(match[1] or -1), place)
        for place, name in enumerate(names)
        if (match := _IMAGE.fullmatch(name))
    ]
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
