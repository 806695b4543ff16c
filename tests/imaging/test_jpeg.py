"""gateway.imaging.jpeg."""

from collections.abc import Callable

import pytest

from gateway.domain.errors import InvalidImage
from gateway.imaging import jpeg
from tests.imaging.pictures import drawn, noise, pixels, read, saved

PLAIN = read("plain.jpg")


def with_segment(marker: int, data: bytes) -> bytes:
    """The plain picture with one more segment in front."""
    segment = bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data
    return PLAIN[:2] + segment + PLAIN[2:]


@pytest.mark.parametrize(
    ("marker", "data"),
    [
        pytest.param(0xE1, b"Exif\x00\x00II*\x00", id="exif"),
        pytest.param(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x/>", id="xmp"),
        pytest.param(0xE2, b"MPF\x00II*\x00", id="index of more pictures"),
        pytest.param(0xED, b"Photoshop 3.0\x008BIM", id="iptc"),
        pytest.param(0xEB, b"JP\x00\x01c2pa", id="provenance"),
        pytest.param(0xFE, b"by Ada Example", id="comment"),
    ],
)
def test_what_no_decoder_needs_is_removed(marker: int, data: bytes) -> None:
    """A segment that may tell about the client is seen and cut out, and nothing else."""
    content = with_segment(marker, data)

    found, clean = jpeg.metadata(content), jpeg.strip_metadata(content)

    assert found.present
    assert clean == PLAIN


@pytest.mark.parametrize(
    ("marker", "data"),
    [
        pytest.param(0xE2, b"ICC_PROFILE\x00\x01\x01profile", id="icc profile"),
        pytest.param(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x01", id="adobe's transform"),
        pytest.param(0xE0, b"JFXX\x00\x10", id="jfif extension"),
    ],
)
def test_what_colours_need_stays(marker: int, data: bytes) -> None:
    """A segment that changes how pixels look is not metadata."""
    content = with_segment(marker, data)

    found, clean = jpeg.metadata(content), jpeg.strip_metadata(content)

    assert not found.present
    assert clean == content


def test_the_first_exif_block_counts() -> None:
    """Of two Exif blocks the first is read, as viewers do."""
    content = with_segment(0xE1, b"Exif\x00\x00second")
    content = content[:2] + b"\xff\xe1\x00\x0dExif\x00\x00first" + content[2:]

    assert jpeg.metadata(content).exif == b"Exif\x00\x00first"


@pytest.mark.parametrize(
    ("picture", "rest"),
    [
        pytest.param(PLAIN, b"tail", id="bytes"),
        pytest.param(PLAIN, b"\0", id="padding"),
        pytest.param(PLAIN, PLAIN, id="a second picture"),
        pytest.param(PLAIN, b"\0\0\0\x18ftypmp42" + bytes(99) + b"\xff\xd9", id="a film"),
        pytest.param(read("progressive.jpg"), read("exif_gps.jpg"), id="progressive"),
        pytest.param(read("exif_gps.jpg"), b"tail", id="with metadata"),
        pytest.param(PLAIN, b"", id="nothing"),
    ],
)
def test_what_hangs_behind_the_picture_is_seen(picture: bytes, rest: bytes) -> None:
    """The picture ends at its own end mark, behind all of its scans."""
    assert jpeg.end(picture + rest) == len(picture)
    assert jpeg.metadata(picture + rest).rest == len(rest)


def test_an_end_mark_in_a_table_is_no_end() -> None:
    """A table between two scans may hold the end mark's bytes."""
    content = read("progressive.jpg")
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    table = b"\xff\xfe\x00\x04\xff\xd9"

    assert jpeg.metadata(content[:second] + table + content[second:] + b"tail").rest == 4
    assert jpeg.metadata(content[:second] + table + content[second:-2]).rest == 0


NOTES = b"\xff\xfe\x00\x0aby Ada E" + b"\xff\xe1\x00\x08GPS: 1" + b"\xff\xee\x00\x07Adobe"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda content: content.rindex(b"\xff\xda"), id="between scans"),
        pytest.param(lambda content: content.rindex(b"\xff\xc4"), id="in front of a table"),
        pytest.param(lambda content: len(content) - 2, id="behind the last scan"),
    ],
)
@pytest.mark.parametrize("name", ["progressive.jpg", "plain.jpg"])
def test_notes_behind_the_first_scan_are_removed(name: str, place: Callable[[bytes], int]) -> None:
    """A comment or Exif block among the scans goes, and the coded data stays byte for byte."""
    content = read(name)
    at = place(content)
    noted = content[:at] + NOTES + content[at:]

    assert jpeg.metadata(noted).present
    assert jpeg.strip_metadata(noted).replace(NOTES[-9:], b"") == content
    assert b"Ada" not in jpeg.strip_metadata(noted)
    assert not jpeg.metadata(content).present


