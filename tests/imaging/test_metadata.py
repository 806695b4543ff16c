"""gateway.imaging.metadata."""

import struct

import pytest

from gateway.imaging.metadata import orientation, upright


def block(order: str, *entries: tuple[int, int]) -> bytes:
    """A TIFF header and one directory of SHORT values."""
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    rows = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    return head + struct.pack(order + "IH", 8, len(entries)) + rows


@pytest.mark.parametrize(
    ("exif", "turn"),
    [
        pytest.param(block("<", (0x0112, 6)), 6, id="little end"),
        pytest.param(block(">", (0x0112, 8)), 8, id="big end"),
        pytest.param(b"Exif\x00\x00" + block(">", (0x0112, 3)), 3, id="with its prefix"),
        pytest.param(block("<", (0x010F, 9), (0x0112, 5)), 5, id="second entry"),
        pytest.param(block("<", (0x010F, 9)), 1, id="not told"),
        pytest.param(block("<", (0x0112, 9)), 1, id="out of range"),
        pytest.param(block("<", (0x0112, 0)), 1, id="zero"),
        pytest.param(block("<", (0x0112, 6))[:-4], 1, id="cut short"),
        pytest.param(b"II*\x00\xff\xff\xff\xff", 1, id="directory beyond the end"),
        pytest.param(b"II", 1, id="two bytes"),
        pytest.param(b"nonsense", 1, id="no header"),
        pytest.param(b"", 1, id="nothing"),
    ],
)
def test_orientation(exif: bytes, turn: int) -> None:
    """The orientation is read from either byte order; a broken block means upright."""
    assert orientation(exif) == turn


@pytest.mark.parametrize("order", ["<", ">"])
def test_upright(order: str) -> None:
    """A block keeps all that it says but the orientation, behind the prefix of a JPEG."""
    exif = block(order, (0x010F, 9), (0x0112, 6), (0x0128, 2))

    assert upright(exif) == b"Exif\x00\x00" + block(order, (0x010F, 9), (0x0112, 1), (0x0128, 2))
    assert upright(b"Exif\x00\x00" + exif) == upright(exif)


def test_upright_where_nothing_is_told() -> None:
    """A block without an orientation goes on as it is."""
    assert upright(block("<", (0x010F, 9))) == b"Exif\x00\x00" + block("<", (0x010F, 9))


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"nonsense", id="no header"),
        pytest.param(block("<", (0x0112, 6)) + bytes(65_000), id="too long for a JPEG"),
    ],
)
def test_what_cannot_go_on(exif: bytes) -> None:
    """A block that a JPEG does not take is left out."""
    assert upright(exif) == b""
