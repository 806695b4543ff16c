"""AVIF and HEIC files: how many pixels their decoder makes, and which colours they mean."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from gateway.domain.errors import InvalidImage
from gateway.imaging import icc

# ISO 14496-12 8.11 (boxes), 23008-12 6.6.2.3 (grids), AV1 5.3 and 5.5 (OBUs).
_MOST_PARTS = 1024
"""Boxes, items, extents, each: a grid of 256 tiles with alpha has the most of them."""
_MOST_OBUS = 128
"""Of an item: an honest one has a handful."""
_SEQUENCE_HEADER = 1
_FRAME_HEADER = 3
_FRAME = 6
_SEQUENCE_HEADER_BYTES = 1024
"""More than the longest, of 32 operating points, has in front of its size."""
_COLOUR_AND_ALPHA = 2


class _Item(NamedTuple):
    in_idat: bool
    extents: tuple[tuple[int, int], ...]
    """Start and length."""

    @property
    def length(self) -> int:
        return sum(length for _, length in self.extents)

    def bytes_of(self, source: bytes) -> bytes:
        return b"".join(source[start : start + length] for start, length in self.extents)


def first_picture(content: bytes) -> bytes:
    """
    Return the same file with the brand of a still picture.

    An image sequence, too, has its first picture as an item; by any other brand a decoder
    may read its track, which coded_pixels does not.
    """
    return content[:8] + b"avif" + content[12:]


def is_sequence(content: bytes) -> bool:
    """Return whether there is more than the first picture."""
    return any(kind == b"moov" for kind, _ in _boxes(content))


def coded_pixels(content: bytes) -> int:
    """
    Return how many pixels a decoder makes on its way to the first picture, at the most.

    The size of a picture stands in a box (``ispe``), that of its coded pixels in the AV1
    data. A decoder makes room for the latter before anything compares them.

    Raises:
        InvalidImage: it cannot be determined; the reason alone.
    """
    try:
        return _coded_pixels(content)
    except (IndexError, StopIteration, ValueError) as exc:
        raise InvalidImage("its parts do not say how large it is") from exc


def _coded_pixels(content: bytes) -> int:
    (meta,) = (data for kind, data in _boxes(content) if kind == b"meta")
    boxes: dict[bytes, bytes] = {}
    for kind, data in _boxes(meta[4:]):
        if boxes.setdefault(kind, data) is not data:
            raise ValueError(kind)
    places = _places(boxes[b"iloc"]) if b"iloc" in boxes else {}
    idat = boxes.get(b"idat", b"")
    pixels: dict[tuple[bytes, _Item], int] = {}
    coded = 0
    grids = [0]
    bytes_left = len(content)
    for item, kind in _kinds(boxes.get(b"iinf", b"")).items():
        if kind not in _PIXELS or item not in places:
            continue
        place = places[item]
        if (kind, place) not in pixels:  # equal tiles stand in one place
            bytes_left -= place.length
            if bytes_left < 0:
                raise ValueError(place)
            pixels[kind, place] = _PIXELS[kind](place.bytes_of(idat if place.in_idat else content))
        if kind == b"grid":
            grids.append(pixels[kind, place])
        else:
            coded += pixels[kind, place]
    if not coded:
        raise ValueError("no pixels")
    return max(coded // _COLOUR_AND_ALPHA, *grids)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for _ in range(_MOST_PARTS):
        if at + 8 > len(content):
            return
        length = int.from_bytes(content[at : at + 4], "big")
        head = 8
        if length == 1:
            length = int.from_bytes(content[at + 8 : at + 16], "big")
            head = 16
        end = at + length if length else len(content)
        if end < at + head:
            raise ValueError(length)
        yield content[at + 4 : at + 8], content[at + head : end]
        at = end
    raise ValueError("too many boxes")


class _Bytes:
    """Numbers of some bytes each, one after another."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self._content = content
        self._at = at

    def number(self, length: int) -> int:
        start = self._at
        self._at += length
        if self._at > len(self._content):
            raise IndexError(start)
        return int.from_bytes(self._content[start : self._at], "big")

    def count(self, length: int) -> range:
        """Return the numbers below the one that stands here."""
        if (count := self.number(length)) > _MOST_PARTS:
            raise ValueError(count)
        return range(count)


