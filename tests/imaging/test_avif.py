"""gateway.imaging.avif."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.avif import coded_pixels
from gateway.imaging.cost import check_pixels
from gateway.imaging.inspect import inspect, verify
from tests.imaging.pictures import drawn, read, saved

Field = tuple[int, int]
"""A value and its length in bits."""

WIDE = 65_536
SIZE: tuple[Field, ...] = ((15, 4), (15, 4), (WIDE - 1, 16), (WIDE - 1, 16))
SMALL: tuple[Field, ...] = ((5, 4), (4, 4), (39, 6), (29, 5))
REDUCED: tuple[Field, ...] = ((0, 3), (1, 1), (1, 1), (0, 5))
VIDEO: tuple[Field, ...] = ((0, 3), (0, 1), (0, 1))
ONE_POINT: tuple[Field, ...] = ((0, 1), (0, 5), (0, 12), (5, 5))

BUFFERS: tuple[Field, ...] = (
    *((1, 1), (0, 64), (0, 1), (1, 1), (9, 5), (0, 42), (1, 1), (1, 5)),
    *((0, 12), (8, 5), (1, 1), (1, 1), (0, 21), (1, 1), (3, 4)),
    *((0, 12), (5, 5), (0, 1), (0, 1)),
)


def packed(*fields: Field) -> bytes:
    bits = "".join(format(value, f"0{length}b") for value, length in fields)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def obu(kind: int, content: bytes) -> bytes:
    return bytes((kind << 3 | 2, len(content))) + content


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def item_of(*header: Field, frames: int = 1) -> bytes:
    return obu(2, b"") + obu(1, packed(*header)) + frames * obu(6, b"\0\0")


def iloc(*items: tuple[int, int, int], version: int = 1, method: int = 1) -> bytes:
    """*items*: number, start, length."""
    wide = 4 if version == 2 else 2
    rows = b""
    for number, start, length in items:
        rows += number.to_bytes(wide, "big")
        if version:
            rows += method.to_bytes(2, "big")
        rows += b"\0\0\0\1" + start.to_bytes(4, "big") + length.to_bytes(4, "big")
    return box(b"iloc", bytes((version, 0, 0, 0, 0x44, 0)), len(items).to_bytes(wide, "big"), rows)


def infe(number: int, kind: bytes, version: int = 2) -> bytes:
    wide = 4 if version == 3 else 2
    return box(b"infe", bytes((version, 0, 0, 0)), number.to_bytes(wide, "big"), b"\0\0", kind)


def iinf(*entries: bytes, version: int = 0) -> bytes:
    count = len(entries).to_bytes(4 if version else 2, "big")
    return box(b"iinf", bytes((version, 0, 0, 0)), count, *entries)


def file_of(
    parts: Sequence[tuple[bytes, bytes]], version: int = 1, *more: bytes, behind: bytes = b""
) -> bytes:
    """A file whose items stand in idat: each of a kind, with its bytes."""
    rows, at = [], 0
    for number, (_, content) in enumerate(parts, start=1):
        rows.append((number, at, len(content)))
        at += len(content)
    entries = [infe(number, kind) for number, (kind, _) in enumerate(parts, start=1)]
    idat = box(b"idat", *(content for _, content in parts))
    meta = box(b"meta", bytes(4), iloc(*rows, version=version), iinf(*entries), idat, *more)
    return box(b"ftyp", b"avif", bytes(4), b"avifmif1") + meta + behind


def as_stored(content: bytes, side: int) -> bytes:
    """The same file with another size in its boxes."""
    at = content.index(b"ispe") + 8
    return content[:at] + 2 * side.to_bytes(4, "big") + content[at + 8 :]


@pytest.mark.parametrize(
    ("header", "pixels"),
    [
        pytest.param((*REDUCED, *SMALL), 40 * 30, id="still picture"),
        pytest.param((*REDUCED, *SIZE), WIDE * WIDE, id="the largest there is"),
        pytest.param((*VIDEO, (0, 1), *ONE_POINT, *SMALL), 64 * 32, id="frames of any size"),
        pytest.param(
            (*VIDEO, (1, 1), (0, 64), (1, 1), (1, 3), (0, 2), (0, 1), *ONE_POINT, *SMALL),
            64 * 32,
            id="with a time for each",
        ),
        pytest.param(
            (*VIDEO, (1, 1), (0, 64), (1, 1), (0, 32), (1, 1), (0, 1), *ONE_POINT, *SMALL),
            64 * 32,
            id="with no end to it",
        ),
        pytest.param(
            (*VIDEO, *BUFFERS, *SMALL),
            64 * 32,
            id="with buffers and two operating points",
        ),
    ],
)
def test_what_a_sequence_header_says(header: Sequence[Field], pixels: int) -> None:
    """A frame is as large as its header says, or may say."""
    assert coded_pixels(file_of([(b"av01", item_of(*header))])) == pixels // 2


def test_all_that_is_decoded_counts() -> None:
    """Frames that a decoder keeps count each, as do tiles, and what a grid makes of them."""
    small = item_of(*REDUCED, *SMALL)
    grid = bytes((0, 0, 0, 1)) + (50).to_bytes(2, "big") + (40).to_bytes(2, "big")
    large_grid = bytes((0, 1, 0, 1)) + 2 * WIDE.to_bytes(4, "big")

    assert coded_pixels(file_of([(b"av01", item_of(*REDUCED, *SMALL, frames=9))])) == 9 * 600
    assert coded_pixels(file_of([(b"av01", small)] * 4)) == 4 * 600
    assert coded_pixels(file_of([(b"av01", small)] * 2 + [(b"grid", grid)])) == 2000
    assert coded_pixels(file_of([(b"av01", small), (b"grid", large_grid)])) == WIDE * WIDE
    assert coded_pixels(file_of([(b"av01", small), (b"Exif", b"\0" * 9)])) == 600
    assert coded_pixels(file_of([(b"av01", small)], 2)) == 600


def test_equal_tiles_count_each() -> None:
    """An encoder writes the tiles of a plain picture once, for all of them."""
    place = (0, len(GOOD[0][1]))
    tiles = range(1, 101)
    kinds = iinf(*(infe(number, b"av01") for number in tiles))

    assert coded_pixels(with_meta(iloc(*((it, *place) for it in tiles)), kinds, IDAT)) == 100 * 600


def test_an_obu_without_a_length() -> None:
    """It goes on to the end of its item; one of a layer has a byte more in front."""
    header = packed(*REDUCED, *SMALL)
    item = bytes((1 << 3 | 6, 0, len(header))) + header + bytes((6 << 3,)) + b"\0\0"

    assert coded_pixels(file_of([(b"av01", item)])) == 600


def test_a_long_box() -> None:
    """A box may say its length in 64 bits, or go on to the end of the file."""
    content = file_of([(b"av01", item_of(*REDUCED, *SMALL))])
    at = content.index(b"meta") - 4
    meta = content[at + 8 :]
    long = content[:at] + b"\0\0\0\1meta" + (16 + len(meta)).to_bytes(8, "big") + meta

    assert coded_pixels(long) == 600
    assert coded_pixels(content[:at] + bytes(4) + content[at + 4 :]) == 600


GOOD = [(b"av01", item_of(*REDUCED, *SMALL))]
IDAT = box(b"idat", GOOD[0][1])


def with_meta(*boxes: bytes) -> bytes:
    return box(b"ftyp", b"avif", bytes(4)) + box(b"meta", bytes(4), *boxes)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(file_of(GOOD, behind=box(b"meta", bytes(4))), id="two metas"),
        pytest.param(file_of(GOOD, 1, IDAT), id="two idats"),
        pytest.param(file_of(GOOD, behind=b"\0\0\0\4free"), id="a box shorter than its head"),
        pytest.param(file_of(GOOD, behind=box(b"free") * 5000), id="many boxes"),
        pytest.param(file_of([(b"av01", obu(6, b"\0"))]), id="no sequence header"),
        pytest.param(file_of([(b"av01", obu(1, b"\x18"))]), id="a header cut short"),
        pytest.param(file_of([(b"av01", obu(2, b"") * 5000)]), id="many OBUs"),
        pytest.param(file_of([(b"av01", b"\x0a")]), id="an OBU cut short"),
        pytest.param(file_of([(b"av01", b"\x0a" + b"\xff" * 9)]), id="a length without an end"),
        pytest.param(file_of([(b"hvc1", GOOD[0][1])]), id="no item of AV1"),
        pytest.param(with_meta(iinf(infe(1, b"av01")), IDAT), id="no places"),
        pytest.param(with_meta(iloc((1, 0, 9)), IDAT), id="no kinds"),
        pytest.param(
            with_meta(iloc((1, 0, 9), method=2), iinf(infe(1, b"av01")), IDAT), id="other items"
        ),
        pytest.param(
            with_meta(iloc((1, 0, 9), (1, 0, 9)), iinf(infe(1, b"av01")), IDAT), id="two places"
        ),
        pytest.param(
            with_meta(iloc((1, 0, 9)), iinf(infe(1, b"av01"), infe(1, b"Exif")), IDAT),
            id="two kinds",
        ),
        pytest.param(
            with_meta(
                iloc(*((number, number, 9999) for number in range(1, 99))),
                iinf(*(infe(number, b"av01") for number in range(1, 99))),
                box(b"idat", GOOD[0][1]),
            ),
            id="overlapping items",
        ),
        pytest.param(
            with_meta(iloc((1, 0, 0)), iinf(infe(1, b"av01")), IDAT), id="all of the file"
        ),
        pytest.param(
            with_meta(box(b"iloc", b"\0\0\0\0\x44\0\xff\xff"), iinf(infe(1, b"av01"))),
            id="many items",
        ),
        pytest.param(
            with_meta(box(b"iloc", b"\0\0\0\0\x44\0\0\1"), iinf(infe(1, b"av01"))),
            id="places cut short",
        ),
        pytest.param(
            with_meta(
                box(
                    b"iloc",
                    b"\0\0\0\0\x04\0\0\2",
                    *(it + b"\0\0\x03\xff" + 1023 * b"\0\0\0\1" for it in (b"\0\1", b"\0\2")),
                ),
                iinf(infe(1, b"av01")),
            ),
            id="many extents",
        ),
    ],
)
def test_what_cannot_be_confirmed(content: bytes) -> None:
    """A file whose coded size is not told is refused before a decoder sees it."""
    with pytest.raises(InvalidImage, match="do not say how large it is"):
        coded_pixels(content)


def test_version_3_and_a_wide_count() -> None:
    """Items may be numbered in 32 bits."""
    places = iloc((1, 0, len(GOOD[0][1])), version=2)
    content = with_meta(places, iinf(infe(1, b"av01", 3), box(b"free"), version=1), IDAT)

    assert coded_pixels(content) == 600


def test_a_picture_that_lies_of_its_size() -> None:
    """What a decoder would make counts, not what the box in front says."""
    honest = saved(drawn(1200, 900), "AVIF", speed=10)

    inspected = inspect(as_stored(honest, 16))

    assert inspected.size == Size(16, 16)
    assert inspected.coded_pixels == 1200 * 900 // 2
    verify(honest, inspect(honest))


def test_a_picture_that_hides_too_many_pixels() -> None:
    """It is refused by its head, in words that name what is hidden."""
    inspected = inspect(saved(drawn(64, 64), "AVIF", speed=10))

    with pytest.raises(InvalidImage, match="2,147,483,648 coded pixels is more than a AVIF"):
        check_pixels(replace(inspected, coded_pixels=WIDE * WIDE // 2))


def test_a_sequence_is_read_by_its_first_picture() -> None:
    """Its other frames are told, and its track is read by nobody."""
    first = Image.effect_noise((64, 48), 60).convert("RGB")
    content = saved(first, "AVIF", save_all=True, append_images=[drawn(64, 48)], speed=10)

    inspected = inspect(content)

    assert inspected.frames == 2
    assert inspected.coded_pixels == 64 * 64 // 2
    verify(content, inspected)


def test_photographs_are_read() -> None:
    """Those of the data folder cost what their size says."""
    for name in ("photo.avif", "exif_6.avif"):
        inspected = inspect(read(name))
        assert 0 < inspected.coded_pixels <= inspected.size.width * inspected.size.height
