"""A picture's metadata: its Exif orientation, and whether there is any to strip (D90)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_INTEROP_DIRECTORY = 0xA005
_INTEROP_INDEX = 0x0001
_ENTRY_BYTES = 12
_EXIF = b"Exif\x00\x00"
_MOST_BYTES = 65_000
"""A JPEG's segment has 65,533."""
_Order = Literal["little", "big"]
_ORDERS: Mapping[bytes, _Order] = {b"II": "little", b"MM": "big"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """
    What was found in a file's head.

    *present* is true when anything is there that no decoder needs and that may say something about
    the client: Exif with its GPS position, XMP, IPTC, comments, a maker's private parts.
    *rest* counts the bytes behind the picture's end: a film, a second picture, what was
    cropped away. *profile* is an ICC profile; ``None`` leaves it to Pillow to find one.
    *frames* and *coded_pixels* are as in Inspected, where they are found without Pillow.
    """

    exif: bytes = field(default=b"", repr=False)
    present: bool = False
    rest: int = 0
    profile: bytes | None = field(default=None, repr=False)
    frames: int = 1
    coded_pixels: int = 0


def orientation(exif: bytes) -> int:
    r"""
    Return the Exif orientation, 1 to 8, of a block that begins with a TIFF header.

    ``Exif\0\0`` before the header is passed over. A block that is broken or says nothing
    means 1, upright: damaged metadata is not a reason to refuse the picture.
    """
    exif = exif.removeprefix(_EXIF)
    order = _ORDERS.get(exif[:2])
    at = (
        None
        if order is None
        else _value_at(exif, order, _first_directory(exif, order), _ORIENTATION)
    )
    if order is None or at is None:
        return 1
    value = int.from_bytes(exif[at : at + 2], order)
    return value if 1 <= value <= 8 else 1


def is_adobe_rgb(exif: bytes) -> bool:
    """Return whether a camera says in *exif*, by ``R03`` alone, that its colours are Adobe RGB."""
    exif = exif.removeprefix(_EXIF)
    order = _ORDERS.get(exif[:2])
    if order is None:
        return False
    directory = _first_directory(exif, order)
    for tag in (_EXIF_DIRECTORY, _INTEROP_DIRECTORY):
        at = _value_at(exif, order, directory, tag)
        if at is None:
            return False
        directory = int.from_bytes(exif[at : at + 4], order)
    at = _value_at(exif, order, directory, _INTEROP_INDEX)
    return at is not None and exif[at : at + 3] == b"R03"


def upright(exif: bytes) -> bytes:
    r"""
    Return the same block saying orientation 1, as a JPEG takes it: behind ``Exif\0\0``.

    Empty for a block that is broken, or too long for a JPEG.
    """
    block = bytearray(exif.removeprefix(_EXIF))
    order = _ORDERS.get(bytes(block[:2]))
    if order is None or len(block) > _MOST_BYTES:
        return b""
    first = _first_directory(bytes(block), order)
    if (at := _value_at(bytes(block), order, first, _ORIENTATION)) is not None:
        block[at : at + 2] = (1).to_bytes(2, order)
    return _EXIF + bytes(block)


def _first_directory(exif: bytes, order: _Order) -> int:
    return int.from_bytes(exif[4:8], order)


def _value_at(exif: bytes, order: _Order, directory: int, tag: int) -> int | None:
    """Return where the value of *tag* stands in the *directory* at that place, None if nowhere."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)

    first = directory + 2
    entries = min(number(directory, 2), max(0, len(exif) - first) // _ENTRY_BYTES)
    for at in range(first, first + entries * _ENTRY_BYTES, _ENTRY_BYTES):
        if number(at, 2) == tag:
            return at + 8
    return None
