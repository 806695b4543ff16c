"""gateway.imaging.mask."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.mask import check_mask, composite, has_clear_parts
from tests.imaging.pictures import drawn, mask, noise, read, saved

RED, BLUE = (200, 60, 40), (10, 20, 220)


def mixed(original: bytes, result: Image.Image, hole: bytes, feather: int = 3) -> Image.Image:
    """The picture that is made of an original without transparency."""
    created = composite(original, result, hole, feather)
    assert created.mode == "RGB"
    return created


def test_pixels_outside_are_the_originals() -> None:
    """Each pixel that is not fully transparent in the mask equals the original's exactly."""
    original, hole = noise((120, 100)), mask((120, 100), (30, 30, 80, 70), rim=6)

    result = mixed(saved(original), drawn(120, 100, BLUE), saved(hole))

    alpha = hole.getchannel("A")
    for x in range(120):
        for y in range(100):
            if alpha.getpixel((x, y)) != 0:
                assert result.getpixel((x, y)) == original.getpixel((x, y))


def test_pixels_deep_inside_are_the_results() -> None:
    """From the feather's depth on, the result shows unmixed."""
    hole = mask((120, 100), (30, 30, 80, 70))

    result = mixed(saved(drawn(120, 100, RED)), drawn(120, 100, BLUE), saved(hole))

    assert result.crop((33, 33, 78, 68)).getcolors() == [(45 * 35, BLUE)]


def test_the_result_fades_in_from_the_rim() -> None:
    """Over the feather's pixels the share of the result grows evenly, from the first on."""
    result = drawn(120, 100, (255, 255, 255))
    original = saved(drawn(120, 100, (0, 0, 0)))
    hole = saved(mask((120, 100), (30, 30, 80, 70)))

    created = mixed(original, result, hole, feather=3)

    assert [created.getpixel((x, 50)) for x in range(28, 35)] == [
        (share, share, share) for share in (0, 0, 63, 127, 191, 255, 255)
    ]


@pytest.mark.parametrize("feather", [0, -1])
def test_no_feather(feather: int) -> None:
    """Without feather the edge is sharp."""
    hole = saved(mask((120, 100), (30, 30, 80, 70)))

    result = mixed(saved(drawn(120, 100, RED)), drawn(120, 100, BLUE), hole, feather)

    assert result.getpixel((30, 30)) == BLUE
    assert result.getpixel((29, 30)) == RED


def test_a_thin_stroke_is_still_edited() -> None:
    """A line of two pixels, thinner than the feather, takes something of the result."""
    hole = saved(mask((120, 100), (60, 10, 61, 90)))

    result = mixed(saved(drawn(120, 100, RED)), drawn(120, 100, BLUE), hole)

    assert result.getpixel((60, 50)) not in (RED, BLUE)


def test_a_hole_at_the_picture_s_edge_is_not_faded_there() -> None:
    """The picture's own edge is no rim of the mask."""
    hole = saved(mask((120, 100), (0, 0, 60, 99)))

    result = mixed(saved(drawn(120, 100, RED)), drawn(120, 100, BLUE), hole)

    assert result.getpixel((0, 0)) == BLUE


