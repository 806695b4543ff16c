"""gateway.imaging.opening."""

import struct

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage, ResultUnavailable
from gateway.imaging.inspect import inspect
from gateway.imaging.opening import check_cost, check_size, decoder_errors, open_picture
from tests.imaging.pictures import read


@pytest.mark.parametrize("raised", [ValueError, IndexError, MemoryError, SyntaxError, KeyError])
def test_whatever_a_decoder_raises_is_an_invalid_image(raised: type[Exception]) -> None:
    """A decoder's exception comes out as InvalidImage, its cause kept."""
    with pytest.raises(InvalidImage, match="damaged or cut short") as caught, decoder_errors():
        raise raised

    assert isinstance(caught.value.__cause__, raised)


def test_a_reason_is_kept() -> None:
    """A refusal from inside goes through as it is."""
    with pytest.raises(InvalidImage, match="too odd"), decoder_errors():
        raise InvalidImage("too odd")


def test_the_upstreams_picture_is_not_the_customers_fault() -> None:
    """The same damage in a result becomes the error that was named."""
    with (
        pytest.raises(ResultUnavailable, match="theirs"),
        decoder_errors(ResultUnavailable, "theirs"),
    ):
        raise InvalidImage("damaged")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        pytest.param(Size(0, 400), "it has no pixels", id="none"),
        pytest.param(Size(10_001, 10_000), "10001x10000 is over 100 million", id="too many"),
    ],
)
def test_sizes_out_of_bounds(size: Size, reason: str) -> None:
    """No pixels and too many are refused."""
    with pytest.raises(InvalidImage, match=reason):
        check_size(size)


def test_hundred_million_pixels_pass() -> None:
    """The limit itself is allowed."""
    check_size(Size(10_000, 10_000))


def test_only_the_named_format_is_tried() -> None:
    """A picture is not opened by another decoder than its signature's."""
    with pytest.raises(InvalidImage), open_picture(read("rgb.png"), "JPEG"):
        pass


def test_run_length_coded_bmp_is_refused() -> None:
    """Pillow has only a slow decoder for it, so it would be a cheap way to keep us busy."""
    content = bytearray(read("palette.bmp"))
    content[30] = 1

    with pytest.raises(InvalidImage, match="run-length coded BMP is not taken; send PNG"):
        check_cost(bytes(content), "BMP")


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        pytest.param("plain.jpg", "JPEG", id="jpeg"),
        pytest.param("rgb.png", "PNG", id="png"),
        pytest.param("rgb.bmp", "BMP", id="bmp"),
        pytest.param("lossy.webp", "WEBP", id="webp"),
    ],
)
def test_honest_files_pass(name: str, samples: str) -> None:
    """A sound file of each format costs what it should."""
    check_cost(read(name), samples)


def test_a_tile_far_larger_than_its_picture() -> None:
    """A TIFF of 234 bytes would have room made for 1.6 billion pixels."""
    entries = (
        (256, 400), (257, 400), (258, 8), (259, 5), (262, 1), (277, 1),
        (322, 40_000), (323, 40_000), (324, 8), (325, 100),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<I", 108) + bytes(100)
    content = head + struct.pack("<H", len(entries)) + table + bytes(4)

    with pytest.raises(InvalidImage, match="tiles are far larger"):
        inspect(content)
