"""DashScope's rule for the size of the pictures it makes, and the sizes that we make of them."""

from math import sqrt

from gateway.domain.edit import Size

LEAST_PIXELS = 768 * 768  # dashscope.md 1.3: parameters.size
MOST_PIXELS = 1280 * 1280
MOST_RATIO = 4  # of the longer side to the shorter
LONGEST, SHORTEST = 3840, 2160
"""The sides of the largest picture that OpenAI's models make, and so do we."""

RULE = (
    f"width x height must be {LEAST_PIXELS} to {MOST_PIXELS} pixels,"
    f" and the ratio of the sides 1:{MOST_RATIO} to {MOST_RATIO}:1"
)
SCALED_RULE = (
    f"the ratio of the sides must be 1:{MOST_RATIO} to {MOST_RATIO}:1,"
    f" and the picture {LONGEST}x{SHORTEST} or {SHORTEST}x{LONGEST} at most"
)

_NEARBY = 12
"""Heights tried above and below the computed one: enough to meet 16:9 exactly."""


def is_legal(size: Size) -> bool:
    """Return whether DashScope makes pictures of *size*."""
    return LEAST_PIXELS <= size.width * size.height <= MOST_PIXELS and ratio_is_legal(size)


def ratio_is_legal(size: Size) -> bool:
    shorter, longer = sorted((size.width, size.height))
    return longer <= MOST_RATIO * shorter


def is_scalable(size: Size) -> bool:
    """Return whether a picture of *size* is made by scaling one that DashScope makes."""
    shorter, longer = sorted((size.width, size.height))
    return longer <= LONGEST and shorter <= SHORTEST and ratio_is_legal(size)


def nearest_legal(size: Size) -> Size:
    """
    Return the legal size that comes closest; a legal size is itself.

    First the same ratio, as nearly as whole pixels allow, or the utmost one; then the fewest
    pixels or the most, whichever is nearer.
    """
    if is_legal(size):
        return size
    ratio = min(max(size.width / size.height, 1 / MOST_RATIO), MOST_RATIO)
    pixels = min(max(size.width * size.height, LEAST_PIXELS), MOST_PIXELS)
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
