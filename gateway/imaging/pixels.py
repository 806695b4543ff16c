"""Pixels: made upright, flat and RGB of 8 bits, and encoded."""

from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageChops

from gateway.domain.errors import InvalidImage
from gateway.imaging import colour

Colour = tuple[int, int, int]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BITS = frozenset({"I", "I;16", "I;16L", "I;16B"})
_STRIP = 256
"""Rows."""


def turn_upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Return *picture* upright; *orientation* is Exif's, 1 to 8."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def flatten(picture: Image.Image, background: Colour, profile: bytes = b"") -> Image.Image:
    """
    Return *picture* as RGB in sRGB, its transparent parts showing *background*.

    *profile* is the ICC profile of its colours; empty where they are sRGB's.

    Raises:
        InvalidImage: its numbers are floats, whose white is not defined.
    """
    plain = picture.mode == "RGB" and not picture.has_transparency_data
    if plain and not colour.differs(profile, "RGB"):
        return picture

    def flat(strip: Image.Image) -> Image.Image:
        rgb = colour.to_srgb(_eight_bits(strip), profile)
        if not strip.has_transparency_data:
            return rgb
        canvas = Image.new("RGB", strip.size, background)
        canvas.paste(rgb, mask=_alpha(strip))
        return canvas

    return _by_strips(picture, "RGB", flat)


def to_rgba(picture: Image.Image, profile: bytes = b"") -> Image.Image:
    """Return *picture* as RGBA in sRGB, as transparent as it is."""

    def clear(strip: Image.Image) -> Image.Image:
        rgb = colour.to_srgb(_eight_bits(strip), profile)
        return Image.merge("RGBA", (*rgb.split(), _alpha(strip)))

    return _by_strips(picture, "RGBA", clear)


def alpha(picture: Image.Image) -> Image.Image:
    """Return how opaque each pixel of *picture* is, as a gray picture."""
    return _by_strips(picture, "L", _alpha)


def _by_strips(
    picture: Image.Image, mode: str, made_of: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Return what is made of *picture* strip by strip, so that no step needs a copy of it all."""
    picture.load()
    whole = Image.new(mode, picture.size)
    for top in range(0, picture.height, _STRIP):
        bottom = min(picture.height, top + _STRIP)
        whole.paste(made_of(picture.crop((0, top, picture.width, bottom))), (0, top))
    return whole


def _alpha(picture: Image.Image) -> Image.Image:
    clear = picture.info.get("transparency")
    if picture.mode in _SIXTEEN_BITS and clear is not None:
        return _alpha_of_sixteen_bits(picture.convert("I"), clear)
    return picture.convert("RGBA").getchannel("A")


def _alpha_of_sixteen_bits(gray: Image.Image, clear: int) -> Image.Image:
    """Return 0 where *gray* has the one value that is transparent: Pillow overlooks it."""
    above = gray.point(lambda value: value * 1 - clear).convert("L")
    below = gray.point(lambda value: value * -1 + clear).convert("L")
    return ImageChops.lighter(above, below).point([0] + [255] * 255)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return *picture* in 8 bits and without transparency, its colours as they are."""
    if picture.mode in _SIXTEEN_BITS:
        # Pillow would clip values at 255, which makes nearly everything white.
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.mode == "F":
        raise InvalidImage("its pixels are floating-point numbers; send 8 or 16 bits")
    if picture.mode == "LA":
        return picture.convert("L")
    return picture.convert("RGB") if picture.has_transparency_data else picture


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
