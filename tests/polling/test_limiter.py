"""gateway.polling.limiter: never too many calls a second, urgent ones first, none starved."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.polling.limiter import RateLimiter
from tests.warp import WarpClock, WarpLoop

pytestmark = pytest.mark.anyio


async def acquire_all(
    limiter: RateLimiter, clock: WarpClock, after: list[float], throttled: set[int]
) -> list[float]:
    """Acquire after each of the pauses, without waiting for each other; return when each went."""
    sent: list[float] = []

    async def one(number: int, wait: float) -> None:
        await clock.sleep(wait)
        await limiter.acquire()
        sent.append(clock.now())
        if number in throttled:
            limiter.slow_down()

    async with asyncio.TaskGroup() as group:
        at = 0.0
        for number, pause in enumerate(after):
            at += pause
            group.create_task(one(number, at))
    return sent


def most_within(sent: list[float], seconds: float) -> int:
    return max(sum(1 for at in sent if first <= at < first + seconds) for first in sent)


@given(
    per_second=st.sampled_from([1, 2, 5, 20]),
    after=st.lists(st.floats(0, 0.7), min_size=1, max_size=60),
    throttled=st.sets(st.integers(0, 59), max_size=3),
)
def test_never_more_than_so_many_in_any_second(
    per_second: int, after: list[float], throttled: set[int]
) -> None:
    """Whatever the arrivals and throttlings, no second has more calls than allowed."""

    async def story() -> list[float]:
        clock = WarpClock()
        return await acquire_all(RateLimiter(per_second, clock), clock, after, throttled)

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        sent = runner.run(story())

    assert len(sent) == len(after)
    assert most_within(sent, 1.0) <= per_second


async def test_less_than_one_a_second() -> None:
    """Half a call a second is one every two seconds and a little."""
    clock = WarpClock()

    sent = await acquire_all(RateLimiter(0.5, clock), clock, [0.0] * 3, set())

    assert [b - a for a, b in itertools.pairwise(sent)] == pytest.approx([2.16, 2.16])


async def test_calls_go_in_order() -> None:
    """The call that came first goes first."""
    clock = WarpClock()
    limiter = RateLimiter(1, clock)
    order: list[int] = []

    async def one(number: int) -> None:
        await limiter.acquire()
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one(number))

    assert order == [0, 1, 2, 3, 4]


async def test_throttling_halves_and_climbs_back() -> None:
    """Each 429 halves the rate, to a sixteenth at least; 20 s bring it from half to full."""
    clock = WarpClock()
    limiter = RateLimiter(5, clock)

    shares = []
    for _ in range(5):
        limiter.slow_down()
        shares.append(limiter.factor)
    await clock.sleep(20.0)
    later = limiter.factor
    await clock.sleep(60.0)

    assert shares == [0.5, 0.25, 0.125, 0.0625, 0.0625]
    assert later == 0.125
    assert limiter.factor == 1.0


async def test_throttled_calls_are_spaced_out() -> None:
    """At half the rate the calls leave one by one, not in a burst."""
    clock = WarpClock()
    limiter = RateLimiter(5, clock)
    await limiter.acquire()
    limiter.slow_down()

    sent = await acquire_all(limiter, clock, [0.0] * 2, set())

    assert sent[0] - 1000.0 == pytest.approx(2 * 1.08 / 5, rel=0.03)
    assert sent[1] - sent[0] == pytest.approx(2 * 1.08 / 5, rel=0.03)


async def test_throttled_after_a_burst() -> None:
    """A throttling does not forget the calls that left before it."""
    clock = WarpClock()
    limiter = RateLimiter(5, clock)
    await acquire_all(limiter, clock, [0.0] * 5, set())
    limiter.slow_down()

    (at,) = await acquire_all(limiter, clock, [0.0], set())

    assert at == pytest.approx(1001.08)


async def test_a_cancelled_call_takes_no_budget() -> None:
    """Cancelling a call that waits costs the others nothing."""
    clock = WarpClock()
    limiter = RateLimiter(1, clock)
    await limiter.acquire()
    async with asyncio.TaskGroup() as group:
        leaver = group.create_task(limiter.acquire())
        await clock.sleep(0.5)
        leaver.cancel()

    await limiter.acquire()

    assert clock.now() == pytest.approx(1001.08)


async def test_used() -> None:
    """The share of the limit that the last second used falls back to nothing."""
    clock = WarpClock()
    limiter = RateLimiter(4, clock)
    shares = [limiter.used]

    await limiter.acquire()
    await limiter.acquire()
    shares.append(limiter.used)
    await clock.sleep(2.0)
    shares.append(limiter.used)

    assert shares == [0.0, 0.5, 0.0]
    assert limiter.seconds_until_free() == 0.0


async def test_an_unused_pace_may_be_throttled() -> None:
    """A 429 before the first call delays nothing by itself."""
    limiter = RateLimiter(4, WarpClock())

    limiter.slow_down()

    assert limiter.seconds_until_free() == 0.0


async def waits(limiter: RateLimiter, clock: WarpClock, flow: str, *, urgent: bool) -> float:
    started = clock.now()
    await limiter.acquire(flow, urgent=urgent)
    return clock.now() - started


async def test_a_crowd_of_others_leaves_room_for_urgent_calls() -> None:
    """Beside three hundred calls that are not urgent, an urgent one leaves at once, each time."""
    clock = WarpClock()
    limiter, late = RateLimiter(20, clock), list[float]()

    async with asyncio.TaskGroup() as group:
        others = [group.create_task(limiter.acquire("results", urgent=False)) for _ in range(300)]
        for _ in range(20):
            await clock.sleep(0.3)
            late.append(await waits(limiter, clock, "polls", urgent=True))
        done = sum(other.done() for other in others)

    assert max(late) == 0.0
    assert done == 10 * 6
    assert clock.now() == pytest.approx(1000.0 + 29 * 1.08)


async def test_urgent_calls_do_not_starve_others() -> None:
    """Of ten calls, one is not urgent if any such waits."""
    clock = WarpClock()
    limiter, order = RateLimiter(10, clock), list[str]()

    async def one(flow: str, *, urgent: bool) -> None:
        await limiter.acquire(flow, urgent=urgent)
        order.append(flow)

    async with asyncio.TaskGroup() as group:
        await limiter.acquire()
        await limiter.acquire(urgent=False)
        for _ in range(10):
            group.create_task(one("cancels", urgent=False))
        for _ in range(100):
            group.create_task(one("polls", urgent=True))

    assert order[20:80].count("cancels") == pytest.approx(6, abs=1)
    assert order[:60].count("polls") >= 50


async def test_flows_take_turns() -> None:
    """A hundred calls of one flow delay another's call by one call."""
    clock = WarpClock()
    limiter, order = RateLimiter(2, clock), list[str]()

    async def one(flow: str) -> None:
        await limiter.acquire(flow, urgent=False)
        order.append(flow)

    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(one("big")) for _ in range(100)]
        await clock.sleep(5.0)
        group.create_task(one("small"))
        await clock.sleep(2.5)
        came = "small" in order
        for task in crowd:
            task.cancel()

    assert came
    assert order.count("big") < 10


