"""PNG without decoding: its chunks, and the file without those that no decoder needs."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, cast

from gateway.domain.errors import InvalidImage
from gateway.imaging import icc
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
_ONCE = frozenset({b"PLTE", b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"tRNS", b"eXIf", b"acTL"})
"""PNG 3rd edition, 5.6: a reader unpacks each again, so that many would cost much."""
_SRGB_GAMMA = range(44_500, 46_500)
"""Of 100,000: what those write who mean sRGB."""


class _Chunk(NamedTuple):
    name: bytes
    start: int
    end: int


def metadata(content: bytes) -> Metadata:
    """
    Read the chunks.

    Raises:
        InvalidImage: there are absurdly many, or some that may stand there only once.
    """
    present = False
    end = len(content)
    once: dict[bytes, bytes] = {}
    for chunk in _chunks(content):
        present = present or chunk.name not in _NEEDED
        if chunk.name in _ONCE:
            if chunk.name in once:
                raise InvalidImage(f"a PNG may have one {chunk.name.decode()} chunk")
            once[chunk.name] = content[chunk.start + 8 : chunk.end - 4]
        if chunk.name == b"IEND":
            end = chunk.end
    rest = max(0, len(content) - end)
    return Metadata(once.get(b"eXIf", b""), present, rest, _profile(once))


def _profile(chunks: Mapping[bytes, bytes]) -> bytes | None:
    """Return the profile that *chunks* mean: the first that counts (PNG 3rd edition, 4.3)."""
    if len(codes := chunks.get(b"cICP", b"")) == 4:
        return icc.profile_of_codes(codes[0], codes[1])
    if b"iCCP" in chunks:
        return None
    if b"sRGB" in chunks or not (b"gAMA" in chunks or b"cHRM" in chunks):
        return b""
    return _profile_of_numbers(chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b""))


@lru_cache(maxsize=16)
def _profile_of_numbers(gamma: bytes, primaries: bytes) -> bytes:
    """Return the profile that a gAMA and a cHRM chunk mean; empty for sRGB and for nonsense."""
    coded = int.from_bytes(gamma, "big")
    curve: icc.Curve = icc.srgb_curve
    if coded and coded not in _SRGB_GAMMA:
        curve = icc.gamma_curve(100_000 / coded)
    try:
        numbers = [part / 100_000 for part in struct.unpack(">8I", primaries)]
        return icc.profile_of(cast(icc.Primaries, tuple(numbers)), curve)
    except (ArithmeticError, ValueError, struct.error):
        return icc.profile_of(icc.SRGB, curve)


def strip_metadata(content: bytes) -> bytes:
    """Return the same picture without metadata."""
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
        checksum = int.from_bytes(view[chunk.end - 4 : chunk.end], "big")
        if (
            chunk.name in _CRITICAL
            and zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) != checksum
        ):
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
