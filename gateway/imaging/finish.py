"""The way out: DashScope's pictures in the size and format that the client asked for."""

from PIL import Image, ImageOps

from gateway.domain.edit import MaskSource, OutputOptions, Size
from gateway.domain.errors import InvalidImage, ResultUnavailable
from gateway.imaging.cost import cost_of
from gateway.imaging.fit import WHITE
from gateway.imaging.formats import PNG, format_of
from gateway.imaging.inspect import inspect, pixels_of
from gateway.imaging.mask import composite, masked_cost
from gateway.imaging.opening import check_cost, opened, reading
from gateway.imaging.pixels import as_jpeg, as_png, as_webp, flattened, with_alpha

_BEST = 100  # OpenAI's default of output_compression (openai.md 2.1)


def is_finished(head: bytes, form: OutputOptions) -> bool:
    """
    Tell by the first bytes of DashScope's picture whether it is what *form* asks for.

    Only a PNG passes byte for byte: whatever else comes is encoded as the answer says.
    """
    if not form.passes_through or format_of(head) is not PNG:
        return False
    return form.scale_to is None or pixels_of(head) == form.scale_to


def finishing_cost(content: bytes, kept: MaskSource | None) -> int:
    """
    Return the bytes that it takes to finish *content*.

    Raises:
        ResultUnavailable: it, or what is kept for it, cannot be read.
    """
    with reading(ResultUnavailable, "The upstream's picture cannot be read."):
        seen = inspect(content)
        beside = masked_cost(kept.mask, kept.original) if kept is not None else 0
        return cost_of(seen, seen.size) + beside


def finished(content: bytes, form: OutputOptions, kept: MaskSource | None) -> bytes:
    """
    Return DashScope's picture as *form* says; the same object if it is that already.

    It is scaled, then laid into the original where *kept* has a mask, then encoded: all on
    one decoding, in sRGB. Nothing is distorted: where the ratio differs, the middle is kept.

    Raises:
        ResultUnavailable: *content* cannot be read.
    """
    if is_finished(content, form):
        return content
    made = _scaled(_read(content), form.scale_to)
    if kept is not None:
        with reading(ResultUnavailable, "What the mask keeps cannot be read."):
            made = composite(kept.original, made, kept.mask)
    return _encoded(made, form)


def _scaled(picture: Image.Image, size: Size | None) -> Image.Image:
    if size is None or picture.size == (size.width, size.height):
        return picture
    return ImageOps.fit(picture, (size.width, size.height), Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image, form: OutputOptions) -> bytes:
    quality = _BEST if form.compression is None else form.compression
    match form.output_format:
        case "jpeg":
            return as_jpeg(flattened(picture, WHITE), quality)
        case "webp":
            return as_webp(picture, quality)
        case _:
            return as_png(picture)


def _read(content: bytes) -> Image.Image:
    """Return the picture in sRGB, with its transparency if it has any."""
    with reading(ResultUnavailable, "The upstream's picture cannot be read."):
        seen = inspect(content)
        with opened(content, seen.format) as picture:
            picture.load()
            if seen.has_alpha:
                return with_alpha(picture, seen.profile)
            return flattened(picture, WHITE, seen.profile)


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
