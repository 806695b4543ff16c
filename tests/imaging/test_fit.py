"""gateway.imaging.fit."""

import random
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import ExifTags, Image, ImageChops, ImageStat
from PIL.JpegImagePlugin import JpegImageFile

from gateway.domain.edit import Picture, Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.fit import Aim, Frame, fit, frame_of, reencode, violated_rules
from gateway.imaging.inspect import inspect
from tests.imaging.pictures import INPUTS, drawn, pixels, read, saved

AIM = Aim(INPUTS)
L, P = Size(480, 400), Size(400, 480)
AS_IS = (
    *("plain.jpg", "progressive.jpg", "icc.jpg", "rgb.png", "interlaced.png", "rgb.bmp"),
    *("lossy.webp", "lossless.webp"),
)
STRIPPED = ("exif_gps.jpg", "exif_gps.webp", "notes.png")
DRAWN = {
    "gray.jpg": (L, ("converted:gray",)),
    "cmyk.jpg": (L, ("converted:cmyk", "colours:srgb")),
    "small.jpg": (Size(576, 384), ("scaled:300x200->576x384",)),
    "wide.jpg": (
        Size(5000, 384),
        ("scaled:5400x400->5000x370", "padded:5000x370->5000x384"),
    ),
    "sliver.jpg": (Size(2000, 384), ("padded:2000x100->2000x384",)),
    "exif_3.jpg": (L, ("rotated", "metadata_removed")),
    "exif_6.jpg": (P, ("rotated", "metadata_removed")),
    "exif_8.jpg": (P, ("rotated", "metadata_removed")),
    "rgba.png": (L, ("alpha_flattened",)),
    "palette.png": (L, ("converted:palette",)),
    "palette_clear.png": (L, ("converted:palette", "alpha_flattened")),
    "gray.png": (L, ("converted:gray",)),
    "gray_alpha.png": (L, ("converted:gray", "alpha_flattened")),
    "bilevel.png": (L, ("converted:gray",)),
    "gray16.png": (L, ("converted:16bit",)),
    "rgb16.png": (L, ("converted:16bit",)),
    "exif_6.png": (P, ("rotated", "metadata_removed")),
    "animated.png": (L, ("first_frame",)),
    "palette.bmp": (Size(384, 384), ("converted:palette",)),
    "alpha.webp": (L, ("alpha_flattened",)),
    "animated.webp": (L, ("first_frame", "alpha_flattened")),
    "exif_8.webp": (P, ("rotated", "metadata_removed")),
    "still.gif": (L, ("converted:gif",)),
    "animated.gif": (L, ("converted:gif",)),
    "lzw.tiff": (L, ("converted:tiff",)),
    "exif_6.tiff": (P, ("converted:tiff",)),
    "photo.avif": (L, ("converted:avif",)),
    "exif_6.avif": (P, ("converted:avif", "rotated")),
}


def fitted(content: bytes, aim: Aim = AIM) -> Picture:
    return fit(content, inspect(content), aim)


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, in steps of 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def open_picture(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as picture:
        return picture.convert("RGB")


@pytest.mark.parametrize("name", AS_IS)
def test_what_fits_passes_on(name: str) -> None:
    """A picture within the rules and without metadata is the same object."""
    content = read(name)

    result = fitted(content)

    assert result.content is content
    assert result.adjusted == ()
    assert (result.media_type, result.size) == (inspect(content).media_type, inspect(content).size)


def _says_that_it_moved(notes: Sequence[str]) -> bool:
    return any(note.startswith(("rotated", "scaled:", "padded:")) for note in notes)


@pytest.mark.parametrize("name", STRIPPED)
def test_metadata_goes_without_loss(name: str) -> None:
    """Where only metadata is too much, format, coded data and pixels stay."""
    content = read(name)

    result = fitted(content)

    assert result.adjusted == ("metadata_removed",)
    assert result.media_type == inspect(content).media_type
    assert b"Ada Example" in content
    assert b"Ada" not in result.content
    assert pixels(result.content) == pixels(content)


@pytest.mark.parametrize("name", DRAWN)
def test_what_does_not_fit_is_reencoded(name: str) -> None:
    """Each other file becomes a JPEG that breaks no rule, and says what was done to it."""
    size, adjusted = DRAWN[name]

    result = fitted(read(name))

    now = inspect(result.content)
    assert (result.size, result.adjusted, result.media_type) == (size, adjusted, "image/jpeg")
    assert (now.size, now.mode, now.format, now.has_metadata) == (size, "RGB", "JPEG", False)
    assert result.moved is _says_that_it_moved(adjusted)
    assert violated_rules(now, len(result.content), INPUTS) == []
    assert fitted(result.content).content is result.content


@pytest.mark.parametrize(
    "name", ["lzw.tiff", "still.gif", "palette.png", "cmyk.jpg", "rgba.png", "photo.avif"]
)
def test_it_looks_the_same(name: str) -> None:
    """What is re-encoded differs from the source by less than an eye sees."""
    with Image.open(BytesIO(read(name))) as source:
        clear = source.convert("RGBA")
    wanted = Image.new("RGB", clear.size, (255, 255, 255))
    wanted.paste(clear, mask=clear.getchannel("A"))

    result = open_picture(fitted(read(name)).content)

    assert difference(result, wanted) < 2


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_turn_is_applied(orientation: int) -> None:
    """Each Exif orientation comes out as Pillow's own transposition would show it."""
    plain = drawn(600, 400)
    plain.paste((20, 40, 220), (0, 0, 200, 100))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(plain, "PNG", exif=exif)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}

    result = fitted(content)

    wanted = plain.transpose(Image.Transpose(turns[orientation]))
    assert "rotated" in result.adjusted
    assert difference(open_picture(result.content), wanted) < 2


