"""gateway.imaging.finish."""

from io import BytesIO

import pytest
from PIL import Image

from gateway.domain.edit import MaskSource, OutputOptions, Size
from gateway.domain.errors import ResultUnavailable
from gateway.imaging.finish import finish_picture
from tests.imaging.pictures import drawn, mask, noise, read, saved

BLUE = (10, 20, 220)


def open_picture(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as picture:
        picture.load()
        return picture


def scaled_to(size: Size) -> OutputOptions:
    return OutputOptions(scale_to=size)


def test_exactly_the_size_that_was_asked_for() -> None:
    """The result is a PNG of that size."""
    result = open_picture(finish_picture(saved(drawn(768, 768)), scaled_to(Size(512, 512)), None))

    assert (result.format, result.size) == ("PNG", (512, 512))
    assert result.getpixel((10, 10)) == (200, 60, 40)


@pytest.mark.parametrize("form", [OutputOptions(), scaled_to(Size(480, 400))], ids=["png", "size"])
def test_what_is_right_already_is_left_alone(form: OutputOptions) -> None:
    """A PNG of that size already is the same object."""
    content = read("rgb.png")

    assert finish_picture(content, form, None) is content


def test_nothing_is_distorted() -> None:
    """Where the ratio differs, the middle is kept and circles stay round."""
    picture = drawn(900, 600, (0, 0, 0))
    picture.paste((255, 255, 255), (150, 0, 750, 600))

    result = open_picture(finish_picture(saved(picture), scaled_to(Size(300, 300)), None))

    assert result.crop((8, 0, 292, 300)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "icc.jpg"])
def test_formats(output_format: str, name: str) -> None:
    """The picture comes out in the format that was asked for, of the same size."""
    result = open_picture(
        finish_picture(read(name), OutputOptions(output_format=output_format), None)
    )

    assert (result.format or "").lower() == output_format
    assert result.size == (480, 400)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_compression_is_quality(output_format: str) -> None:
    """Less of it is shorter, and 100 is what you get without asking, as with OpenAI."""
    forms = [
        OutputOptions(output_format=output_format, compression=quality)
        for quality in (0, 20, 100, None)
    ]

    lengths = [len(finish_picture(read("photo.avif"), form, None)) for form in forms]

    assert lengths[0] < lengths[1] < lengths[2] == lengths[3]


def test_a_masked_result_of_another_size() -> None:
    """It is scaled first, so that outside the mask each pixel is the original's own."""
    original = noise((120, 100))
    kept = MaskSource(saved(original), saved(mask((120, 100), (30, 30, 80, 70))))
    form = OutputOptions(scale_to=Size(120, 100), composite=True)

    result = open_picture(finish_picture(saved(drawn(850, 708, BLUE)), form, kept))

    assert (result.format, result.size) == ("PNG", (120, 100))
    assert result.getpixel((50, 50)) == BLUE
    assert result.crop((81, 0, 120, 100)).tobytes() == original.crop((81, 0, 120, 100)).tobytes()


@pytest.mark.parametrize("name", ["text.png", "truncated.png", "bomb.png", "empty.png"])
@pytest.mark.parametrize(
    "form", [scaled_to(Size(200, 200)), OutputOptions(output_format="jpeg")], ids=["size", "jpeg"]
)
def test_an_upstreams_broken_picture(name: str, form: OutputOptions) -> None:
    """What cannot be read is the upstream's fault, and no fault of the client's."""
    with pytest.raises(ResultUnavailable, match="The upstream's picture"):
        finish_picture(read(name), form, None)
