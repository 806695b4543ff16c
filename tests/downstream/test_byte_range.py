import pytest

from gateway.domain.errors import RangeNotSatisfiable
from gateway.downstream.byte_range import byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=5-5", (5, 6)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        (" Bytes=0-0 ", (0, 1)),
    ],
)
def test_one_range(header: str, expected: tuple[int, int]) -> None:
    """The first byte and the one after the last, within what there is."""
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize(
    "header",
    ["", "bytes=-", "bytes=9-0", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=٣-", "bytes=1"],
)
def test_the_whole(header: str) -> None:
    """What is malformed, or asks for several, gets everything."""
    assert byte_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_behind_the_end(header: str) -> None:
    """A range without a byte in it is refused, with the size."""
    with pytest.raises(RangeNotSatisfiable) as refused:
        byte_range(header, 100)

    assert refused.value.size == 100
