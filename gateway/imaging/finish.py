"""Result pictures in the size and format that the client asked for, and thumbnails of them."""

from PIL import Image, ImageOps

from gateway.domain.edit import MaskSource, OutputOptions, Size
from gateway.domain.errors import InvalidImage, ResultUnavailable
from gateway.imaging.cost import cost_of
from gateway.imaging.fit import WHITE
from gateway.imaging.formats import PNG, format_of
from gateway.imaging.inspect import inspect, pixels_of
from gateway.imaging.mask import composite, mask_cost
from gateway.imaging.opening import check_cost, decoder_errors, open_picture
from gateway.imaging.pixels import as_jpeg, as_png, as_webp, flatten, to_rgba

_BEST = 100  # OpenAI's default of output_compression (openai.md 2.1)


def is_finished(head: bytes, form: OutputOptions) -> bool:
    """
    Return whether DashScope's picture, by its first bytes, is what *form* asks for.

    Only a PNG is passed on byte for byte; everything else is encoded in the format that the
    response names.
    """
    if not form.passes_through or format_of(head) is not PNG:
        return False
    return form.scale_to is None or pixels_of(head) == form.scale_to


_COLOUR_TYPE = slice(25, 26)
_WITH_ALPHA = (b"\x04", b"\x06")
"""Colour types of a PNG with an alpha channel, and where the type stands (3rd edition, 11.2.1)."""


def has_alpha(head: bytes) -> bool:
    """Return whether DashScope's picture, by its first bytes, has an alpha channel."""
    return format_of(head) is PNG and head[_COLOUR_TYPE] in _WITH_ALPHA


def finishing_cost(content: bytes, kept: MaskSource | None) -> int:
    """
    Return the bytes of memory that finish_picture takes for *content*.

    Raises:
        ResultUnavailable: it, or the source of its mask, cannot be read.
    """
    with decoder_errors(ResultUnavailable, "The upstream's picture cannot be read."):
        inspected = inspect(content)
        beside = mask_cost(kept.mask, kept.original) if kept is not None else 0
        return cost_of(inspected, inspected.size) + beside


def finish_picture(content: bytes, form: OutputOptions, kept: MaskSource | None) -> bytes:
    """
    Return DashScope's picture as *form* says; the same object if nothing is to be done.

    It is decoded once, scaled (D58), composited with the original where *kept* has a mask
    (D59), and encoded, in sRGB. If the ratio differs, the picture is cropped, not distorted.

    Raises:
        ResultUnavailable: *content* cannot be read.
    """
    if is_finished(content, form):
        return content
    result = _scale(_decode(content), form.scale_to)
    if kept is not None:
        with decoder_errors(ResultUnavailable, "What the mask keeps cannot be read."):
            result = composite(kept.original, result, kept.mask)
    return _encode(result, form)


def _scale(picture: Image.Image, size: Size | None) -> Image.Image:
    if size is None or picture.size == (size.width, size.height):
        return picture
    return ImageOps.fit(picture, (size.width, size.height), Image.Resampling.LANCZOS)


def _encode(picture: Image.Image, form: OutputOptions) -> bytes:
    quality = _BEST if form.compression is None else form.compression
    match form.output_format:
        case "jpeg":
            return as_jpeg(flatten(picture, WHITE), quality)
        case "webp":
            return as_webp(picture, quality)
        case _:
            return as_png(picture)


def _decode(content: bytes) -> Image.Image:
    """Return the picture in sRGB, with its transparency if it has any."""
    with decoder_errors(ResultUnavailable, "The upstream's picture cannot be read."):
        inspected = inspect(content)
        with open_picture(content, inspected.format) as picture:
            picture.load()
            if inspected.has_alpha:
                return to_rgba(picture, inspected.profile)
            return flatten(picture, WHITE, inspected.profile)


SIDE = 56
"""Pixels; a row shows it at half size, for screens of high density."""
_QUALITY = 70


def thumbnail(content: bytes) -> bytes:
    """
    Return the middle of *content*, upright and square, as WEBP of one or two kilobytes.

    Raises:
        InvalidImage: it cannot be read.
    """
    format_ = format_of(content)
    if format_ is None:
        raise InvalidImage("it is of no known format")
    check_cost(content, format_.name)
    with open_picture(content, format_.name) as picture, decoder_errors():
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # lets a JPEG be decoded at an eighth
        upright = ImageOps.exif_transpose(picture)
        small = ImageOps.fit(flatten(upright, WHITE), (SIDE, SIDE))
        return as_webp(small, _QUALITY)
