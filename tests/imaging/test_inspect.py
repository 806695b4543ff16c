"""gateway.imaging.inspect."""

import zlib

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging import inspect as module
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import Inspected, inspect, pixels_of
from tests.imaging.pictures import NAMES, drawn, read, saved

L, P = Size(480, 400), Size(400, 480)
JPEG, PNG, WEBP, BMP = "image/jpeg", "image/png", "image/webp", "image/bmp"
GIF, TIFF, AVIF = "image/gif", "image/tiff", "image/avif"

SOUND = {
    "plain.jpg": Inspected("JPEG", JPEG, L, "RGB", has_alpha=False),
    "progressive.jpg": Inspected("JPEG", JPEG, L, "RGB", has_alpha=False, one_pass=False),
    "gray.jpg": Inspected("JPEG", JPEG, L, "L", has_alpha=False),
    "cmyk.jpg": Inspected("JPEG", JPEG, L, "CMYK", has_alpha=False, foreign_colours=True),
    "icc.jpg": Inspected("JPEG", JPEG, L, "RGB", has_alpha=False),
    "small.jpg": Inspected("JPEG", JPEG, Size(300, 200), "RGB", has_alpha=False),
    "wide.jpg": Inspected("JPEG", JPEG, Size(5400, 400), "RGB", has_alpha=False),
    "sliver.jpg": Inspected("JPEG", JPEG, Size(2000, 100), "RGB", has_alpha=False),
    "exif_gps.jpg": Inspected("JPEG", JPEG, L, "RGB", has_alpha=False, has_metadata=True),
    "exif_3.jpg": Inspected("JPEG", JPEG, L, "RGB", False, 3, has_metadata=True),
    "exif_6.jpg": Inspected("JPEG", JPEG, L, "RGB", False, 6, has_metadata=True),
    "exif_8.jpg": Inspected("JPEG", JPEG, L, "RGB", False, 8, has_metadata=True),
    "rgb.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False),
    "rgba.png": Inspected("PNG", PNG, L, "RGBA", has_alpha=True),
    "palette.png": Inspected("PNG", PNG, L, "P", has_alpha=False),
    "palette_clear.png": Inspected("PNG", PNG, L, "P", has_alpha=True),
    "gray.png": Inspected("PNG", PNG, L, "L", has_alpha=False),
    "gray_alpha.png": Inspected("PNG", PNG, L, "LA", has_alpha=True),
    "bilevel.png": Inspected("PNG", PNG, L, "1", has_alpha=False),
    "gray16.png": Inspected("PNG", PNG, L, "I;16", has_alpha=False),
    "rgb16.png": Inspected("PNG", PNG, L, "RGB;16", has_alpha=False),
    "interlaced.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False),
    "exif_6.png": Inspected("PNG", PNG, L, "RGB", False, 6, has_metadata=True),
    "notes.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False, has_metadata=True),
    "animated.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False, frames=2),
    "palette.bmp": Inspected("BMP", BMP, Size(384, 384), "P", has_alpha=False),
    "rgb.bmp": Inspected("BMP", BMP, Size(384, 384), "RGB", has_alpha=False),
    "lossy.webp": Inspected("WEBP", WEBP, L, "RGB", has_alpha=False),
    "lossless.webp": Inspected("WEBP", WEBP, L, "RGB", has_alpha=False),
    "alpha.webp": Inspected("WEBP", WEBP, L, "RGBA", has_alpha=True),
    "animated.webp": Inspected("WEBP", WEBP, L, "RGBA", has_alpha=True, frames=2),
    "exif_8.webp": Inspected("WEBP", WEBP, L, "RGB", False, 8, has_metadata=True),
    "exif_gps.webp": Inspected("WEBP", WEBP, L, "RGB", has_alpha=False, has_metadata=True),
    "still.gif": Inspected("GIF", GIF, L, "P", has_alpha=False),
    "animated.gif": Inspected("GIF", GIF, L, "P", has_alpha=False),
    "lzw.tiff": Inspected("TIFF", TIFF, L, "RGB", has_alpha=False),
    "exif_6.tiff": Inspected("TIFF", TIFF, P, "RGB", has_alpha=False),
    "photo.avif": Inspected("AVIF", AVIF, L, "RGB", has_alpha=False),
    "exif_6.avif": Inspected("AVIF", AVIF, L, "RGB", has_alpha=False, orientation=6),
    "photo.heic": Inspected("HEIF", "image/heic", L, "RGB", has_alpha=False),
    # Their heads are sound; gateway.imaging.inspect finds the rest.
    "truncated.jpg": Inspected("JPEG", JPEG, L, "RGB", has_alpha=False),
    "truncated.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False),
    "corrupt.png": Inspected("PNG", PNG, L, "RGB", has_alpha=False),
    "truncated.gif": Inspected("GIF", GIF, L, "P", has_alpha=False),
}
BROKEN = {
    "head_only.jpg": "it is damaged or cut short",
    "truncated.webp": "it is damaged or cut short",
    "bomb.png": "60000x60000 is over 100 million pixels",
    "no_pixels.png": "it is damaged or cut short",
    "empty.png": "it has no bytes",
    "text.png": "its bytes are not a JPEG, PNG, WEBP, BMP, GIF, TIFF or AVIF picture",
    "page.jpg": "its bytes are not a JPEG, PNG, WEBP, BMP, GIF, TIFF or AVIF picture",
}


