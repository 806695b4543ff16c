"""Colour profiles: which colours a picture's numbers mean, and the same in sRGB (D100)."""

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

_MOST_BYTES = 8 * 1024 * 1024
"""A profile of a printing press has two or three million."""
_UNSEEN = 3
"""Of 255: sRGB is rounded so, or more, by those who write profiles of it."""
_STEPS = range(0, 256, 15)
_GRAY_MODES = frozenset({"1", "L", "LA"})


def differs(profile: bytes, mode: str) -> bool:
    """Return whether *profile* gives a picture of *mode* other colours than sRGB's."""
    return mode == "CMYK" or _transform_to_srgb(profile, mode) is not None


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """
    Return *picture*, which has no transparency, as RGB with its colours in sRGB.

    A *profile* that is broken, or meant for another kind of picture, says nothing.
    """
    transform = _transform_to_srgb(profile, picture.mode)
    if transform is None:
        return _rgb(picture)
    picture = (
        picture if picture.mode == transform.input_mode else picture.convert(transform.input_mode)
    )
    return ImageCms.applyTransform(picture, transform) or picture


def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings a picture of *mode* to sRGB; ``None`` if it means sRGB as it is."""
    if not profile:
        return None
    kind = profile[16:20]
    if kind == b"GRAY":
        return _transform(profile, "L") if mode in _GRAY_MODES else None
    if kind == b"CMYK":
        return _transform(profile, "CMYK") if mode == "CMYK" else None
    if mode == "CMYK":
        return None
    return _transform(profile, "RGB")


def _rgb(picture: Image.Image) -> Image.Image:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings pictures of *mode* to sRGB; ``None`` if nothing would change."""
    if len(profile) > _MOST_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        changes = mode == "CMYK" or _changes(transform, mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return transform if changes else None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether *transform* changes colours so that somebody may see it."""
    sample = _ramp() if mode == "L" else _cube()
    inspected = ImageCms.applyTransform(sample, transform) or sample
    bands = ImageChops.difference(_rgb(sample), inspected).split()
    return any(sum(band.histogram()[_UNSEEN + 1 :]) for band in bands)


def _ramp() -> Image.Image:
    return Image.frombytes("L", (256, 1), bytes(range(256)))


def _cube() -> Image.Image:
    colours = bytes(part for r in _STEPS for g in _STEPS for b in _STEPS for part in (r, g, b))
    return Image.frombytes("RGB", (len(_STEPS) ** 3, 1), colours)
