"""OpenAI's masks, applied to the result (D59), and markups, drawn over the input."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFilter

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.cost import MEMORY, check_pixels, cost_of, scale_of
from gateway.imaging.fit import WHITE
from gateway.imaging.inspect import Inspected, inspect
from gateway.imaging.opening import check_cost, decoder_errors, open_picture
from gateway.imaging.pixels import alpha, as_jpeg, as_png, flatten, to_rgba, turn_upright

_OPAQUE = 255
_ERODE = ImageFilter.MinFilter(3)


def check_mask(mask: bytes, original: bytes) -> Size:
    """
    Check *mask* before anything is paid; it is decoded whole.

    It must be as large as *original* as a person sees it, have an alpha channel, and be
    fully transparent somewhere: otherwise nothing would be edited.

    Returns:
        The size of *original* as a person sees it.

    Raises:
        InvalidImage: with a whole sentence; ``param`` is ``mask``.
    """
    inspected = inspect(original)
    wanted = inspected.upright
    check_pixels(inspected)
    try:
        reason = _mask_fault(mask, wanted)
    except InvalidImage as exc:
        reason = exc.message
    if reason:
        message = f"Invalid mask, please check your image file: {reason}."
        raise InvalidImage(message, param="mask")
    return wanted


def _mask_fault(mask: bytes, wanted: Size) -> str:
    inspected = inspect(mask)
    check_pixels(inspected)
    if not inspected.has_alpha:
        return "it has no transparency (alpha channel)"
    if inspected.upright != wanted:
        return f"it is {inspected.upright}, but the image is {wanted}"
    if _editable_region(mask).getbbox() is None:
        return "it is nowhere fully transparent, so nothing would be edited"
    return ""


def composite(original: bytes, result: Image.Image, mask: bytes, feather: int = 3) -> Image.Image:
    """
    Return *result* where *mask* is fully transparent, and *original* everywhere else.

    *original* and *mask* are brought to the size of *result*; a pixel that is touched by
    anything of the mask but full transparency equals the original's, exactly, its
    transparency too. Inside, the result fades in over *feather* pixels; a stroke thinner
    than that is faint but edited.

    Returns:
        The picture in sRGB, as *result* has to be: RGBA if *original* has transparency,
        else RGB.

    Raises:
        InvalidImage: *original* or *mask* is damaged.
    """
    edited = flatten(result, WHITE)
    kept = decode_upright(original, Size(*edited.size))
    if kept.size != edited.size:
        kept = kept.resize(edited.size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    region = _fade(_resize_inside(_editable_region(mask), edited.size), feather)
    if kept.mode == "RGB":
        return Image.composite(edited, kept, region)
    return _mix(edited.convert("RGBA"), kept, region)


def _mix(edited: Image.Image, kept: Image.Image, region: Image.Image) -> Image.Image:
    """Composite with transparency: colours are weighted by their alpha."""
    mixed = Image.composite(edited.convert("RGBa"), kept.convert("RGBa"), region)
    touched = region.point([0] + [_OPAQUE] * _OPAQUE)
    return Image.composite(mixed.convert("RGBA"), kept, touched)


def mask_cost(mask: bytes, original: bytes) -> int:
    """
    Return the bytes that it takes to decode the two, one after the other.

    Raises:
        InvalidImage: the head of one is damaged; the reason alone.
    """
    return max(
        cost_of(inspected, inspected.size) for inspected in (inspect(mask), inspect(original))
    )


def has_clear_parts(content: bytes) -> bool:
    """
    Return whether a picture with transparency is fully transparent somewhere.

    Raises:
        InvalidImage: it is damaged, or costs too much to decode; the reason alone.
    """
    return _editable_region(content).getbbox() is not None


def _editable_region(mask: bytes) -> Image.Image:
    """Return 255 where *mask* is fully transparent, else 0."""
    with _decoded(mask) as (picture, inspected):
        clear = alpha(picture).point([_OPAQUE] + [0] * _OPAQUE)
    return turn_upright(clear, inspected.orientation)


def _resize_inside(region: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return *region* at *size*, without pixels that lie in it only in part."""
    if region.size == size:
        return region
    # Bilinear reads a little beyond each pixel: what is still opaque lies wholly inside.
    return region.resize(size, Image.Resampling.BILINEAR).point([0] * _OPAQUE + [_OPAQUE])


def _fade(region: Image.Image, feather: int) -> Image.Image:
    """Return *region* fading out over *feather* pixels at its inner border."""
    steps = max(0, feather) + 1
    faded = Image.new("L", region.size)
    for step in range(1, steps + 1):
        weight = _OPAQUE * step // steps
        faded.paste(weight, mask=region)
        region = region.filter(_ERODE)
    return faded


def decode_upright(content: bytes, wanted: Size) -> Image.Image:
    """
    Return the picture as a person sees it, in sRGB: RGBA if it has transparency.

    It may be smaller than it was, though not than *wanted*.
    """
    with _decoded(content, wanted) as (picture, inspected):
        if inspected.has_alpha:
            plain = to_rgba(picture, inspected.profile)
        else:
            plain = flatten(picture, WHITE, inspected.profile)
    return turn_upright(plain, inspected.orientation)


@contextmanager
def _decoded(content: bytes, wanted: Size | None = None) -> Iterator[tuple[Image.Image, Inspected]]:
    inspected = inspect(content)
    check_pixels(inspected)
    check_cost(content, inspected.format)
    scale = scale_of(inspected, inspected.size if wanted is None else inspected.as_stored(wanted))
    with open_picture(content, inspected.format) as picture, decoder_errors():
        picture.draft(None, (picture.width // scale, picture.height // scale))
        picture.load()
        yield picture, inspected


_QUALITY = 95


def lay_over_cost(original: bytes, markup: bytes) -> int:
    """
    Return the bytes of memory that decoding the two at once takes.

    A markup must be as large as *original* as a person sees it, and have an alpha channel.

    Raises:
        InvalidImage: with a whole sentence; ``param`` is ``image`` or ``markup``.
    """
    with _named("image"):
        below = inspect(original)
    with _named("markup"):
        above = inspect(markup)
        if not above.has_alpha:
            raise InvalidImage("it has no transparency (alpha channel)")
        if above.upright != below.upright:
            raise InvalidImage(f"it is {above.upright}, but the image is {below.upright}")
        cost = cost_of(above, above.size) + cost_of(below, below.size)
        if cost > MEMORY:
            raise InvalidImage("it and the image have too many pixels to be laid together")
    return cost


def lay_over(original: bytes, markup: bytes) -> bytes:
    """
    Return *original* upright in sRGB with *markup* drawn over it.

    Raises:
        InvalidImage: as lay_over_cost, which is called first; also for a markup that is opaque.
    """
    size = inspect(original).upright
    with _named("image"):
        below = decode_upright(original, size)
    with _named("markup"):
        above = decode_upright(markup, size)
        if alpha(above).getextrema()[0] == _OPAQUE:
            raise InvalidImage("it is nowhere transparent, so it would cover the image")
    if below.mode == "RGB":
        below.paste(above, mask=above.getchannel("A"))
        return as_jpeg(below, _QUALITY)
    return as_png(Image.alpha_composite(below, above))


@contextmanager
def _named(param: str) -> Iterator[None]:
    """Name the picture of the two that an InvalidImage is about."""
    try:
        yield
    except InvalidImage as exc:
        message = f"Invalid {param}, please check your image file: {exc.message}."
        raise InvalidImage(message, param=param) from exc
