"""gateway.journey.lane: which upstream is tried first, and when a refused key is tried again."""

import asyncio

import pytest

from gateway.domain.errors import UpstreamUnavailable, UpstreamUnreachable
from gateway.journey.lane import Lane, route
from gateway.journey.schedule import Kind
from tests.fakes import FakeDashScope, a_tenant, an_account
from tests.journey.lanes import FAR, ONE, TWO, a_lane, queued
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


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


async def test_the_wait_that_is_told() -> None:
    """Turns until one's own, by the pace at which tasks end: 45 s by 5 while nothing is known."""
    lane, big, small = a_lane(), a_tenant("big"), a_tenant("small")
    waits = [lane.expected_wait(big)]
    async with queued(lane, *(lane.line.place(big, 1) for _ in range(6 + 20))):
        waits += [lane.expected_wait(big), lane.expected_wait(small)]
        lane.durations.learn(Kind("wan", 1, -1), 20.0)
        waits.append(lane.expected_wait(big))

    assert waits == [1.0, 21 * 45.0 / 5, 45.0 / 5, 21 * 20.0 / 5]


async def test_the_wait_that_is_told_to_one_with_a_limit() -> None:
    """Slots that a tenant may not use do not shorten its wait."""
    lane, few = a_lane(), a_tenant("few", max_running=2)
    async with queued(lane, *(lane.line.place(few, 1) for _ in range(2 + 3))):
        free, wait = lane.line.free, lane.expected_wait(few)

    assert (free, wait) == (4, 4 * 45.0 / 2)


REFUSED = UpstreamUnavailable("key", upstream_code="InvalidApiKey")


async def test_a_refused_key_is_probed_and_comes_back() -> None:
    """A free list call finds out, every half minute, whether the key works again."""
    clock = WarpClock()
    world, observer = FakeDashScope(clock), RecordingObserver()
    lane = Lane(an_account(), (ONE,), dashscope=world, clock=clock, observer=observer)
    world.fail("tasks", UpstreamUnavailable("key", upstream_code="AccessDenied"))
    lane.rest(ONE, REFUSED)

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(lane.probe())
        await clock.sleep(35.0)
        still = [rest.reason for rest in lane.resting.values()]
        await clock.sleep(30.0)
        probing.cancel()

    assert still == ["AccessDenied"]
    assert lane.resting == {}
    assert world.count("tasks") == 2
    assert observer.of("upstream_key")[-1][-1] is True


async def test_arrears_are_not_probed() -> None:
    """A list call would not tell whether the account may submit again."""
    lane = a_lane()
    lane.rest(ONE, UpstreamUnavailable("pay", upstream_code="Arrearage"))

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(lane.probe())
        await lane.clock.sleep(100.0)
        probing.cancel()

    assert list(lane.resting) == ["one"]


async def test_a_task_is_asked_for_with_another_key_of_its_account() -> None:
    """When a key is refused while its task runs, another of the account sees the task too."""
    clock = WarpClock()
    lane = Lane(
        an_account(),
        (ONE, TWO),
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
    )

    assert lane.instead(ONE, REFUSED) is TWO
    assert lane.instead(TWO, REFUSED) is TWO
