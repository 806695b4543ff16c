"""Whether a picture's pixels are all there: found by decoding them, as cheaply as can be."""

from gateway.imaging.inspect import Inspected
from gateway.imaging.opening import check_cost, opened, reading

_SHRINK = 8
"""JPEG can be decoded at an eighth: all coded data is read, few pixels are made of it."""


def verify(content: bytes, inspected: Inspected) -> None:
    """
    Decode *content* and forget the pixels.

    Finds cut short files and what a decoder finds. Coded JPEG data has no checksum: a
    flipped bit in it shows as a smear, and no decoder complains.

    Raises:
        InvalidImage: with the reason alone.
    """
    check_cost(content, inspected.format)
    with opened(content, inspected.format) as picture, reading():
        # Luminance alone; other formats take no notice.
        picture.draft("L", (picture.width // _SHRINK, picture.height // _SHRINK))
        picture.load()
