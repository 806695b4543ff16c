"""BMP without decoding: where its picture ends, and the colour profile that it may have."""

_V5_BYTES = 124
_EMBEDDED = b"DEBM"
"""``MBED`` as a little-endian number is written."""
_UNCOMPRESSED = (0, 3, 6)


def end(content: bytes) -> int:
    """Return where the last byte stands that belongs to the picture, plus one."""
    pixels = _number(content, 10)
    if _number(content, 14) < 40:
        width = _number(content, 18, 2)
        height = _number(content, 20, 2)
        bits = _number(content, 24, 2)
    else:
        width = abs(_signed(content, 18))
        height = abs(_signed(content, 22))
        bits = _number(content, 28, 2)
        if _number(content, 30) not in _UNCOMPRESSED:
            return len(content)
    row_bytes = (width * bits + 31) // 32 * 4
    return min(len(content), max(pixels + row_bytes * height, _profile_place(content).stop))


def profile(content: bytes) -> bytes:
    """Return the embedded profile, empty if there is none."""
    place = _profile_place(content)
    return content[place.start : place.stop]


def _profile_place(content: bytes) -> range:
    if _number(content, 14) < _V5_BYTES or content[70:74] != _EMBEDDED:
        return range(0)
    start = 14 + _number(content, 126)
    return range(start, start + _number(content, 130))


def _number(content: bytes, at: int, length: int = 4) -> int:
    return int.from_bytes(content[at : at + length], "little")


def _signed(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "little", signed=True)
