"""gateway.imaging.resize."""

from io import BytesIO
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidRequest, ResultUnavailable
from gateway.imaging.resize import encode, is_legal, nearest_legal, scale_to
from tests.imaging.pictures import drawn, read, saved


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        pytest.param(Size(1024, 1024), Size(1024, 1024), id="square"),
        pytest.param(Size(1536, 1024), Size(1536, 1024), id="landscape"),
        pytest.param(Size(1024, 1536), Size(1024, 1536), id="portrait"),
        pytest.param(Size(768, 768), Size(768, 768), id="fewest pixels"),
        pytest.param(Size(1280, 1280), Size(1280, 1280), id="most pixels"),
        pytest.param(Size(2560, 640), Size(2560, 640), id="widest"),
        pytest.param(Size(256, 256), Size(768, 768), id="small"),
        pytest.param(Size(512, 512), Size(768, 768), id="half"),
        pytest.param(Size(2048, 2048), Size(1280, 1280), id="large"),
        pytest.param(Size(1792, 1024), Size(1687, 964), id="7:4"),
        pytest.param(Size(3840, 2160), Size(1696, 954), id="16:9"),
        pytest.param(Size(400, 100), Size(1536, 384), id="4:1"),
        pytest.param(Size(1, 4), Size(384, 1536), id="1:4"),
    ],
)
def test_nearest_legal(asked: Size, made: Size) -> None:
    """A legal size is itself; another is met in ratio, at the nearer limit of pixels."""
    assert nearest_legal(asked) == made


@given(st.integers(1, 4000), st.floats(0.25, 4))
def test_nearest_legal_is_legal_and_alike(height: int, ratio: float) -> None:
    """For every ratio that is allowed the size is legal and within half a percent of it."""
    asked = Size(min(4 * height, max(-(-height // 4), round(height * ratio))), height)

    made = nearest_legal(asked)

    assert is_legal(made)
    assert made.width / made.height == pytest.approx(asked.width / asked.height, rel=0.005)


@pytest.mark.parametrize("size", [Size(401, 100), Size(100, 401), Size(0, 0), Size(0, 9)])
def test_a_ratio_that_cannot_be_made(size: Size) -> None:
    """Beyond 4:1 nothing is near enough."""
    with pytest.raises(InvalidRequest, match=f"Size {size} cannot be made") as caught:
        nearest_legal(size)

    assert caught.value.param == "size"


def test_scale_to_makes_exactly_that_size() -> None:
    """The result is a PNG of the size that was asked for."""
    with Image.open(BytesIO(scale_to(saved(drawn(768, 768)), Size(512, 512)))) as made:
        assert (made.format, made.size) == ("PNG", (512, 512))
        assert made.getpixel((10, 10)) == (200, 60, 40)


def test_scale_to_leaves_the_right_size_alone() -> None:
    """A picture of that size already is the same object."""
    content = read("rgb.png")

    assert scale_to(content, Size(480, 400)) is content


def test_scale_to_distorts_nothing() -> None:
    """Where the ratio differs, the middle is kept and circles stay round."""
    picture = drawn(900, 600, (0, 0, 0))
    picture.paste((255, 255, 255), (150, 0, 750, 600))

    with Image.open(BytesIO(scale_to(saved(picture), Size(300, 300)))) as made:
        assert made.crop((8, 0, 292, 300)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "icc.jpg"])
def test_encode(output_format: Literal["jpeg", "webp"], name: str) -> None:
    """The picture comes out in the format that was asked for, of the same size."""
    with Image.open(BytesIO(encode(read(name), output_format, 80))) as made:
        assert (made.format or "").lower() == output_format
        assert made.size == (480, 400)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_lower_quality_is_shorter(output_format: Literal["jpeg", "webp"]) -> None:
    """output_compression is quality: 20 is shorter than 100."""
    lengths = [len(encode(read("photo.avif"), output_format, quality)) for quality in (20, 100)]

    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("name", ["text.png", "truncated.png", "bomb.png", "empty.png"])
def test_an_upstreams_broken_picture(name: str) -> None:
    """What cannot be read is the upstream's fault, and no fault of the customer's."""
    with pytest.raises(ResultUnavailable, match="The upstream's picture"):
        encode(read(name), "jpeg", 80)
    with pytest.raises(ResultUnavailable, match="The upstream's picture"):
        scale_to(read(name), Size(480, 400))