async def test_of_cancelled_calls_none_is_let_go() -> None:
    """The first call that still waits goes next, urgent or not."""
    clock = WarpClock()
    limiter = RateLimiter(1, clock)
    await limiter.acquire()
    async with asyncio.TaskGroup() as group:
        leavers = [group.create_task(limiter.acquire(urgent=urgent)) for urgent in (True, False)]
        await clock.sleep(0.5)
        for leaver in leavers:
            leaver.cancel()
        await clock.sleep(0)
        stayer = group.create_task(waits(limiter, clock, "", urgent=False))

    assert stayer.result() == pytest.approx(0.58)


async def test_the_others_alone() -> None:
    """Calls that are not urgent keep to their half though no urgent ones wait."""
    clock = WarpClock()
    limiter = RateLimiter(4, clock)

    for _ in range(5):
        await limiter.acquire("results", urgent=False)

    assert clock.now() == pytest.approx(1000.0 + 2 * 1.08)


@pytest.mark.parametrize("urgent", [True, False])
async def test_all_waiting_calls_are_cancelled(*, urgent: bool) -> None:
    """When no call is left to wait, none is counted."""
    clock = WarpClock()
    limiter = RateLimiter(1, clock)
    await limiter.acquire()
    async with asyncio.TaskGroup() as group:
        leaver = group.create_task(limiter.acquire(urgent=urgent))
        await clock.sleep(0.5)
        leaver.cancel()
    await clock.sleep(1.0)

    assert limiter.used == 0.0
    assert limiter.seconds_until_free() == 0.0


@pytest.mark.parametrize(("before", "after"), [(20, 5), (5, 20), (0.5, 4)])
async def test_another_rate(before: float, after: float) -> None:
    """What left under the old rate counts for the new one, and no second has too many."""
    clock = WarpClock()
    limiter = RateLimiter(before, clock)
    sent = await acquire_all(limiter, clock, [0.0] * 20, set())
    limiter.set_rate(after)
    sent += await acquire_all(limiter, clock, [0.0] * 40, set())

    assert most_within(sent[20:], 1.0) <= after
    assert most_within(sent, 1.0) <= max(before, after)
    assert sent[-1] - sent[20] == pytest.approx(40 / after * 1.08, rel=0.2)
