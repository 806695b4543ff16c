"""gateway.imaging.webp."""

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging import webp
from tests.imaging.pictures import drawn, pixels, read, saved


@pytest.mark.parametrize(
    "name", ["lossy.webp", "lossless.webp", "alpha.webp", "animated.webp", "exif_gps.webp"]
)
def test_canvas(name: str) -> None:
    """Each kind of first chunk tells the size."""
    assert webp.canvas(read(name)) == Size(480, 400)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"RIFF\x00\x00\x00\x00WEBPVP8X", id="cut short"),
        pytest.param(b"RIFF\x40\x00\x00\x00WEBPJUNK" + bytes(20), id="unknown chunk"),
    ],
)
def test_no_canvas(content: bytes) -> None:
    """A head that says nothing of a size gives none."""
    assert webp.canvas(content) is None


def test_metadata_is_removed() -> None:
    """Exif and XMP go, with their flags; what stays decodes to the same pixels."""
    content = read("exif_gps.webp")

    clean = webp.strip_metadata(content)

    assert webp.metadata(content).present
    assert not webp.metadata(clean).present
    assert b"Ada" not in clean
    assert clean[20] & 0x0C == 0
    assert int.from_bytes(clean[4:8], "little") == len(clean) - 8
    assert pixels(clean) == pixels(content)


def test_exif_is_read() -> None:
    """The Exif chunk comes without its frame."""
    assert webp.metadata(read("exif_8.webp")).exif[:4] in (b"Exif", b"II*\x00", b"MM\x00*")


def test_icc_profile_stays() -> None:
    """The profile is no metadata: colours need it."""
    content = saved(drawn(400, 400), "WEBP", icc_profile=b"a profile of some bytes")

    assert not webp.metadata(content).present
    assert webp.strip_metadata(content) == content


def test_plain_file_stays() -> None:
    """A file with one chunk is the same afterwards."""
    content = read("lossy.webp")

    assert webp.strip_metadata(content) == content


def test_endless_chunks_are_refused() -> None:
    """A file of ten thousand empty chunks is refused."""
    with pytest.raises(InvalidImage, match="at most 10000 chunks"):
        webp.metadata(b"RIFF\xff\xff\xff\x00WEBP" + b"prVt\x00\x00\x00\x00" * 10_002)


def test_what_hangs_behind_the_picture_is_seen() -> None:
    """The head tells where the picture ends; what follows is counted, and no chunk of it."""
    content = read("lossy.webp")

    found = webp.metadata(content + b"EXIF" + bytes(20))

    assert found.rest == 24
    assert not found.present
    assert webp.metadata(content).rest == 0


def test_a_canvas_behind_another_chunk() -> None:
    """A chunk in front of the picture does not hide its size."""
    content = read("lossy.webp")
    behind = content[:12] + b"prVt\x02\x00\x00\x00ab" + content[12:]
    behind = behind[:4] + (len(behind) - 8).to_bytes(4, "little") + behind[8:]

    assert webp.canvas(behind) == Size(480, 400)
