"""WEBP without decoding: its canvas, its chunks, and the file without metadata."""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.metadata import Metadata

_HEAD_BYTES = 12
"""``RIFF``, length, ``WEBP``."""
_MOST_CHUNKS = 10_000
_NEEDED = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_EXIF_AND_XMP = 0x0C
"""Their flags in the first byte of VP8X."""


class _RiffChunk(NamedTuple):
    name: bytes
    start: int
    end: int


def canvas(content: bytes) -> Size | None:
    """
    Return the size by the first chunk that has it; ``None`` if none has.

    Asked before Pillow, which makes room for the whole canvas on opening.
    """
    for chunk in _chunks(content):
        data = content[chunk.start + 8 : chunk.start + 18]
        if (size := _canvas_of(chunk.name, data)) is not None:
            return size
    return None


def _canvas_of(name: bytes, data: bytes) -> Size | None:
    little = int.from_bytes
    if name == b"VP8X":
        return Size(little(data[4:7], "little") + 1, little(data[7:10], "little") + 1)
    if name == b"VP8 ":
        return Size(little(data[6:8], "little") & 0x3FFF, little(data[8:10], "little") & 0x3FFF)
    if name == b"VP8L":
        bits = little(data[1:5], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None


def metadata(content: bytes) -> Metadata:
    """
    Read the chunks.

    Raises:
        InvalidImage: there are absurdly many.
    """
    exif = b""
    present = False
    for chunk in _chunks(content):
        present = present or chunk.name not in _NEEDED
        if chunk.name == b"EXIF":
            exif = content[chunk.start + 8 : chunk.end]
    return Metadata(exif, present, rest=len(content) - _end(content))


def _end(content: bytes) -> int:
    """Return where the picture ends by what its head says, at most at the file's end."""
    length = 8 + int.from_bytes(content[4:8], "little")
    return min(len(content), length + length % 2)


def strip_metadata(content: bytes) -> bytes:
    """Return the same picture without Exif, XMP and private chunks."""
    kept = [
        _without_flags(content[chunk.start : chunk.end])
        for chunk in _chunks(content)
        if chunk.name in _NEEDED
    ]
    length = 4 + sum(map(len, kept))
    return b"".join((b"RIFF", length.to_bytes(4, "little"), b"WEBP", *kept))


def _without_flags(chunk: bytes) -> bytes:
    if not chunk.startswith(b"VP8X"):
        return chunk
    return chunk[:8] + bytes((chunk[8] & ~_EXIF_AND_XMP,)) + chunk[9:]


def _chunks(content: bytes) -> Iterator[_RiffChunk]:
    """Yield the chunks, each with its padding; a broken file just ends early."""
    at = _HEAD_BYTES
    whole = _end(content)
    for _ in range(_MOST_CHUNKS):
        if at + 9 > whole:
            return
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        yield _RiffChunk(content[at : at + 4], at, end)
        at = end
    raise InvalidImage(f"a WEBP may have at most {_MOST_CHUNKS} chunks")
