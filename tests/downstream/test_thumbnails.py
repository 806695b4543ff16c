import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import Picture
from gateway.downstream.viewers import MOST_THUMBNAILS, Thumbnails, WatchedService
from tests.downstream.harness import ACME, TOLD, FakeDesk
from tests.fakes import an_ask
from tests.warp import WARP, WarpClock

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


async def attend(service: WatchedService, content: bytes) -> None:
    edit_request = an_ask(WarpClock(), ACME)
    edit_request.pictures = (Picture(content=content, media_type="image/png"),) if content else ()
    async with service.attend(edit_request) as waiter:
        assert waiter.told is TOLD


async def test_a_generation_has_none() -> None:
    """What is made from a prompt alone is attended all the same, and nothing is shrunk."""
    shrinker = Shrinker()
    thumbnails = shrinker.thumbnails()

    async with at_work(thumbnails):
        await attend(WatchedService(FakeDesk(), thumbnails), b"")

    assert shrinker.seen == []


async def test_a_picture_of_an_edit() -> None:
    """While somebody watches, the first picture of an edit is shrunk and kept by its id."""
    shrinker = Shrinker()
    thumbnails = shrinker.thumbnails()

    async with at_work(thumbnails):
        await attend(WatchedService(FakeDesk(), thumbnails), b"picture")
    await attend(WatchedService(FakeDesk(), thumbnails), b"again")

    assert thumbnails.of("edit_1") == b"pic"
    assert thumbnails.known() == ("edit_1",)
    assert thumbnails.of("edit_2") is None
    assert shrinker.seen == [b"picture"]


@pytest.mark.parametrize(
    ("watched", "content"),
    [
        pytest.param(False, b"picture", id="nobody watches"),
        pytest.param(True, b"", id="a URL"),
        pytest.param(True, bytes(4_000_001), id="too large"),
        pytest.param(True, b"bad", id="not readable"),
    ],
)
async def test_no_picture(watched: bool, content: bytes) -> None:
    """What nobody sees, what has no bytes, too many or bad ones has no small picture."""
    shrinker = Shrinker(watched=watched)
    thumbnails = shrinker.thumbnails()

    async with at_work(thumbnails):
        await attend(WatchedService(FakeDesk(), thumbnails), content)

    assert thumbnails.known() == ()
    assert shrinker.seen == ([b"bad"] if content == b"bad" else [])


async def test_a_burst_is_cut() -> None:
    """Of many that come at once a few are taken: nobody waits for them."""
    shrinker = Shrinker()
    thumbnails = shrinker.thumbnails()

    for number in range(30):
        if thumbnails.wanted(b"picture"):
            thumbnails.offer(f"edit_{number}", b"picture")
    thumbnails.offer("edit_99", b"picture")
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

    assert len(thumbnails.known()) == kept
    assert ("edit_149" in thumbnails.known()) == bool(kept)


async def test_the_rest_of_the_desk() -> None:
    """Looking an edit up and calling it off go to the service as they are."""
    service = WatchedService(FakeDesk(), Shrinker().thumbnails())

    async with service.collect(ACME, "edit_1", patience=1.0, phases=Phases(started=0.0)) as waiter:
        assert waiter.told is TOLD
    assert await service.withdraw(ACME, "edit_1") is TOLD
