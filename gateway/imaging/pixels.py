"""Pixels made plain: RGB of 8 bits, upright, without transparency."""

from io import BytesIO

from PIL import Image, ImageCms

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


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """Return *picture* upright; *orientation* is Exif's, 1 to 8."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def flattened(picture: Image.Image, background: Colour) -> Image.Image:
    """Return *picture* as RGB, its transparent parts showing *background*."""
    if not picture.has_transparency_data:
        return _rgb(picture)
    clear = picture.convert("RGBA")
    canvas = Image.new("RGB", clear.size, background)
    canvas.paste(clear, mask=clear.getchannel("A"))
    return canvas


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in _SIXTEEN_BITS:
        # Pillow would cut values off at 255, and make nearly everything white.
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("RGB")
    if picture.mode == "CMYK" and (profile := picture.info.get("icc_profile")):
        return _printed(picture, profile)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _printed(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return the colours that the printer's profile means; without it they glare."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        screen = ImageCms.createProfile("sRGB")
        seen = ImageCms.profileToProfile(picture, source, screen, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return picture.convert("RGB")
    return seen or picture.convert("RGB")
