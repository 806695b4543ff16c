"""DashScope's rule for the size of the pictures it makes (dashscope.md 1.3)."""

import itertools
import math

from gateway.domain.edit import Size

LEAST_PIXELS = 768 * 768
MOST_PIXELS = 1280 * 1280
MOST_RATIO = 4  # of the longer side to the shorter

RULE = (
    f"width x height must be {LEAST_PIXELS} to {MOST_PIXELS} pixels,"
    f" and the ratio of the sides 1:{MOST_RATIO} to {MOST_RATIO}:1"
)


def is_legal(size: Size) -> bool:
    """Return whether DashScope makes pictures of *size*."""
    shorter, longer = sorted((size.width, size.height))
    return LEAST_PIXELS <= shorter * longer <= MOST_PIXELS and longer <= MOST_RATIO * shorter


def nearest_legal(size: Size) -> Size:
    """Return the legal size that comes closest: first the same ratio, then as many pixels."""
    ratio = min(max(size.width / size.height, 1 / MOST_RATIO), MOST_RATIO)
    pixels = min(max(size.width * size.height, LEAST_PIXELS), MOST_PIXELS)
    width, height = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
    around = itertools.product(_whole_around(width), _whole_around(height))
    legal = (near for w, h in around if is_legal(near := Size(w, h)))
    return min(legal, key=lambda near: abs(near.width - width) + abs(near.height - height))


def _whole_around(side: float) -> tuple[int, ...]:
    # A root is not exact: 768 may come out a hair above or below.
    return (math.floor(side), math.ceil(side), round(side) - 1, round(side) + 1)
