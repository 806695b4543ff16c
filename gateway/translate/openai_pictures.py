"""Pictures as clients send them: field names in order, data URLs, https URLs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidRequest
from gateway.translate.picture_text import (
    START_BYTES,
    PictureText,
    holds_picture,
    is_web_url,
)

MostOf = Callable[[Sequence[tuple[str, str]]], int]
"""From the plain fields of a request to how many pictures its model takes."""

# image, image[], image[0], images[1], images[][image_url]: what SDKs make of lists and objects.
_IMAGE = re.compile(r"images?(?:\[(\d{0,9})\])?(?:\[(?:image_)?url\])?", re.ASCII)
_BESIDE = re.compile(r"(mask|markup)(?:\[\d{0,9}\])?(?:\[(?:image_)?url\])?", re.ASCII)
_PERCENT = re.compile(r"%5[bd]", re.IGNORECASE)
_FILE_ID = re.compile(r"(?:.*\[)?file_id\]?", re.DOTALL)
_SAYS_PICTURE = re.compile(r"image|mask|picture|photo|markup", re.IGNORECASE)
_SAYS_URL = re.compile(r"(?:image|mask|markup)_?urls?", re.IGNORECASE)
_PICTURE_FILE = re.compile(
    r"https?://[^?#\s]*\.(?:png|jpe?g|webp|gif|bmp|tiff?|heic|avif)(?:[?#]\S*)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Form:
    """What a request body asks for, whatever its encoding was."""

    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """Name and text in the order sent, without pictures; nested ones as ``parameters[seed]``."""
    pictures: tuple[Picture, ...]
    """In the order that the prompt counts; none for a generation."""
    mask: Picture | None = None
    markup: Picture | None = None


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


def beside(name: str) -> str:
    """Return what a field of this *name* lays over the first picture: mask, markup or nothing."""
    match = _BESIDE.fullmatch(name)
    return match[1] if match else ""


def is_picture(name: str) -> bool:
    return is_image(name) or bool(beside(name))


def check_beside(names: Sequence[str], *, most: int) -> None:
    """Refuse more than one mask or markup, and any where the model takes no picture."""
    for param in ("mask", "markup"):
        count = names.count(param)
        if not most:
            refuse_pictures(count, param=param)
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
    Return whether a field that takes no picture was sent one: nobody sends one to be ignored.

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


def read_picture(said: str | PictureText, *, which: str, param: str) -> Picture:
    """
    Read a picture that came as text; a URL is not opened here.

    Args:
        said: ``data:image/png;base64,…``, ``https://…``, base64, or what became of it on the way.
        which: How messages call it: ``image 1``, ``the mask``.
        param: The field it came in.

    Raises:
        InvalidImage: the base64 is broken or empty.
        InvalidRequest: it is something else.
    """
    if isinstance(said, str):
        text = PictureText()
        text.feed(said.encode("utf-8", "replace"))
        text.end()
        said = text
    content, url = said.content(which, param)
    return Picture(content=content, url=url)
