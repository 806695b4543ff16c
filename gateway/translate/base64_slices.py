"""Base64 in slices, so that the whole of a big picture is never held twice."""

from collections.abc import Iterator

import pybase64

SLICE = 192 * 1024  # a multiple of 3: each slice encodes without padding, to 256 KiB


def encoded_length(length: int) -> int:
    """Return how many characters *length* bytes become."""
    return (length + 2) // 3 * 4


class Encoder:
    """Base64 of bytes that come in pieces of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what *chunk* adds; up to two of its bytes wait for the next."""
        if self._rest:
            chunk = self._rest + chunk
        whole = len(chunk) - len(chunk) % 3
        self._rest = chunk[whole:]
        return pybase64.b64encode(memoryview(chunk)[:whole])

    def end(self) -> bytes:
        """Return the end, with its padding."""
        return pybase64.b64encode(self._rest)


def encoded(content: bytes | memoryview) -> Iterator[bytes]:
    """Yield *content* in base64, at most 256 KiB at a time; joined they are the whole."""
    view = memoryview(content)
    for start in range(0, len(view), SLICE):
        yield pybase64.b64encode(view[start : start + SLICE])
