"""gateway.imaging.bmp."""

import struct

import pytest

from gateway.imaging import bmp
from gateway.imaging.inspect import inspect
from tests.imaging.pictures import drawn, read, saved
from tests.imaging.profiles import DISPLAY_P3

RGB = read("rgb.bmp")


def older(width: int, height: int) -> bytes:
    """A BMP of OS/2, whose head has twelve bytes."""
    rows = bytes(height * ((width * 24 + 31) // 32 * 4))
    head = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return struct.pack("<2sIII", b"BM", 26 + len(rows), 0, 26) + head + rows


def with_profile(profile: bytes) -> bytes:
    """A BMP of version 5, its profile behind the pixels."""
    head = bytearray(RGB[14:54].ljust(124, b"\0"))
    head[:4] = struct.pack("<I", 124)
    head[56:60] = b"DEBM"
    pixels = RGB[54:]
    head[112:120] = struct.pack("<II", 124 + len(pixels), len(profile))
    return RGB[:10] + struct.pack("<I", 14 + 124) + bytes(head) + pixels + profile


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(RGB, id="rgb"),
        pytest.param(read("palette.bmp"), id="palette"),
        pytest.param(saved(drawn(401, 7), "BMP"), id="padded rows"),
        pytest.param(older(30, 20), id="os/2"),
        pytest.param(with_profile(DISPLAY_P3), id="profile behind"),
    ],
)
def test_where_it_ends(content: bytes) -> None:
    """Behind the last row, and behind a profile that follows it."""
    assert bmp.end(content) == len(content)
    assert bmp.end(content + b"rest of a screenshot") == len(content)
    assert inspect(content + b"rest").rest == 4


def test_a_compressed_one_ends_with_the_file() -> None:
    """How many bytes its rows take is not told."""
    content = RGB[:30] + struct.pack("<I", 1) + RGB[34:] + b"rest"

    assert bmp.end(content) == len(content)


def test_its_profile() -> None:
    """The profile that stands in the file counts."""
    assert bmp.profile(with_profile(DISPLAY_P3)) == DISPLAY_P3
    assert inspect(with_profile(DISPLAY_P3)).foreign_colours
    assert bmp.profile(RGB) == b""
