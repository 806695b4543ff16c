import asyncio

import pytest
from starlette.types import Message

from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from tests.downstream.harness import FakeConnection

pytestmark = pytest.mark.anyio


async def test_work_ends_first() -> None:
    """What the work brings comes through, and the watch ends with the block."""
    wire = FakeConnection({"type": "http.request"})

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async with DisconnectWatch(wire.receive) as client:
        assert await client.unless_left(work) == 7

    assert not client.left
    assert wire.script == []


async def test_left_before_the_work() -> None:
    """For a client who has left no work is begun."""
    wire = FakeConnection({"type": "http.disconnect"})

    async def work() -> None:
        raise AssertionError

    async with DisconnectWatch(wire.receive) as client:
        await asyncio.sleep(0)
        with pytest.raises(ClientLeft):
            await client.unless_left(work)


async def test_left_during_the_work() -> None:
    """A hang-up cancels the work, whose own tidying up may still take its time."""
    wire = FakeConnection()
    tidied = False

    async def work() -> None:
        nonlocal tidied
        wire.hang_up.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            tidied = True

    with pytest.raises(ClientLeft):
        async with DisconnectWatch(wire.receive) as client:
            await client.unless_left(work)

    assert tidied


async def test_left_after_the_work() -> None:
    """A hang-up between the work and the end of the block is seen and harms nothing."""
    wire = FakeConnection()

    async def work() -> None:
        pass

    async with DisconnectWatch(wire.receive) as client:
        await client.unless_left(work)
        wire.hang_up.set()
        await asyncio.sleep(0.001)

        assert client.left


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError()])
async def test_errors_come_as_they_are(error: Exception) -> None:
    """What the work raises is in no group, and its own timeout is no hang-up."""
    wire = FakeConnection()

    async def work() -> Message:
        raise error

    with pytest.raises(type(error)) as caught:
        async with DisconnectWatch(wire.receive) as client:
            await client.unless_left(work)

    assert caught.value is error
