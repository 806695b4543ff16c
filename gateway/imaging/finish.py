"""The way out: DashScope's pictures in the size and format that the customer asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageOps

from gateway.domain.edit import AnswerForm, Keepsake, Size
from gateway.domain.errors import ResultUnavailable
from gateway.imaging.encoding import as_jpeg, as_png, as_webp, profile_for
from gateway.imaging.fit import WHITE
from gateway.imaging.formats import format_of
from gateway.imaging.mask import composite
from gateway.imaging.opening import opened, reading
from gateway.imaging.pixels import flattened

_BEST = 100  # OpenAI's default of output_compression (openai.md 2.1)


def finished(content: bytes, form: AnswerForm, kept: Keepsake | None) -> bytes:
    """
    Return DashScope's picture as *form* says; the same object if it is that already.

    It is scaled, then laid into the original where *kept* has a mask, then encoded: all on
    one decoding. Nothing is distorted: where the ratio differs, the middle is kept.

    Raises:
        ResultUnavailable: *content* cannot be read.
    """
    with _read(content) as picture:
        made, profile = _scaled(picture, form.scale_to), profile_for(picture)
        if kept is not None:
            made, profile_of_original = composite(kept.original, made, kept.mask)
            profile = profile or profile_of_original
        if made is picture and form.output_format == "png":
            return content
        return _encoded(made, form, profile)


def _scaled(picture: Image.Image, size: Size | None) -> Image.Image:
    if size is None or picture.size == (size.width, size.height):
        return picture
    return ImageOps.fit(picture, (size.width, size.height), Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image, form: AnswerForm, profile: bytes | None) -> bytes:
    quality = _BEST if form.compression is None else form.compression
    match form.output_format:
        case "jpeg":
            return as_jpeg(flattened(picture, WHITE), quality, profile)
        case "webp":
            return as_webp(picture, quality, profile)
        case _:
            return as_png(picture, profile)


@contextmanager
def _read(content: bytes) -> Iterator[Image.Image]:
    with reading(ResultUnavailable, "The upstream's picture cannot be read."):
        known = format_of(content)
        if known is None:
            raise ResultUnavailable("The upstream's picture is of no known format.")
        with opened(content, known.name) as picture:
            picture.load()
            yield picture