def test_background_shows_through() -> None:
    """Transparent parts take the colour that was asked for."""
    content = saved(drawn(400, 400, (0, 0, 0, 0), "RGBA"))

    result = fitted(content, Aim(INPUTS, background=(10, 200, 30)))

    pixel = open_picture(result.content).getpixel((200, 200))
    assert isinstance(pixel, tuple)
    assert all(abs(a - b) < 3 for a, b in zip(pixel, (10, 200, 30), strict=True))


def test_padding_is_even_and_of_the_background() -> None:
    """A sliver stands in the middle of its canvas."""
    result = open_picture(fitted(saved(drawn(1000, 50), "PNG")).content)

    assert result.size == (1000, 384)
    assert result.getpixel((500, 5)) == (255, 255, 255)
    assert result.getpixel((500, 379)) == (255, 255, 255)
    assert difference(result.crop((0, 170, 1000, 214)), drawn(1000, 44)) < 3


def test_sixteen_bit_gray_keeps_its_shades() -> None:
    """Sixteen bits are scaled to eight, not cut off."""
    result = open_picture(fitted(read("gray16.png")).content).convert("L")

    shades = [result.getpixel((x, 200)) for x in (0, 120, 240, 360, 479)]

    assert shades == pytest.approx([0, 64, 128, 191, 255], abs=3)