def test_every_file_has_its_row() -> None:
    """No picture lies about untested."""
    assert set(NAMES) == {*SOUND, *BROKEN}


@pytest.mark.parametrize("name", SOUND)
def test_sound_head(name: str) -> None:
    """The head tells format, size, mode, turn, notes and frames."""
    if name == "photo.heic" and not heif_readable():
        pytest.skip("pillow-heif is not installed")

    assert inspect(read(name)) == SOUND[name]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_head(name: str) -> None:
    """A head that cannot be used is refused with its reason."""
    with pytest.raises(InvalidImage) as caught:
        inspect(read(name))

    assert caught.value.message == BROKEN[name]


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pillow-heif an iPhone's photograph is refused with what to do."""
    monkeypatch.setattr(module, "heif_readable", lambda: False)

    with pytest.raises(InvalidImage, match=r"install 'wan-gateway\[heic\]', or send JPEG, PNG"):
        inspect(read("photo.heic"))


def test_a_huge_webp_is_refused_before_it_is_opened() -> None:
    """The canvas in the head is believed, so that no room is made for it."""
    head = b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\xff\x3f\x00" * 2

    with pytest.raises(InvalidImage, match="16384x16384 is over 100 million pixels"):
        inspect(head)


def test_a_webp_that_hides_its_size_is_refused() -> None:
    """Where the head says nothing of a size, opening finds it damaged."""
    with pytest.raises(InvalidImage, match="damaged or cut short"):
        inspect(b"RIFF\x16\x00\x00\x00WEBPJUNK" + bytes(20))


def test_sixteen_bits_with_transparency() -> None:
    """Depth and alpha are both told of one PNG."""
    plain = read("rgba.png")
    head = b"IHDR" + plain[16:24] + b"\x10" + plain[25:29]
    content = plain[:12] + head + zlib.crc32(head).to_bytes(4, "big") + plain[33:]

    assert inspect(content).mode == "RGBA;16"


def test_upright_size() -> None:
    """From orientation 5 on, width and height change places."""
    as_stored, upright = inspect(read("exif_6.jpg")), inspect(read("exif_3.jpg"))

    assert (as_stored.size, as_stored.upright) == (L, P)
    assert (upright.size, upright.upright) == (L, L)


def test_a_name_is_not_believed() -> None:
    """A WEBP that is called .png is a WEBP."""
    assert inspect(saved(drawn(400, 400), "WEBP")).media_type == "image/webp"


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(read("rgb.png"), L, id="png"),
        pytest.param(read("plain.jpg"), L, id="jpeg"),
        pytest.param(read("lossy.webp"), L, id="webp"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", None, id="png-cut-short"),
        pytest.param(b"<xml/>", None, id="not-a-picture"),
    ],
)
def test_pixels_of(content: bytes, size: Size | None) -> None:
    """The size of a result stands in its first bytes, whatever lies between them and the pixels."""
    assert pixels_of(content) == size
