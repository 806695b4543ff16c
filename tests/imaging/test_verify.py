"""gateway.imaging.verify."""

import pytest

from gateway.domain.errors import InvalidImage
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import inspect
from gateway.imaging.verify import verify
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
