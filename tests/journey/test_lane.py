import asyncio

import pytest

from gateway.domain.errors import UpstreamUnavailable, UpstreamUnreachable
from gateway.journey.lane import Lane, route
from tests.fakes import FakeDashScope, a_tenant, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

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


async def test_one_open_submit_per_prompt() -> None:
    """Equal prompts go one after the other, others beside them; nothing stays behind."""
    lane, order = a_lane(), list[str]()

    async def submit(prompt: str, name: str) -> None:
        async with lane.prompt(prompt):
            order.append(f"{name} in")
            await lane.clock.sleep(1.0)
            order.append(f"{name} out")

    async with asyncio.TaskGroup() as group:
        group.create_task(submit("cat", "first"))
        group.create_task(submit("cat", "second"))
        group.create_task(submit("dog", "third"))

    assert order.index("first out") < order.index("second in")
    assert order.index("third in") < order.index("first out")
    assert lane._prompts == {}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(UpstreamUnreachable("down"), 5.0), (UpstreamUnavailable("key"), 60.0)],
)
async def test_resting_upstreams_come_last(
    error: UpstreamUnreachable | UpstreamUnavailable, seconds: float
) -> None:
    """An upstream that failed is tried after the others, until its rest is over."""
    lane, tenant = a_lane(), a_tenant("acme", ONE, TWO, FAR)
    lane.rest(ONE, error)

    resting = lane.upstreams_of(tenant)
    await lane.clock.sleep(seconds + 0.1)
    rested = lane.upstreams_of(tenant)

    assert resting == [TWO, ONE]
    assert rested == [ONE, TWO]


async def test_the_shortest_line_is_tried_first() -> None:
    """Working before resting, free before crowded, short before long."""
    near, far = a_lane(), a_lane("far")
    lanes = {("beijing", "acct"): near, ("beijing", "far"): far}
    tenant = a_tenant("acme", ONE, FAR)
    orders = [route(lanes, tenant)]

    for _ in range(6):
        near.line.take(tenant)
    orders.append(route(lanes, tenant))
    far.rest(FAR, UpstreamUnreachable("down"))
    orders.append(route(lanes, tenant))

    assert orders == [[near, far], [far, near], [near, far]]


async def test_expected_wait() -> None:
    """The wait that is told grows with the line, between one second and a minute."""
    lane, tenant = a_lane(), a_tenant()
    empty = lane.expected_wait()
    async with asyncio.TaskGroup() as group:

        async def wait() -> None:
            async with lane.line.turn(lane.line.place(tenant, 1)):
                await asyncio.Event().wait()

        waiting = [group.create_task(wait()) for _ in range(26)]
        await asyncio.sleep(0)
        crowded = lane.expected_wait()
        for task in waiting:
            task.cancel()

    assert empty == pytest.approx(45.0 / 6)
    assert crowded == 60.0
