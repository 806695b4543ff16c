"""gateway.imaging.inspect."""

import random
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import inspect, verify
from tests.imaging.pictures import NAMES, read

BROKEN = {
    "truncated.jpg": "it is damaged or cut short",
    "truncated.png": "it is cut short",
    "truncated.gif": "it is damaged or cut short",
    "corrupt.png": "it is damaged: a checksum is wrong",
}
NO_HEAD = {
    *("head_only.jpg", "truncated.webp", "bomb.png", "no_pixels.png"),
    *("empty.png", "text.png", "page.jpg"),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*BROKEN, *NO_HEAD}])
def test_sound(name: str) -> None:
    """A sound file of every format is decoded without complaint."""
    if name == "photo.heic" and not heif_readable():
        pytest.skip("pillow-heif is not installed")
    content = read(name)

    verify(content, inspect(content))


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    """What the head hides is found by decoding."""
    content = read(name)

    with pytest.raises(InvalidImage) as caught:
        verify(content, inspect(content))

    assert caught.value.message == BROKEN[name]


@pytest.mark.parametrize(
    "name", ["plain.jpg", "progressive.jpg", "rgb.png", "rgb.bmp", "lossy.webp", "lzw.tiff"]
)
def test_cut_anywhere(name: str) -> None:
    """A file that lacks its last tenth is found out, though its head is sound."""
    content = read(name)
    cut = content[: len(content) * 9 // 10]

    with pytest.raises(InvalidImage):
        verify(cut, inspect(cut))


def _large(name: str, **how: Any) -> bytes:
    """Return a picture of noise, some hundred KB large."""
    noise = Image.frombytes("RGB", (400, 400), random.Random(7).randbytes(3 * 400 * 400))
    out = BytesIO()
    noise.save(out, name, **how)
    return out.getvalue()


LARGE_JPEG, LARGE_PNG = _large("JPEG", quality=95), _large("PNG")


def _chunk(name: bytes, data: bytes) -> bytes:
    length, crc = len(data).to_bytes(4, "big"), zlib.crc32(name + data).to_bytes(4, "big")
    return length + name + data + crc


def _png(idat: bytes) -> bytes:
    """Return LARGE_PNG's head with other pixels, every checksum right."""
    return LARGE_PNG[:33] + _chunk(b"IDAT", idat) + _chunk(b"IEND", b"") + bytes(140_000)


@pytest.mark.parametrize(
    "content", [LARGE_JPEG, LARGE_PNG, _large("JPEG", progressive=True, quality=95)]
)
def test_large_and_sound(content: bytes) -> None:
    """A large picture of which only a part is decoded passes."""
    assert len(content) > 131_072

    verify(content, inspect(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(LARGE_JPEG[:-2], "cut short", id="jpeg-without-its-end"),
        pytest.param(LARGE_JPEG[:-20_000], "cut short", id="jpeg-cut"),
        pytest.param(
            LARGE_JPEG[:150_000] + b"\xff\xe5\x00\x04ab" + LARGE_JPEG[150_000:],
            "damaged",
            id="jpeg-with-a-segment-among-its-coded-data",
        ),
        pytest.param(LARGE_PNG[:-12], "cut short", id="png-without-its-end"),
        pytest.param(LARGE_PNG[:-100], "cut short", id="png-cut"),
        pytest.param(
            LARGE_PNG[:150_000] + b"?" + LARGE_PNG[150_001:], "checksum", id="png-with-a-wrong-byte"
        ),
        pytest.param(_png(b"this is not deflated"), "not coded", id="png-not-deflated"),
        pytest.param(_png(b""), "no pixels", id="png-without-pixels"),
        pytest.param(
            LARGE_PNG[:33] + _chunk(b"IEND", b"") + bytes(140_000), "no pixels", id="png-no-idat"
        ),
    ],
)
def test_large_and_broken(content: bytes, reason: str) -> None:
    """What is wrong behind the first part of a large picture is found without decoding it."""
    with pytest.raises(InvalidImage, match=reason):
        verify(content, inspect(content))