def _places(iloc: bytes) -> Mapping[int, _Item]:
    """Return by number where the items stand."""
    version = iloc[0]
    read = _Bytes(iloc, 4)
    sizes = read.number(2)
    offset_bytes = sizes >> 12
    length_bytes = sizes >> 8 & 15
    base_bytes = sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    places = {}
    extents_left = _MOST_PARTS
    for _ in read.count(id_bytes):
        item = read.number(id_bytes)
        method = read.number(2) & 15 if version else 0
        if method > 1 or item in places:
            raise ValueError(method)
        read.number(2)  # in which file: libavif reads none but this
        base = read.number(base_bytes)
        extents = []
        for _ in read.count(2):
            read.number(index_bytes)
            start = base + read.number(offset_bytes)
            length = read.number(length_bytes)
            if not length:
                raise ValueError("an extent of the whole file")
            extents.append((start, length))
        extents_left -= len(extents)
        if extents_left < 0:
            raise ValueError("too many extents")
        places[item] = _Item(method == 1, tuple(extents))
    return places


def _kinds(iinf: bytes) -> Mapping[int, bytes]:
    """Return by number what the items are."""
    kinds = {}
    for kind, data in _boxes(iinf[6 if iinf[0] == 0 else 8 :]):
        if kind == b"infe":
            read = _Bytes(data, 4)
            item = read.number(4 if data[0] == 3 else 2)
            read.number(2)
            if item in kinds:
                raise ValueError(item)
            kinds[item] = read.number(4).to_bytes(4, "big")
    return kinds


def _grid_pixels(data: bytes) -> int:
    length = 4 if data[1] & 1 else 2
    read = _Bytes(data, 4)
    return read.number(length) * read.number(length)


def _frame_pixels(data: bytes) -> int:
    """Return the pixels of all frames of an item; a decoder may keep each for those after it."""
    pixels = frames = 0
    for kind, content in _obus(data):
        if kind == _SEQUENCE_HEADER:
            pixels = max(pixels, _sequence_pixels(content[:_SEQUENCE_HEADER_BYTES]))
        frames += kind in (_FRAME_HEADER, _FRAME)
    return pixels * frames


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_MOST_OBUS):
        if at >= len(data):
            return
        head = data[at]
        at += 2 if head & 4 else 1
        length = len(data) - at
        if head & 2:
            length = 0
            for shift in range(0, 56, 7):
                length |= (data[at] & 127) << shift
                at += 1
                if data[at - 1] < 128:
                    break
        yield head >> 3 & 15, data[at : at + length]
        at += length
    raise ValueError("too many OBUs")


_PIXELS: Mapping[bytes, Callable[[bytes], int]] = {b"av01": _frame_pixels, b"grid": _grid_pixels}


class _Bits:
    """Numbers of some bits each, one after another."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def number(self, length: int) -> int:
        self._left -= length
        if self._left < 0:
            raise IndexError(length)
        return self._value >> self._left & (1 << length) - 1

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.number(1):
            zeros += 1
        if zeros < 32:
            self.number(zeros)


def _sequence_pixels(content: bytes) -> int:
    """Return how large the largest frame may be that a sequence header allows."""
    bits = _Bits(content)
    bits.number(4)
    is_reduced = bits.number(1)
    if is_reduced:
        bits.number(5)
    else:
        _skip_operating_points(bits)
    width_bits = bits.number(4) + 1
    height_bits = bits.number(4) + 1
    width = bits.number(width_bits) + 1
    height = bits.number(height_bits) + 1
    if is_reduced:
        return width * height
    # A frame may have a size of its own, of as many bits.
    return 1 << width_bits + height_bits


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.number(1):  # timing_info_present_flag
        bits.number(64)
        if bits.number(1):
            bits.skip_uvlc()
        if bits.number(1):  # decoder_model_info_present_flag
            delay_bits = bits.number(5) + 1
            bits.number(42)
    has_display_delay = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)
        if delay_bits and bits.number(1):
            bits.number(2 * delay_bits + 1)
        if has_display_delay and bits.number(1):
            bits.number(4)


_CODES = b"colrnclx"
_META_BYTES = 262_144
"""The boxes that describe pictures stand in front of them."""


def profile(content: bytes) -> bytes | None:
    """
    Return the profile of the first picture's code points; ``None`` where they say nothing.

    A file that has an ICC profile, too, means that one (ISO 23000-22, 7.3.6.4).
    """
    at = content.find(_CODES, 0, _META_BYTES)
    if at < 0 or b"colrprof" in content[:_META_BYTES] or b"colrrICC" in content[:_META_BYTES]:
        return None
    primaries = content[at + 8 : at + 10]
    transfer = content[at + 10 : at + 12]
    return icc.profile_of_codes(int.from_bytes(primaries, "big"), int.from_bytes(transfer, "big"))
