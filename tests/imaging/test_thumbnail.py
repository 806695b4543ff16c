"""gateway.imaging.finish."""

from io import BytesIO

import pytest
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.imaging.finish import SIDE, thumbnail
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import DecodeLimits, Imaging
from tests.imaging.pictures import drawn, read, saved


@pytest.mark.parametrize("name", ["plain.jpg", "rgb.png", "rgb.bmp"])
def test_small_and_square(name: str) -> None:
    """A picture of any form becomes a square WEBP of a few kilobytes."""
    result = thumbnail(read(name))

    with Image.open(BytesIO(result)) as small:
        assert (small.format, small.size) == ("WEBP", (SIDE, SIDE))
    assert len(result) < 6_000


@pytest.mark.parametrize("content", [b"no picture", read("rgb.png")[:200]])
def test_what_cannot_be_read(content: bytes) -> None:
    """Bytes that are no picture are told so."""
    with pytest.raises(InvalidImage):
        thumbnail(content)


@pytest.mark.anyio
async def test_made_by_a_free_thread_or_not_at_all() -> None:
    """It never waits behind clients' pictures, and a bad picture is none."""
    imaging = Imaging(DecodeLimits(threads=1))

    assert await imaging.thumbnail(read("rgb.png"))
    assert await imaging.thumbnail(b"no picture") is None
    await imaging._slots.take(SlotClaim("acme"), 0)
    assert await imaging.thumbnail(read("rgb.png")) is None
    await imaging.close()


@pytest.mark.anyio
async def test_a_large_one_has_its_share_of_memory_or_is_not_made() -> None:
    """What it takes to decode counts with clients' pictures, and is not waited for."""
    imaging = Imaging(DecodeLimits(threads=2))
    large = saved(drawn(2700, 2700))

    assert await imaging.thumbnail(large)
    await imaging._slots.take(SlotClaim("acme"), DecodeLimits().memory)
    assert await imaging.thumbnail(large) is None
    assert await imaging.thumbnail(read("rgb.png"))