def test_everything_comes_to_the_result_s_size() -> None:
    """A larger result: outside, pixels equal the original scaled to it; the rim stays outside."""
    original, hole = noise((120, 100)), mask((120, 100), (30, 30, 80, 70))
    scaled = original.resize((250, 190), Image.Resampling.LANCZOS, reducing_gap=3.0)

    result = mixed(saved(original), drawn(250, 190, BLUE), saved(hole))

    assert result.size == (250, 190)
    assert result.getpixel((120, 95)) == BLUE
    for x in range(250):
        for y in range(190):
            # 30..80 of 120 wide is 62.5..168.75 of 250; 30..70 of 100 high is 57..134.9 of 190.
            if not (63 <= x <= 168 and 57 <= y <= 134):
                assert result.getpixel((x, y)) == scaled.getpixel((x, y))


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.integers(0, 6),
)
def test_an_opaque_mask_keeps_the_original(
    size: tuple[int, int], made_size: tuple[int, int], feather: int
) -> None:
    """At any pair of sizes, where nothing is transparent nothing changes."""
    original, hole = noise(size), Image.new("RGBA", size, (0, 0, 0, 255))
    scaled = original.resize(made_size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    result = mixed(saved(original), drawn(*made_size), saved(hole), feather)

    wanted = original if size == made_size else scaled
    assert result.tobytes() == wanted.tobytes()


def test_a_turned_original_stands_upright() -> None:
    """An original with Exif orientation is kept as a person sees it."""
    original = read("exif_6.png")
    hole = saved(mask((400, 480), (100, 100, 200, 200)))
    with Image.open(BytesIO(original)) as as_stored:
        upright = as_stored.convert("RGB").transpose(Image.Transpose.ROTATE_270)

    result = mixed(original, drawn(400, 480), hole)

    assert result.crop((210, 0, 400, 480)).tobytes() == upright.crop((210, 0, 400, 480)).tobytes()


def test_a_broken_original_is_named() -> None:
    """What was checked when it came may be broken when it comes back."""
    hole = saved(mask((480, 400), (30, 30, 80, 70)))

    with pytest.raises(InvalidImage, match="checksum"):
        composite(read("corrupt.png"), drawn(480, 400), hole)


def test_transparency_that_a_mask_keeps() -> None:
    """Outside the hole each pixel is as transparent as it was, and of the same colour."""
    original = noise((120, 100))
    original.putalpha(Image.linear_gradient("L").resize((120, 100)))
    hole = mask((120, 100), (30, 30, 80, 70))

    result = composite(saved(original), drawn(120, 100, BLUE), saved(hole))

    assert result.mode == "RGBA"
    assert result.getpixel((50, 50)) == (*BLUE, 255)
    for x in range(120):
        for y in range(100):
            if not (30 <= x <= 80 and 30 <= y <= 70):
                assert result.getpixel((x, y)) == original.getpixel((x, y))


def test_a_transparent_original_has_no_dark_rim() -> None:
    """Where the result fades into what is transparent, its own colour shows, only fainter."""
    clear = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    hole = mask((60, 60), (20, 20, 40, 40))

    result = composite(saved(clear), drawn(60, 60, (250, 250, 250)), saved(hole))

    for x in range(20, 41):
        colour = result.getpixel((x, 30))
        assert isinstance(colour, tuple)
        assert min(colour[:3]) >= 245


def test_a_large_original_is_decoded_small() -> None:
    """What is scaled down anyway is decoded so, upright or not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    original = saved(drawn(2400, 1600, RED), "JPEG", exif=exif)

    result = mixed(original, drawn(400, 600), saved(mask((1600, 2400), (200, 200, 400, 400))))

    assert result.size == (400, 600)
    assert result.getpixel((300, 500)) == pytest.approx(RED, abs=2)


@pytest.mark.parametrize(
    ("name", "clear"), [("rgba.png", True), ("palette_clear.png", True), ("alpha.webp", True)]
)
def test_clear_parts(name: str, clear: bool) -> None:
    """A fully transparent part is found in any format."""
    assert has_clear_parts(read(name)) is clear


def test_what_is_a_little_transparent_has_no_clear_parts() -> None:
    """Soft edges and shadows are no part that is to be edited."""
    picture = drawn(40, 30)
    picture.putalpha(1)

    assert not has_clear_parts(saved(picture))


@pytest.mark.parametrize("original", ["rgb.png", "plain.jpg", "lossy.webp"])
def test_a_good_mask(original: str) -> None:
    """A mask of the original's size with a transparent part passes."""
    assert check_mask(read("rgba.png"), read(original)) == Size(480, 400)


def test_a_mask_for_a_turned_original() -> None:
    """The mask is as large as the original as a person sees it."""
    hole = saved(mask((400, 480), (9, 9, 99, 99)))

    assert check_mask(hole, read("exif_6.jpg")) == Size(400, 480)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(read("rgb.png"), "it has no transparency (alpha channel)", id="no alpha"),
        pytest.param(
            saved(mask((400, 400), (9, 9, 99, 99))),
            "it is 400x400, but the image is 480x400",
            id="other size",
        ),
        pytest.param(
            saved(Image.new("RGBA", (480, 400), (0, 0, 0, 1))),
            "it is nowhere fully transparent, so nothing would be edited",
            id="nothing to edit",
        ),
        pytest.param(read("rgba.png")[:-500], "it is cut short", id="cut short"),
        pytest.param(b"", "it has no bytes", id="empty"),
    ],
)
def test_a_bad_mask(content: bytes, reason: str) -> None:
    """Each fault of a mask is named, and the field with it."""
    with pytest.raises(InvalidImage) as caught:
        check_mask(content, read("plain.jpg"))

    assert caught.value.message == f"Invalid mask, please check your image file: {reason}."
    assert caught.value.param == "mask"
