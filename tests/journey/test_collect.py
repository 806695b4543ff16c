"""Through the desk: pictures that are still on their way home when the answer begins."""

from collections.abc import AsyncIterator

import pytest

from gateway.domain.errors import ResultUnavailable
from gateway.domain.tenant import Upstream
from gateway.journey.ask import Incoming
from tests.fakes import FakeDashScope
from tests.journey.house import House

pytestmark = pytest.mark.anyio


class Begun:
    """A picture that has begun: Incoming, and whether it was closed."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self.head = content
        self.closed = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.head

    async def close(self) -> None:
        self.closed += 1


class Streaming(FakeDashScope):
    """Hands pictures on as they come."""

    def __init__(self, house: House) -> None:
        super().__init__(house.clock)
        self.begun: list[Begun] = []

    async def open(self, upstream: Upstream, url: str) -> bytes | Incoming:
        picture = Begun(await self.download(upstream, url))
        self.begun.append(picture)
        return picture


def streaming() -> tuple[House, Streaming]:
    house = House()
    house.world = world = Streaming(house)
    return house, world


async def test_closed_with_the_visit() -> None:
    """Pictures are open as long as their customer is there, in order, and closed once."""
    house, world = streaming()
    async with house.desk() as desk:
        async with desk.attend(house.ask(n=6)) as visit:
            answer = await visit.answer()
            open_then = [picture.closed for picture in world.begun]
        closed = [picture.closed for picture in world.begun]

    assert open_then == [0] * 6
    assert closed == [1] * 6
    heads = [b"" if isinstance(picture, bytes) else picture.head for picture in answer.pictures]
    assert [head[-1:] for head in heads] == [b"0", b"1", b"2", b"3", b"0", b"1"]


async def test_one_of_several_fails_at_first() -> None:
    """Pictures that were begun in vain are closed like those that are handed on."""
    house, world = streaming()
    world.fail("download", None, None, ResultUnavailable("cut"))
    async with house.desk() as desk, desk.attend(house.ask(n=3)) as visit:
        answer = await visit.answer()

    assert len(answer.pictures) == 3
    assert len(world.begun) > 3
    assert all(picture.closed == 1 for picture in world.begun)
