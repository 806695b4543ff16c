import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message

from gateway.domain.errors import Overloaded
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.viewers import HEARTBEAT_SECONDS, MOST_VIEWERS, Viewers
from tests.warp import WARP, WarpClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


class ViewersHarness:
    """Something to look at, and viewers who take what comes, or do not."""

    def __init__(self) -> None:
        self.clock = WarpClock()
        self.number = 0
        self.looks = 0
        self.viewers = Viewers(self._look, self.clock)

    def _look(self) -> bytes:
        self.looks += 1
        return b'{"number":%d}' % self.number


class FakeViewer:
    def __init__(self, stage: ViewersHarness, *, slow: float = 0.0) -> None:
        self._stage, self._slow = stage, slow
        self.got: list[bytes] = []
        self.gone = asyncio.Event()
        self.left = False

    async def watch(self) -> None:
        async with DisconnectWatch(self._receive) as client:
            try:
                await self._stage.viewers.stream(self._send, client)
            except ClientLeft:
                self.left = True

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(self._slow)
        self.got.append(message["body"])


async def test_the_stream() -> None:
    """A state when it comes, another when something has changed, a beat in silence, an end."""
    stage = ViewersHarness()
    viewer = FakeViewer(stage)

    async with asyncio.TaskGroup() as group:
        group.create_task(viewer.watch())
        await stage.clock.sleep(3.5)
        stage.number = 1
        await stage.clock.sleep(HEARTBEAT_SECONDS + 2)
        stage.viewers.close()

    assert viewer.got == [
        b"retry: 2000\n\n",
        b'data: {"now":1000.000,"number":0}\n\n',
        b'data: {"now":1004.000,"number":1}\n\n',
        b"event: beat\ndata: {}\n\n",
        b"event: end\ndata: {}\n\n",
    ]
    assert not viewer.left
    assert stage.viewers.present == 0


async def test_nobody_watches() -> None:
    """With nobody there nothing is looked at."""
    stage = ViewersHarness()

    await stage.clock.sleep(60.0)

    assert stage.looks == 0


async def test_one_look_serves_all() -> None:
    """However many watch, there is one look a second."""
    stage = ViewersHarness()
    watching = [FakeViewer(stage) for _ in range(MOST_VIEWERS)]

    async with asyncio.TaskGroup() as group:
        for viewer in watching:
            group.create_task(viewer.watch())
            await stage.clock.sleep(0.05)
        await stage.clock.sleep(10.0)
        for viewer in watching:
            viewer.gone.set()

    assert 10 <= stage.looks <= 12
    assert all(viewer.got[1].endswith(b'"number":0}\n\n') for viewer in watching)
    assert all(viewer.left for viewer in watching)


async def test_one_too_many() -> None:
    """The seventeenth is refused, and let in once another has gone."""
    stage = ViewersHarness()
    watching = [FakeViewer(stage) for _ in range(MOST_VIEWERS)]

    async with asyncio.TaskGroup() as group:
        for viewer in watching:
            group.create_task(viewer.watch())
        await stage.clock.sleep(1.0)
        with pytest.raises(Overloaded):
            stage.viewers.admit()
        watching[0].gone.set()
        await stage.clock.sleep(1.0)
        stage.viewers.admit()
        stage.viewers.close()


async def test_a_slow_reader() -> None:
    """Who reads slowly misses states instead of heaping them up; who reads nothing is left."""
    stage = ViewersHarness()
    slow, stuck = FakeViewer(stage, slow=5.0), FakeViewer(stage, slow=1e6)

    async with asyncio.TaskGroup() as group:
        group.create_task(slow.watch())
        group.create_task(stuck.watch())
        for number in range(30):
            stage.number = number
            await stage.clock.sleep(1.0)
        stage.viewers.close()

    assert stuck.left
    assert stuck.got == []
    numbers = [int(got[:-3].rpartition(b":")[2]) for got in slow.got if b"number" in got]
    assert numbers == sorted(numbers)
    assert 3 <= len(numbers) <= 6


async def test_an_end_at_once() -> None:
    """At the end of the process a stream does not wait for its second to be over."""
    stage = ViewersHarness()
    viewer = FakeViewer(stage)

    async with asyncio.TaskGroup() as group:
        group.create_task(viewer.watch())
        await stage.clock.sleep(2.5)
        stage.viewers.close()

    assert stage.clock.now() == 1002.5
    assert viewer.got[-1].startswith(b"event: end")


async def test_who_comes_at_the_end() -> None:
    """A stream that begins when the process stops ends at once."""
    stage = ViewersHarness()
    stage.viewers.close()
    viewer = FakeViewer(stage)

    await viewer.watch()

    assert viewer.got == [b"retry: 2000\n\n", b"event: end\ndata: {}\n\n"]


async def test_one_state() -> None:
    """A state by itself is the same, with its time."""
    stage = ViewersHarness()

    assert stage.viewers.state() == b'{"now":1000.000,"number":0}'