def test_a_large_jpeg_is_decoded_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture over 5000 pixels is decoded at a half, lying as it is, and brought to 5000."""
    requested: list[tuple[int, int] | None] = []
    draft = JpegImageFile.draft

    def watched(
        picture: JpegImageFile, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        done = draft(picture, mode, size)
        requested.extend((size, picture.size))
        return done

    monkeypatch.setattr(JpegImageFile, "draft", watched)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(drawn(10_400, 800), "JPEG", exif=exif)

    result = fitted(content)

    assert requested == [(5200, 400), (5200, 400)]
    assert result.size == Size(385, 5000)
    assert result.adjusted == ("rotated", "scaled:800x10400->385x5000", "metadata_removed")


def test_damage_is_found_while_reencoding() -> None:
    """A corrupt picture that must be re-encoded is refused."""
    content = read("truncated.gif")

    with pytest.raises(InvalidImage, match="damaged or cut short"):
        fitted(content)


def test_a_wrong_checksum_is_found_while_reencoding() -> None:
    """Pillow decodes pixels whose checksum is wrong; they are refused all the same."""
    content = bytearray(read("rgba.png"))
    content[-13] ^= 1

    with Image.open(BytesIO(content)) as picture:
        picture.load()
    with pytest.raises(InvalidImage, match="a checksum is wrong"):
        fitted(bytes(content))


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        pytest.param((1024, 768), Frame(Size(1024, 768), Size(1024, 768)), id="legal"),
        pytest.param((384, 5000), Frame(Size(384, 5000), Size(384, 5000)), id="both limits"),
        pytest.param((300, 200), Frame(Size(576, 384), Size(576, 384)), id="small"),
        pytest.param((1, 1), Frame(Size(384, 384), Size(384, 384)), id="one pixel"),
        pytest.param((8000, 6000), Frame(Size(5000, 3750), Size(5000, 3750)), id="large"),
        pytest.param((10_000, 768), Frame(Size(5000, 384), Size(5000, 384)), id="widest"),
        pytest.param((100, 1300), Frame(Size(384, 4992), Size(384, 4992)), id="narrow"),
        pytest.param((100, 1303), Frame(Size(100, 1303), Size(384, 1303)), id="too narrow"),
        pytest.param((9000, 100), Frame(Size(5000, 56), Size(5000, 384)), id="sliver"),
        pytest.param((60_000, 1), Frame(Size(5000, 1), Size(5000, 384)), id="line"),
    ],
)
def test_frame_of(size: tuple[int, int], frame: Frame) -> None:
    """Sides come within 384 to 5000 with the ratio kept; where none fits, there is padding."""
    assert frame_of(Size(*size), INPUTS) == frame


NOISE = random.Random(1).randbytes(500 * 400 * 3)


def noisy(kind: str) -> bytes:
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return saved(Image.frombytes("RGB", (500, 400), NOISE), kind, **options)


@pytest.mark.parametrize(
    ("limit", "adjusted", "size"),
    [
        pytest.param(400_000, ("reencoded",), Size(500, 400), id="first quality"),
        pytest.param(150_000, ("reencoded",), Size(500, 400), id="lower quality"),
        pytest.param(
            60_000, ("reencoded", "scaled:500x400->320x256"), Size(320, 256), id="smaller"
        ),
    ],
)
def test_a_heavy_picture_is_made_lighter(limit: int, adjusted: tuple[str, ...], size: Size) -> None:
    """Quality goes down in steps, then size, until the length is legal."""
    content = noisy("BMP")

    result = fitted(content, Aim(replace(INPUTS, most_bytes=limit)))

    assert len(result.content) <= limit < len(content)
    assert (result.adjusted, result.size) == (adjusted, size)
    assert result.moved is _says_that_it_moved(adjusted)


def test_a_picture_that_metadata_makes_heavy_only_loses_that() -> None:
    """If it fits without metadata, nothing is re-encoded."""
    content = read("exif_gps.jpg")
    aim = Aim(replace(INPUTS, most_bytes=len(content) - 100))

    assert fitted(content, aim).adjusted == ("metadata_removed",)


def test_reencoding_can_be_asked_for() -> None:
    """A picture that fits comes out as a JPEG of the same size, without a note."""
    content = read("rgb.png")

    result = reencode(content, inspect(content), Aim(INPUTS))

    assert (result.size, result.adjusted, result.moved) == (L, (), False)


@pytest.mark.parametrize("name", ["exif_6.jpg", "exif_6.png", "exif_8.webp", "exif_6.avif"])
def test_kept_metadata_of_a_turned_picture(name: str) -> None:
    """A picture that is drawn upright says so in the Exif that it keeps: it is not turned twice."""
    content = read(name)

    result = fitted(content, Aim(INPUTS, keep_metadata=True))

    assert result.adjusted[-1] == "rotated"
    assert result.content.count(b"Exif\x00\x00") == 1
    assert inspect(result.content).orientation == 1
    assert pixels(result.content) == pixels(fitted(content).content)


def test_kept_metadata_of_a_picture_that_is_reencoded() -> None:
    """Where the pixels cannot stay, the GPS position goes on all the same."""
    content = read("exif_gps.jpg")

    result = reencode(content, inspect(content), Aim(INPUTS, keep_metadata=True))

    with Image.open(BytesIO(result.content)) as picture, Image.open(BytesIO(content)) as source:
        position = picture.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        assert position
        assert position == source.getexif().get_ifd(ExifTags.IFD.GPSInfo)


def test_heic() -> None:
    """An iPhone's photograph becomes a JPEG of the same size."""
    result = fitted(read("photo.heic"))

    assert (result.media_type, result.size) == ("image/jpeg", L)
    assert result.adjusted == ("converted:heif",)
    assert difference(open_picture(result.content), open_picture(read("plain.jpg"))) < 10


def test_a_ratio_of_the_models_own() -> None:
    """A picture that is longer than the model takes is padded to its ratio."""
    made = fitted(read("sliver.jpg"), Aim(replace(INPUTS, shortest_side=50, most_ratio=8)))

    assert (made.size, made.adjusted) == (Size(2000, 250), ("padded:2000x100->2000x250",))
    assert made.moved


def test_a_model_that_takes_transparency() -> None:
    """It gets the file as it is; what has to be re-encoded still loses its transparency."""
    clear = Aim(replace(INPUTS, alpha=True))
    content = read("rgba.png")

    assert fitted(content, clear).content is content
    small = fitted(content, Aim(replace(clear.inputs, longest_side=450)))
    assert "alpha_flattened" in small.adjusted


def test_a_format_that_the_model_does_not_take() -> None:
    """A WEBP becomes a JPEG for a model that takes none."""
    made = fitted(read("lossy.webp"), Aim(replace(INPUTS, formats=("JPEG", "PNG"))))

    assert made.media_type == "image/jpeg"
