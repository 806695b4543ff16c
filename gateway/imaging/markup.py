"""OpenAI's markup: a drawing that guides the edit, laid over the first picture."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.imaging.cost import MEMORY, cost_of
from gateway.imaging.encoding import as_jpeg, as_png
from gateway.imaging.inspect import inspect
from gateway.imaging.mask import decoded_upright
from gateway.imaging.pixels import alpha

_QUALITY = 95
_OPAQUE = 255


def laying_cost(original: bytes, markup: bytes) -> int:
    """
    Return the bytes that it takes to decode the two side by side.

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


def laid_over(original: bytes, markup: bytes) -> bytes:
    """
    Return *original* upright in sRGB with *markup* drawn over it.

    Raises:
        InvalidImage: as laying_cost, which is asked before; and for a markup that is opaque.
    """
    size = inspect(original).upright
    with _named("image"):
        below = decoded_upright(original, size)
    with _named("markup"):
        above = decoded_upright(markup, size)
        if alpha(above).getextrema()[0] == _OPAQUE:
            raise InvalidImage("it is nowhere transparent, so it would cover the image")
    if below.mode == "RGB":
        below.paste(above, mask=above.getchannel("A"))
        return as_jpeg(below, _QUALITY)
    return as_png(Image.alpha_composite(below, above))


@contextmanager
def _named(param: str) -> Iterator[None]:
    """Say of which of the two it is that something is wrong."""
    try:
        yield
    except InvalidImage as exc:
        message = f"Invalid {param}, please check your image file: {exc.message}."
        raise InvalidImage(message, param=param) from exc
