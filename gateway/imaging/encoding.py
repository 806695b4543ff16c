"""Encodes a picture, which is in sRGB and says nothing of its colours, in a format and quality."""

from io import BytesIO

from PIL import Image

_FULL_COLOUR = 95
"""From this quality on colours keep their resolution (4:4:4)."""


def as_jpeg(picture: Image.Image, quality: int, exif: bytes = b"") -> bytes:
    """Return *picture*, which is RGB, as a baseline JPEG; *quality* is 0 to 100."""
    into = BytesIO()
    subsampling = "4:4:4" if quality >= _FULL_COLOUR else "4:2:0"
    # Pillow would write the profile that the picture came with.
    picture.save(
        into, "JPEG", quality=quality, subsampling=subsampling, exif=exif, icc_profile=None
    )
    return into.getvalue()


def as_webp(picture: Image.Image, quality: int) -> bytes:
    """Return *picture* as a lossy WEBP; *quality* is 0 to 100."""
    into = BytesIO()
    picture.save(into, "WEBP", quality=quality, icc_profile=b"")
    return into.getvalue()


def as_png(picture: Image.Image) -> bytes:
    """Return *picture* as PNG, packed fast rather than tight."""
    into = BytesIO()
    picture.save(into, "PNG", compress_level=1, icc_profile=None)
    return into.getvalue()
