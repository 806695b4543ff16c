"""PNG seen from outside: its chunks, and the file without those that no decoder needs."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from gateway.domain.errors import InvalidImage
from gateway.imaging.metadata import Metadata

_SIGNATURE_BYTES = 8
_AROUND = 12
"""Length, name and checksum around a chunk's data."""
_MOST_CHUNKS = 30_000
_FIRST_BYTES = 32_768

# PNG 3rd edition, 11.3: what changes how pixels look, and the frames of an animation.
_NEEDED = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB"}
    | {b"cICP", b"mDCV", b"cLLI", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT"}
)
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT"})


class _Chunk(NamedTuple):
    name: bytes
    start: int
    end: int


def metadata(content: bytes) -> Metadata:
    """
    Read the chunks.

    Raises:
        InvalidImage: there are absurdly many.
    """
    exif, present = b"", False
    for chunk in _chunks(content):
        present = present or chunk.name not in _NEEDED
        if chunk.name == b"eXIf":
            exif = content[chunk.start + 8 : chunk.end - 4]
    return Metadata(exif, present)


def stripped(content: bytes) -> bytes:
    """Return the same picture without metadata and without what comes after its end."""
    kept = (content[part.start : part.end] for part in _chunks(content) if part.name in _NEEDED)
    return b"".join((content[:_SIGNATURE_BYTES], *kept))


def check_sums(content: bytes) -> None:
    """
    Compare the checksums that libpng insists on and Pillow does not look at.

    Raises:
        InvalidImage: one is wrong, or the last chunk is not there or not whole.
    """
    view = memoryview(content)
    name = b""
    for chunk in _chunks(content):
        name = chunk.name
        if chunk.end > len(content):
            break
        told = int.from_bytes(view[chunk.end - 4 : chunk.end], "big")
        if chunk.name in _CRITICAL and zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) != told:
            raise InvalidImage("it is damaged: a checksum is wrong")
    if name != b"IEND" or chunk.end > len(content):
        raise InvalidImage("it is cut short")


def check_coding(content: bytes) -> None:
    """
    Inflate the first pixels; with every checksum right the rest is what the encoder wrote.

    Raises:
        InvalidImage: the pixels are not deflated, or there are none.
    """
    first = next((part for part in _chunks(content) if part.name == b"IDAT"), None)
    coded = b"" if first is None else content[first.start + 8 : first.end - 4][:_FIRST_BYTES]
    try:
        pixels = zlib.decompressobj().decompress(coded, _FIRST_BYTES)
    except zlib.error as exc:
        raise InvalidImage("it is damaged: its pixels are not coded as PNG's are") from exc
    if not pixels:
        raise InvalidImage("it has no pixels")


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to IEND; a broken file just ends early."""
    at = _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        if at + _AROUND > len(content):
            return
        name = content[at + 4 : at + 8]
        end = at + _AROUND + int.from_bytes(content[at : at + 4], "big")
        yield _Chunk(name, at, end)
        if name == b"IEND":
            return
        at = end
    raise InvalidImage(f"a PNG may have at most {_MOST_CHUNKS} chunks")
