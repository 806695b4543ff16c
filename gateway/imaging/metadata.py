"""What a file says beside its picture; read for one thing only: how to turn it upright."""

from dataclasses import dataclass, field
from typing import Literal

_ORIENTATION = 0x0112
_ENTRY_BYTES = 12


@dataclass(frozen=True, slots=True)
class Metadata:
    """
    What was found in a file's head.

    *present* is true when anything is there that no decoder needs and that may tell about
    the customer: Exif with its GPS position, XMP, IPTC, comments, a maker's private parts.
    """

    exif: bytes = field(default=b"", repr=False)
    present: bool = False


def orientation(exif: bytes) -> int:
    r"""
    Return the Exif orientation, 1 to 8, of a block that begins with a TIFF header.

    ``Exif\0\0`` before the header is passed over. A block that is broken or says nothing
    means 1, upright: damage in a note is no reason to refuse the picture.
    """
    exif = exif.removeprefix(b"Exif\x00\x00")
    if exif[:2] == b"II":
        return _tag(exif, "little")
    return _tag(exif, "big") if exif[:2] == b"MM" else 1


def _tag(exif: bytes, order: Literal["little", "big"]) -> int:
    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)

    directory = number(4, 4)
    first = directory + 2
    entries = min(number(directory, 2), max(0, len(exif) - first) // _ENTRY_BYTES)
    for at in range(first, first + entries * _ENTRY_BYTES, _ENTRY_BYTES):
        if number(at, 2) == _ORIENTATION:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
