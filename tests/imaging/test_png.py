"""gateway.imaging.png."""

import struct
import zlib

import pytest

from gateway.domain.errors import InvalidImage
from gateway.imaging import png
from tests.imaging.pictures import pixels, read

PLAIN = read("rgb.png")
_HEAD_END = 8 + 25


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(name: bytes, data: bytes) -> bytes:
    """The plain picture with one more chunk behind its head."""
    return PLAIN[:_HEAD_END] + chunk(name, data) + PLAIN[_HEAD_END:]


@pytest.mark.parametrize("name", [b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"caBX", b"prVt"])
def test_what_no_decoder_needs_is_removed(name: bytes) -> None:
    """Exif, texts, times and private chunks are seen and cut out, and nothing else."""
    content = with_chunk(name, b"Author\x00Ada Example")

    found, clean = png.metadata(content), png.strip_metadata(content)

    assert found.present
    assert clean == PLAIN


@pytest.mark.parametrize("name", [b"iCCP", b"gAMA", b"sRGB", b"pHYs", b"tRNS", b"cICP"])
def test_what_colours_need_stays(name: bytes) -> None:
    """A chunk that changes how pixels look is not metadata."""
    content = with_chunk(name, b"data")

    found, clean = png.metadata(content), png.strip_metadata(content)

    assert not found.present
    assert clean == content


def test_exif_is_read() -> None:
    """The data of eXIf comes without its frame."""
    assert png.metadata(with_chunk(b"eXIf", b"II*\x00")).exif == b"II*\x00"


def test_what_hangs_behind_the_end_is_seen() -> None:
    """Bytes after IEND, such as the rest of a cropped screenshot, are counted."""
    assert png.metadata(PLAIN + b"rest of a screenshot").rest == 20
    assert png.metadata(PLAIN).rest == 0
    assert png.metadata(PLAIN[:-4]).rest == 0


@pytest.mark.parametrize("name", [b"iCCP", b"eXIf", b"cICP", b"gAMA"])
def test_what_stands_there_once_is_not_unpacked_twice(name: bytes) -> None:
    """A second chunk of such a kind is refused: thousands would each cost a megabyte."""
    content = with_chunk(name, b"data")
    content = content[:_HEAD_END] + chunk(name, b"more") + content[_HEAD_END:]

    with pytest.raises(InvalidImage, match=f"may have one {name.decode()} chunk"):
        png.metadata(content)


def test_pixels_stay_when_metadata_goes() -> None:
    """Without its notes the picture decodes to the same pixels."""
    content = read("notes.png")

    clean = png.strip_metadata(content)

    assert b"Ada" not in clean
    assert pixels(clean) == pixels(content)


def test_wrong_checksum_of_pixels_is_found() -> None:
    """A flipped bit in a chunk of pixels shows in its checksum."""
    with pytest.raises(InvalidImage, match="a checksum is wrong"):
        png.check_sums(read("corrupt.png"))


def test_wrong_checksum_of_a_note_is_let_pass() -> None:
    """A flipped bit in a text does no harm to the picture; libpng lets it pass, too."""
    png.check_sums(with_chunk(b"tEXt", b"a\x00b").replace(b"a\x00b", b"a\x00c"))


def test_cut_short_is_found() -> None:
    """A chunk that is longer than the file is named as that."""
    with pytest.raises(InvalidImage, match="it is cut short"):
        png.check_sums(read("truncated.png"))


def test_a_missing_end_is_no_harm_here() -> None:
    """The walk over the chunks ends with the file."""
    assert png.strip_metadata(PLAIN[:-12]) == PLAIN[:-12]


def test_endless_chunks_are_refused() -> None:
    """A file of tens of thousands of empty chunks is refused."""
    content = PLAIN[:_HEAD_END] + chunk(b"prVt", b"") * 30_001

    with pytest.raises(InvalidImage, match="at most 30000 chunks"):
        png.metadata(content)
