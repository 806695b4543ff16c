"""What decoding a picture costs in memory, computed from its head (D101)."""

from collections.abc import Mapping

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.inspect import Inspected

MEMORY = 512 * 1024 * 1024
"""Bytes that pictures may need while they are decoded and re-encoded, all large ones together."""

# Bytes a pixel, at the most: decoder, pixels and the RGB copy; measured in tests/imaging/test_cost.
_PER_PIXEL: Mapping[str, int] = {
    "JPEG": 9,
    "PNG": 10,
    "BMP": 10,
    "GIF": 10,
    "TIFF": 10,
    "WEBP": 21,
    "AVIF": 16,
    "HEIF": 11,
}
_PER_COEFFICIENT = 2
SMALLEST = Size(1, 1)
"""The wanted size of a picture that is only decoded to verify it."""
_SCALES = (1, 2, 4, 8)
"""A JPEG can be decoded at one of these fractions, at a fraction of the cost."""


def check_pixels(inspected: Inspected) -> None:
    """
    Refuse a picture that cannot be decoded within the memory there is.

    Raises:
        InvalidImage: with the reason.
    """
    if cost_of(inspected, SMALLEST) > MEMORY:
        most = MEMORY // _PER_PIXEL[inspected.format] // 1_000_000
        size = inspected.size
        hidden = inspected.coded_pixels > size.width * size.height
        found = f"{inspected.coded_pixels:,} coded pixels" if hidden else size
        raise InvalidImage(
            f"{found} is more than a {inspected.format} may have here: about {most} million pixels"
        )


def cost_of(inspected: Inspected, wanted: Size) -> int:
    """Return the bytes that it takes to decode *inspected* for a picture of the *wanted* size."""
    return _cost_at(inspected, scale_of(inspected, wanted))


def scale_of(inspected: Inspected, wanted: Size) -> int:
    """
    Return by what a decoder may divide the sides of *inspected*: 1 for all formats but JPEG.

    The result is not smaller than *wanted*, unless it takes more memory than there is.
    """
    if inspected.format != "JPEG":
        return 1
    size = inspected.size
    room = min(size.width // max(1, wanted.width), size.height // max(1, wanted.height))
    enough = max((scale for scale in _SCALES if scale <= room), default=1)
    return next(
        (scale for scale in _SCALES if scale >= enough and _cost_at(inspected, scale) <= MEMORY),
        _SCALES[-1],
    )


def _cost_at(inspected: Inspected, scale: int) -> int:
    pixels = max(inspected.size.width * inspected.size.height, inspected.coded_pixels)
    held = (
        0
        if inspected.one_pass
        else pixels * _PER_COEFFICIENT * (4 if inspected.mode == "CMYK" else 3)
    )
    return held + pixels * _PER_PIXEL[inspected.format] // scale**2
