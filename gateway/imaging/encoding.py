"""Encodes a result in the format and quality that the client asked for."""

from io import BytesIO

from PIL import Image

_FULL_COLOUR = 95
"""From this quality on colours keep their resolution (4:4:4)."""


def profile_for(source: Image.Image) -> bytes | None:
    """Return the ICC profile that stays true once *source* has become RGB."""
    if source.mode not in {"RGB", "RGBA", "P"}:
        return None
    profile = source.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def as_jpeg(picture: Image.Image, quality: int, profile: bytes | None, exif: bytes = b"") -> bytes:
    """Return *picture*, which is RGB, as a baseline JPEG; *quality* is 0 to 100."""
    into = BytesIO()
    subsampling = "4:4:4" if quality >= _FULL_COLOUR else "4:2:0"
    beside = {"icc_profile": profile, "exif": exif}
    picture.save(into, "JPEG", quality=quality, subsampling=subsampling, **beside)
    return into.getvalue()


def as_webp(picture: Image.Image, quality: int, profile: bytes | None) -> bytes:
    """Return *picture* as a lossy WEBP; *quality* is 0 to 100."""
    into = BytesIO()
    picture.save(into, "WEBP", quality=quality, icc_profile=profile or b"")
    return into.getvalue()


def as_png(picture: Image.Image, profile: bytes | None) -> bytes:
    """Return *picture* as PNG, packed fast rather than tight."""
    into = BytesIO()
    picture.save(into, "PNG", compress_level=1, icc_profile=profile)
    return into.getvalue()
