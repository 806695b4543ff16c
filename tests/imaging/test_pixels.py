"""gateway.imaging.pixels."""

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageCms

from gateway.domain.errors import InvalidImage
from gateway.imaging.pixels import alpha, flatten, to_rgba, turn_upright
from tests.imaging.pictures import saved
from tests.imaging.profiles import DISPLAY_P3

WHITE = (255, 255, 255)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("mode", "colour", "rgb"),
    [
        pytest.param("RGB", (1, 2, 3), (1, 2, 3), id="rgb"),
        pytest.param("RGBA", (1, 2, 3, 255), (1, 2, 3), id="opaque"),
        pytest.param("RGBA", (1, 2, 3, 0), WHITE, id="transparent"),
        pytest.param("LA", (0, 0), WHITE, id="transparent gray"),
        pytest.param("L", 7, (7, 7, 7), id="gray"),
        pytest.param("1", 1, WHITE, id="bilevel"),
        pytest.param("I;16", 0x8080, (128, 128, 128), id="16 bits"),
        pytest.param("I", 65535, WHITE, id="32 bits"),
        pytest.param("CMYK", (0, 255, 255, 0), (255, 0, 0), id="cmyk"),
    ],
)
def test_flattened(mode: str, colour: Any, rgb: tuple[int, int, int]) -> None:
    """Every mode becomes RGB of 8 bits."""
    result = flatten(Image.new(mode, (4, 4), colour), WHITE)

    assert result.mode == "RGB"
    assert result.getpixel((1, 1)) == rgb


def test_rgb_is_not_copied() -> None:
    """What is RGB already is the same object: a copy would cost its memory again."""
    picture = Image.new("RGB", (4, 4))

    assert flatten(picture, WHITE) is picture
    assert turn_upright(picture, 1) is picture


@pytest.mark.parametrize(
    "profile",
    [pytest.param(b"nonsense", id="broken"), pytest.param(SRGB, id="not of a printer")],
)
def test_a_useless_profile_is_passed_over(profile: bytes) -> None:
    """Where the profile cannot be used, the plain conversion is."""
    picture = Image.new("CMYK", (4, 4), (0, 255, 255, 0))

    assert flatten(picture, WHITE, profile).getpixel((1, 1)) == (255, 0, 0)


def test_a_profile_of_another_kind_says_nothing() -> None:
    """A screen's profile in a picture of four inks does not change it."""
    picture = Image.new("CMYK", (4, 4), (0, 195, 215, 55))

    result = flatten(picture, WHITE, DISPLAY_P3)

    assert result.tobytes() == picture.convert("RGB").tobytes()


def test_a_transparent_gray_of_16_bits() -> None:
    """One value of 65,536 is transparent, and its neighbours are not."""
    values = struct.pack("<4H", 0x6CFF, 0x6D00, 0x6D01, 0xFFFF)
    with Image.open(
        BytesIO(saved(Image.frombytes("I;16", (4, 1), values), transparency=0x6D00))
    ) as picture:
        assert alpha(picture).tobytes() == b"\xff\x00\xff\xff"
        assert flatten(picture, WHITE).getpixel((1, 0)) == WHITE
        assert to_rgba(picture).getpixel((0, 0)) == (108, 108, 108, 255)


def test_floating_point_numbers_are_refused() -> None:
    """Whether 1.0 is white or nearly black is not told, and nobody pays for a black picture."""
    with pytest.raises(InvalidImage, match="floating-point"):
        flatten(Image.new("F", (4, 4), 0.5), WHITE)


@pytest.mark.parametrize("height", [255, 256, 257, 600])
def test_strips_meet_without_a_seam(height: int) -> None:
    """What is made strip by strip is the whole picture."""
    picture = Image.linear_gradient("L").resize((8, height))

    assert flatten(picture, WHITE).tobytes() == picture.convert("RGB").tobytes()


def test_transparency_stays_where_it_is_wanted() -> None:
    """Colours and transparency of each pixel come out as they were."""
    picture = Image.effect_noise((20, 300), 80).convert("RGB")
    picture.putalpha(Image.linear_gradient("L").resize((20, 300)))

    result = to_rgba(picture)

    assert result.mode == "RGBA"
    assert result.tobytes() == picture.tobytes()
