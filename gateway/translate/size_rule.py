"""DashScope's rule for the size of the pictures it makes, and the sizes that we make of them."""

from math import log, sqrt

from gateway.domain.edit import Size
from gateway.domain.models import Sizes

_LONGEST_SIDE = 3840
_MOST_PIXELS = 3840 * 2160
"""Of the largest pictures of OpenAI's models, 3840x2160 and 2880x2880 (openai.md 2.1)."""


_NEARBY = 12
"""Heights tried above and below the computed one: enough to meet 16:9 exactly."""
_NEARBY_STEPS = 4
"""The same where a model goes by larger steps."""


def describe_rule(sizes: Sizes) -> str:
    """Return the rule for what DashScope makes, in words."""
    if not sizes.settable:
        return "this model chooses the size itself; leave 'size' out"
    if sizes.choices:
        return f"it must be one of {', '.join(map(str, sizes.choices))}"
    text = (
        f"width x height must be {sizes.least_pixels} to {sizes.most_pixels} pixels,"
        f" and the ratio of the sides 1:{sizes.most_ratio} to {sizes.most_ratio}:1"
    )
    if sizes.step > 1:
        text += f", both sides multiples of {sizes.step}"
    if sizes.shortest_side > 1:
        text += f", no side under {sizes.shortest_side} or over {sizes.longest_side}"
    return text


def describe_scaled_rule(sizes: Sizes) -> str:
    """Return the rule for what is made by scaling, in words."""
    return (
        f"the ratio of the sides must be 1:{sizes.most_ratio} to {sizes.most_ratio}:1,"
        f" no side over {_LONGEST_SIDE}, and width x height {_MOST_PIXELS} pixels at most"
    )


def is_legal(size: Size, sizes: Sizes) -> bool:
    """Return whether DashScope makes pictures of *size* if it is asked to."""
    return sizes.settable and _fits(size, sizes)


def _fits(size: Size, sizes: Sizes) -> bool:
    if sizes.choices:
        return size in sizes.choices
    shorter, longer = sorted((size.width, size.height))
    return (
        sizes.least_pixels <= shorter * longer <= sizes.most_pixels
        and sizes.shortest_side <= shorter
        and longer <= sizes.longest_side
        and size.width % sizes.step == size.height % sizes.step == 0
        and ratio_is_legal(size, sizes)
    )


def ratio_is_legal(size: Size, sizes: Sizes) -> bool:
    shorter, longer = sorted((size.width, size.height))
    return longer <= sizes.most_ratio * shorter


def is_scalable(size: Size, sizes: Sizes) -> bool:
    """Return whether a picture of *size* is made by scaling one that DashScope makes."""
    return (
        max(size.width, size.height) <= _LONGEST_SIDE
        and size.width * size.height <= _MOST_PIXELS
        and ratio_is_legal(size, sizes)
    )


def size_to_ask(requested: Size, sizes: Sizes) -> Size | None:
    """Return the size that a submit names for *requested*; None: the model takes none."""
    return nearest_legal(requested, sizes) if sizes.settable else None


def unasked_size(shape: Size | None, sizes: Sizes) -> Size | None:
    """
    Return the size to name where the client named none, so that no dearer one is made.

    Args:
        shape: The picture whose shape the result is to have; ``None``: a square.
        sizes: What the model makes.

    Returns:
        About as large as ``unasked_pixels`` allows; ``None``: the model may choose.
    """
    if not sizes.unasked_pixels:
        return None
    ratio = 1.0 if shape is None else shape.width / shape.height
    height = sqrt(sizes.unasked_pixels / ratio)
    largest = Size(round(height * ratio) + sizes.step, round(height) + sizes.step)
    return nearest_legal(largest, sizes.if_unasked)


def nearest_legal(size: Size, sizes: Sizes) -> Size:
    """
    Return the size within the rules that comes closest (D58); one of them is itself.

    First the same ratio, as nearly as whole pixels allow, or the utmost one; then the fewest
    pixels or the most, whichever is nearer.
    """
    if _fits(size, sizes):
        return size
    if sizes.choices:
        return min(sizes.choices, key=lambda it: (_distance(it, size), -it.width))
    ratio = min(max(size.width / size.height, 1 / sizes.most_ratio), sizes.most_ratio)
    least, most = _pixels_of(max(ratio, 1 / ratio), sizes)
    pixels = min(max(size.width * size.height, least), most)
    step = sizes.step
    middle = round(sqrt(pixels / ratio) / step)
    nearby = _NEARBY if step == 1 else _NEARBY_STEPS
    heights = range(middle - nearby, middle + nearby + 1)
    candidates = (Size(round(high * ratio) * step, high * step) for high in heights)
    return min(
        (near for near in candidates if _fits(near, sizes)),
        key=lambda near: (
            round(abs(near.width / near.height / ratio - 1), 6),
            abs(near.width * near.height - pixels),
        ),
    )


def _distance(one: Size, other: Size) -> float:
    """Return how far the shapes of two sizes are apart."""
    return abs(log(one.width * other.height / (one.height * other.width)))


def _pixels_of(ratio: float, sizes: Sizes) -> tuple[float, float]:
    """Return how many pixels a picture of *ratio*, longer to shorter, has at least and at most."""
    least = max(sizes.least_pixels, sizes.shortest_side**2 * ratio)
    return least, min(sizes.most_pixels, sizes.longest_side**2 / ratio)
