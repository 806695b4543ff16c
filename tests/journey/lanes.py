"""The lane of one account, its upstreams, and who waits in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.journey.lane import Lane
from gateway.journey.line import Place
from tests.fakes import FakeDashScope, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

ONE, TWO = an_upstream("one"), an_upstream("two")
FAR = an_upstream("far", an_account("far"))


def a_lane(name: str = "acct") -> Lane:
    clock = WarpClock()
    return Lane(
        an_account(name),
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
    )


@asynccontextmanager
async def queued(lane: Lane, *places: Place) -> AsyncIterator[None]:
    """Let *places* wait in the lane's line; whose turn it is keeps its slot."""

    async def wait(place: Place) -> None:
        async with lane.line.turn(place):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(place)) for place in places]
        await asyncio.sleep(0)
        yield
        for one in waiting:
            one.cancel()
