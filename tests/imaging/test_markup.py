"""gateway.imaging.mask."""

from io import BytesIO

import pytest
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.imaging.mask import lay_over, lay_over_cost
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import Imaging
from tests.imaging.pictures import drawn, mask, read, saved

RED, GREEN = (200, 60, 40), (0, 255, 0)


def guide(size: tuple[int, int] = (480, 400)) -> Image.Image:
    """Transparent but for a green box."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste((*GREEN, 255), (100, 100, 200, 200))
    return picture


def open_picture(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as picture:
        picture.load()
        return picture


@pytest.mark.anyio
async def test_the_guide_is_seen_in_the_picture() -> None:
    """What is drawn covers the picture; what is transparent does not."""
    imaging = Imaging()

    result = open_picture(
        await imaging.lay_over(
            saved(drawn(480, 400, RED), "JPEG"), saved(guide()), SlotClaim("acme")
        )
    )

    await imaging.close()
    assert (result.format, result.size) == ("JPEG", (480, 400))
    assert result.getpixel((150, 150)) == pytest.approx(GREEN, abs=6)
    assert result.getpixel((300, 300)) == pytest.approx(RED, abs=6)


def test_an_original_with_transparency_keeps_it() -> None:
    """Until the model's rules say what becomes of that."""
    result = open_picture(lay_over(read("rgba.png"), saved(guide())))

    assert result.mode == "RGBA"
    assert result.getpixel((240, 250)) == open_picture(read("rgba.png")).getpixel((240, 250))
    assert result.getpixel((150, 150)) == (*GREEN, 255)


def test_a_turned_original_stands_upright() -> None:
    """The guide lies on the picture as a person sees it."""
    result = open_picture(lay_over(read("exif_6.jpg"), saved(guide((400, 480)))))

    assert result.size == (400, 480)
    assert result.getpixel((150, 150)) == pytest.approx(GREEN, abs=6)


@pytest.mark.parametrize(
    ("original", "markup", "param", "says"),
    [
        pytest.param(read("plain.jpg"), read("rgb.png"), "markup", "no transparency", id="opaque"),
        pytest.param(
            read("plain.jpg"),
            saved(mask((400, 400), (9, 9, 99, 99))),
            "markup",
            "it is 400x400, but the image is 480x400",
            id="other size",
        ),
        pytest.param(read("plain.jpg"), read("rgba.png")[:-300], "markup", "cut short", id="cut"),
        pytest.param(b"", saved(guide()), "image", "no bytes", id="no image"),
        pytest.param(read("truncated.jpg"), saved(guide()), "image", "cut short", id="bad image"),
        pytest.param(
            read("plain.jpg"),
            saved(Image.new("RGBA", (480, 400), (1, 2, 3, 255))),
            "markup",
            "nowhere transparent",
            id="covers all",
        ),
        pytest.param(
            saved(drawn(5000, 5500), "JPEG"),
            saved(Image.new("RGBA", (5000, 5500)), "WEBP", lossless=True, quality=0),
            "markup",
            "too many pixels",
            id="too large",
        ),
    ],
)
def test_what_is_refused(original: bytes, markup: bytes, param: str, says: str) -> None:
    """Each fault is named, with its field, before anything is paid."""
    with pytest.raises(InvalidImage, match=says) as caught:
        _both(original, markup)

    assert caught.value.param == param


def _both(original: bytes, markup: bytes) -> bytes:
    lay_over_cost(original, markup)
    return lay_over(original, markup)