def test_a_large_picture_with_a_note_behind_its_scan_is_whole() -> None:
    """What no decoder needs does not make a picture a damaged one."""
    content = saved(noise((600, 600)), "JPEG", quality=95)

    assert jpeg.first_part(content[:-2] + NOTES + content[-2:], 999) == jpeg.first_part(
        content, 999
    )


def test_endless_segments_behind_the_first_scan_are_refused() -> None:
    """They would keep us busy; no encoder writes thousands."""
    content = PLAIN[:-2] + b"\xff\xe5\x00\x02" * 5000 + PLAIN[-2:] + b"tail"

    with pytest.raises(InvalidImage, match="at most 4096 segments"):
        jpeg.metadata(content)


def test_a_missing_end_keeps_everything() -> None:
    """A file without an end marker is kept to its last byte."""
    assert jpeg.strip_metadata(PLAIN[:-2]) == PLAIN[:-2]
    assert jpeg.metadata(PLAIN[:-2]).rest == 0


def test_a_file_of_nothing_but_a_start_stays() -> None:
    """Where no segment is found, nothing is cut."""
    assert jpeg.strip_metadata(b"\xff\xd8\xff\xd9") == b"\xff\xd8\xff\xd9"


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    """Fill bytes are legal; the segment after them is still seen."""
    content = with_segment(0xFE, b"note")

    assert jpeg.metadata(content[:2] + b"\xff\xff" + content[2:]).present


def test_pixels_stay_when_metadata_goes() -> None:
    """Without Exif, XMP and comment the picture decodes to the same pixels."""
    content = read("exif_gps.jpg")

    clean = jpeg.strip_metadata(content)

    assert b"Ada" not in clean
    assert b"ICC_PROFILE" in clean
    assert pixels(clean) == pixels(content)


def test_endless_segments_are_refused() -> None:
    """A head of thousands of empty segments is refused."""
    content = PLAIN[:2] + b"\xff\xe5\x00\x02" * 5000 + PLAIN[2:]

    with pytest.raises(InvalidImage, match="at most 4096 segments"):
        jpeg.metadata(content)


def test_endless_scans_are_refused() -> None:
    """A file of a hundred and one scans is refused; an honest progressive one is not."""
    jpeg.check_scans(read("progressive.jpg"))

    with pytest.raises(InvalidImage, match="at most 100 scans"):
        jpeg.check_scans(read("progressive.jpg") + b"\xff\xda\x00\x02" * 100)


@pytest.mark.parametrize(
    ("content", "single"),
    [
        pytest.param(PLAIN, True, id="baseline"),
        pytest.param(saved(drawn(8, 8, 7, "L"), "JPEG"), True, id="gray"),
        pytest.param(read("exif_gps.jpg"), True, id="with metadata"),
        pytest.param(read("progressive.jpg"), False, id="progressive"),
        pytest.param(
            PLAIN.replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x08\x01"),
            False,
            id="one colour in the first scan",
        ),
        pytest.param(b"\xff\xd8\xff\xd9", False, id="no frame"),
    ],
)
def test_single_pass(content: bytes, single: bool) -> None:
    """A baseline frame whose first scan has all colours is read in one pass."""
    assert jpeg.is_single_pass(content) == single


def test_what_follows_a_single_pass_is_not_counted() -> None:
    """A decoder never reads it, so it costs nothing."""
    jpeg.check_scans(PLAIN + b"\xff\xda\x00\x02" * 1000)
