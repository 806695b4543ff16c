"""Whether a picture is whole: found by decoding as much of it as tells, as cheaply as can be."""

from gateway.imaging import jpeg, png
from gateway.imaging.inspect import Inspected
from gateway.imaging.opening import check_cost, opened, reading

_SHRINK = 8
"""JPEG can be decoded at an eighth: all coded data is read, few pixels are made of it."""
_WHOLE_BYTES = 131_072
"""Up to here everything is decoded. Beyond, decoding 1 MB would cost more than moving it."""
_FIRST_BYTES = 65_536


_MOST_DECODED = 16_000_000
"""Pixels of a PNG: so many may stand in few bytes."""


def is_decoded(content: bytes, inspected: Inspected) -> bool:
    """Tell whether verify makes pixels of *content*; else it reads it as it is coded."""
    if inspected.format != "PNG":
        return True
    pixels = inspected.size.width * inspected.size.height
    return len(content) <= _WHOLE_BYTES and pixels <= _MOST_DECODED


def verify(content: bytes, inspected: Inspected) -> None:
    """
    Decode *content*, or enough of it to know that it is whole, and forget the pixels.

    A large one-pass JPEG is decoded in its first part and walked through to its end: its
    coded data has no checksum, so that a decoder finds no more in the middle than a
    marker that does not belong there. In a large PNG every checksum is compared.

    Raises:
        InvalidImage: with the reason alone.
    """
    check_cost(content, inspected.format)
    if not is_decoded(content, inspected):
        png.check_coding(content)
        return
    if len(content) > _WHOLE_BYTES and inspected.format == "JPEG" and inspected.one_pass:
        content = jpeg.first_part(content, _FIRST_BYTES)
    with opened(content, inspected.format) as picture, reading():
        # Luminance alone; other formats take no notice.
        picture.draft("L", (picture.width // _SHRINK, picture.height // _SHRINK))
        picture.load()
