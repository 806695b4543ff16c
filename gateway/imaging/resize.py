"""The way out: sizes that DashScope makes, and its pictures as the customer asked for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Literal

from PIL import Image, ImageOps

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidRequest, ResultUnavailable
from gateway.imaging.encoding import as_jpeg, as_png, as_webp, profile_for
from gateway.imaging.fit import WHITE
from gateway.imaging.formats import format_of
from gateway.imaging.opening import opened, reading
from gateway.imaging.pixels import flattened

FEWEST_PIXELS, MOST_PIXELS = 768 * 768, 1280 * 1280  # dashscope.md 1.3: parameters.size
WIDEST = 4
"""Width to height, and height to width."""
_NEARBY = 12
"""Heights tried above and below the computed one: enough to meet 16:9 exactly."""


def is_legal(size: Size) -> bool:
    """Tell whether DashScope makes pictures of *size*."""
    return FEWEST_PIXELS <= size.width * size.height <= MOST_PIXELS and _ratio_is_legal(size)


def nearest_legal(size: Size) -> Size:
    """
    Return the size to ask DashScope for, to be scaled to *size* afterwards.

    A legal size is itself. Else it has the ratio of *size* as nearly as whole pixels
    allow, and the fewest pixels or the most, whichever is nearer.

    Raises:
        InvalidRequest: the ratio is beyond 1:4 to 4:1; ``param`` is ``size``.
    """
    if min(size.width, size.height) < 1 or not _ratio_is_legal(size):
        raise InvalidRequest(
            f"Size {size} cannot be made: width to height must be from 1:{WIDEST} to {WIDEST}:1.",
            param="size",
        )
    if is_legal(size):
        return size
    ratio = size.width / size.height
    pixels = min(MOST_PIXELS, max(FEWEST_PIXELS, size.width * size.height))
    middle = round(sqrt(pixels / ratio))
    around = range(middle - _NEARBY, middle + _NEARBY + 1)
    candidates = (Size(round(height * ratio), height) for height in around)
    return min(
        filter(is_legal, candidates),
        key=lambda near: (
            round(abs(near.width / near.height / ratio - 1), 6),
            abs(near.width * near.height - pixels),
        ),
    )


def scale_to(content: bytes, size: Size) -> bytes:
    """
    Return DashScope's picture as PNG of exactly *size*; the same object if it is that already.

    Nothing is distorted: where the ratio differs, the middle is kept.

    Raises:
        ResultUnavailable: *content* cannot be read.
    """
    with _read(content) as picture:
        if picture.size == (size.width, size.height):
            return content
        scaled = ImageOps.fit(picture, (size.width, size.height), Image.Resampling.LANCZOS)
        return as_png(scaled, profile_for(picture))


def encode(content: bytes, output_format: Literal["jpeg", "webp"], quality: int) -> bytes:
    """
    Return DashScope's picture in another format; *quality* is ``output_compression``, 0 to 100.

    Raises:
        ResultUnavailable: *content* cannot be read.
    """
    with _read(content) as picture:
        profile = profile_for(picture)
        if output_format == "webp":
            return as_webp(picture, quality, profile)
        return as_jpeg(flattened(picture, WHITE), quality, profile)


@contextmanager
def _read(content: bytes) -> Iterator[Image.Image]:
    with reading(ResultUnavailable, "The upstream's picture cannot be read."):
        known = format_of(content)
        if known is None:
            raise ResultUnavailable("The upstream's picture is of no known format.")
        with opened(content, known.name) as picture:
            picture.load()
            yield picture


def _ratio_is_legal(size: Size) -> bool:
    return size.width <= WIDEST * size.height and size.height <= WIDEST * size.width
