"""Base64 in slices, so that the whole of a big picture is never held twice."""

from collections.abc import Iterator

import pybase64

SLICE = 192 * 1024  # a multiple of 3: each slice encodes without padding, to 256 KiB


def encoded_length(length: int) -> int:
    """Return how many characters *length* bytes become."""
    return (length + 2) // 3 * 4


def encoded(content: bytes | memoryview) -> Iterator[bytes]:
    """Yield *content* in base64, at most 256 KiB at a time; joined they are the whole."""
    view = memoryview(content)
    for start in range(0, len(view), SLICE):
        yield pybase64.b64encode(view[start : start + SLICE])
