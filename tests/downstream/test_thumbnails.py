import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.downstream.viewers import MOST_THUMBNAILS, Thumbnails
from tests.warp import WARP

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


@dataclass
class Shrinker:
    """Makes of each picture its first bytes; b"bad" cannot be read."""

    seen: list[bytes] = field(default_factory=list)
    watched: bool = True
    length: int = 3

    async def __call__(self, content: bytes) -> bytes | None:
        await asyncio.sleep(0.1)
        self.seen.append(content)
        return None if content == b"bad" else content[:3] * (self.length // 3)

    def thumbnails(self) -> Thumbnails:
        return Thumbnails(self, lambda: self.watched)


@asynccontextmanager
async def at_work(thumbnails: Thumbnails) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(thumbnails.run())
        yield
        await asyncio.sleep(1.0)
        task.cancel()


async def test_a_picture_of_an_edit() -> None:
    """While somebody watches, the first picture of an edit is shrunk and kept by its id."""
    shrinker = Shrinker()
    thumbnails = shrinker.thumbnails()

    async with at_work(thumbnails):
        thumbnails.offer("edit_1", b"picture")
    thumbnails.offer("edit_1", b"again")

    assert thumbnails.of("edit_1") == b"pic"
    assert thumbnails.edit_ids() == ("edit_1",)
    assert thumbnails.of("edit_2") is None
    assert shrinker.seen == [b"picture"]


@pytest.mark.parametrize(
    ("watched", "content"),
    [
        pytest.param(False, b"picture", id="nobody watches"),
        pytest.param(True, b"", id="a URL or a generation"),
        pytest.param(True, bytes(4_000_001), id="too large"),
        pytest.param(True, b"bad", id="not readable"),
    ],
)
async def test_no_picture(watched: bool, content: bytes) -> None:
    """What nobody sees, what has no bytes, too many or bad ones has no small picture."""
    shrinker = Shrinker(watched=watched)
    thumbnails = shrinker.thumbnails()

    async with at_work(thumbnails):
        thumbnails.offer("edit_1", content)

    assert thumbnails.edit_ids() == ()
    assert shrinker.seen == ([b"bad"] if content == b"bad" else [])


async def test_a_burst_is_cut() -> None:
    """Of many that come at once a few are taken: nobody waits for them."""
    shrinker = Shrinker()
    thumbnails = shrinker.thumbnails()

    for number in range(30):
        thumbnails.offer(f"edit_{number}", b"picture")
    async with at_work(thumbnails):
        pass

    assert len(shrinker.seen) == 8


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        pytest.param(3, MOST_THUMBNAILS, id="small"),
        pytest.param(30_000, 33, id="large"),
        pytest.param(1_200_000, 0, id="huge"),
    ],
)
async def test_few_are_kept(length: int, kept: int) -> None:
    """A hundred, and a megabyte, at the most; the oldest go first."""
    thumbnails = Shrinker(length=length).thumbnails()

    async with at_work(thumbnails):
        for number in range(150):
            thumbnails.offer(f"edit_{number}", b"picture")
            await asyncio.sleep(0.2)

    assert len(thumbnails.edit_ids()) == kept
    assert ("edit_149" in thumbnails.edit_ids()) == bool(kept)
