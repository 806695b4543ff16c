"""A picture small enough to lie beside a row of text."""

from PIL import ImageOps

from gateway.domain.errors import InvalidImage
from gateway.imaging.encoding import as_webp
from gateway.imaging.fit import WHITE
from gateway.imaging.formats import format_of
from gateway.imaging.opening import check_cost, opened, reading
from gateway.imaging.pixels import flattened

SIDE = 56
"""Pixels: a row shows half of it, so that it is sharp on a fine screen."""
_QUALITY = 70


def thumbnail(content: bytes) -> bytes:
    """
    Return the middle of *content*, upright and square, as WEBP of one or two kilobytes.

    Raises:
        InvalidImage: it cannot be read.
    """
    known = format_of(content)
    if known is None:
        raise InvalidImage("it is of no known format")
    check_cost(content, known.name)
    with opened(content, known.name) as picture, reading():
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # lets a JPEG be decoded at an eighth
        upright = ImageOps.exif_transpose(picture)
        small = ImageOps.fit(flattened(upright, WHITE), (SIDE, SIDE))
        return as_webp(small, _QUALITY)
