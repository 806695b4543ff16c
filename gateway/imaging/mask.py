"""OpenAI's mask, which DashScope does not know: the original is kept wherever it says so."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFilter

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.encoding import profile_for
from gateway.imaging.fit import WHITE
from gateway.imaging.inspect import inspect
from gateway.imaging.opening import check_cost, opened, reading
from gateway.imaging.pixels import flattened, turned

_OPAQUE = 255
_ERODE = ImageFilter.MinFilter(3)


def check_mask(mask: bytes, original: bytes) -> Size:
    """
    Find what is wrong with *mask* before anything is paid: it is decoded wholly.

    It must be as large as *original* as a person sees it, have an alpha channel, and be
    fully transparent somewhere: else nothing could come of the edit.

    Returns:
        The size of *original* as a person sees it.

    Raises:
        InvalidImage: with a whole sentence; ``param`` is ``mask``.
    """
    wanted = inspect(original).upright
    try:
        reason = _reason_against(mask, wanted)
    except InvalidImage as exc:
        reason = exc.message
    if reason:
        message = f"Invalid mask, please check your image file: {reason}."
        raise InvalidImage(message, param="mask")
    return wanted


def _reason_against(mask: bytes, wanted: Size) -> str:
    seen = inspect(mask)
    if not seen.has_alpha:
        return "it has no transparency (alpha channel)"
    if seen.upright != wanted:
        return f"it is {seen.upright}, but the image is {wanted}"
    if _editable(mask).getbbox() is None:
        return "it is nowhere fully transparent, so nothing would be edited"
    return ""


def composite(
    original: bytes, result: Image.Image, mask: bytes, feather: int = 3
) -> tuple[Image.Image, bytes | None]:
    """
    Return *result* where *mask* is fully transparent, and *original* everywhere else.

    *original* and *mask* are brought to the size of *result*; a pixel that is touched by
    anything of the mask but full transparency equals the original's, exactly. Inside, the
    result fades in over *feather* pixels; a stroke thinner than that is faint but edited.

    Returns:
        The picture, which is RGB, and the ICC profile of *original*.

    Raises:
        InvalidImage: *original* or *mask* is damaged.
    """
    edited = flattened(result, WHITE)
    kept, profile = _upright_rgb(original)
    if kept.size != edited.size:
        kept = kept.resize(edited.size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    region = _wholly_inside(_editable(mask), edited.size)
    return Image.composite(edited, kept, _faded(region, feather)), profile


def _editable(mask: bytes) -> Image.Image:
    """Return 255 where *mask* is fully transparent, else 0."""
    with _decoded(mask) as (picture, orientation):
        alpha = picture.convert("RGBA").getchannel("A")
        return turned(alpha, orientation).point([_OPAQUE] + [0] * _OPAQUE)


def _wholly_inside(region: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return *region* at *size*, without pixels that lie in it only in part."""
    if region.size == size:
        return region
    # Bilinear looks at a little more than a pixel covers: what is still full is inside.
    return region.resize(size, Image.Resampling.BILINEAR).point([0] * _OPAQUE + [_OPAQUE])


def _faded(region: Image.Image, feather: int) -> Image.Image:
    """Return *region* with a border of *feather* pixels, inside it, that gets ever fainter."""
    steps = max(0, feather) + 1
    faded = Image.new("L", region.size)
    for step in range(1, steps + 1):
        weight = _OPAQUE * step // steps
        faded.paste(weight, mask=region)
        region = region.filter(_ERODE)
    return faded


def _upright_rgb(content: bytes) -> tuple[Image.Image, bytes | None]:
    with _decoded(content) as (picture, orientation):
        return turned(flattened(picture, WHITE), orientation), profile_for(picture)


@contextmanager
def _decoded(content: bytes) -> Iterator[tuple[Image.Image, int]]:
    seen = inspect(content)
    check_cost(content, seen.format)
    with opened(content, seen.format) as picture, reading():
        picture.load()
        yield picture, seen.orientation
