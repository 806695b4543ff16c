"""gateway.journey.line: whose turn it is, when it comes, and who waits for whom."""

import asyncio
from collections import Counter

import pytest

from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Tenant
from gateway.journey.line import Line, Place
from tests.fakes import a_tenant
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

BIG, SMALL = a_tenant("big"), a_tenant("small")


async def run_all(line: Line, work: list[Tenant], *, cost: int = 1) -> list[str]:
    """Let every edit come at once and run for a second; return the tenants in order of turns."""
    clock = WarpClock()
    order: list[str] = []

    async def one(place: Place) -> None:
        async with line.turn(place):
            order.append(place.tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for tenant in work:
            group.create_task(one(line.place(tenant, cost)))
    return order


async def test_a_crowd_moves_another_tenant_by_one_turn() -> None:
    """A tenant with a hundred edits in line delays another's single edit by at most one turn."""
    order = await run_all(Line(1), [BIG] * 100 + [SMALL])

    assert order.index("small") <= 1
    assert order.count("big") == 100


async def test_turns_alternate() -> None:
    """Two tenants of equal weight take turns while both wait."""
    order = await run_all(Line(1), [BIG] * 50 + [SMALL] * 10)

    assert Counter(order[:20]) == {"big": 10, "small": 10}


async def test_one_who_was_away_has_saved_nothing_up() -> None:
    """A tenant that comes late does not get all the turns that it missed."""
    line, clock = Line(1), WarpClock()
    order: list[str] = []

    async def one(tenant: Tenant) -> None:
        async with line.turn(line.place(tenant, 1)):
            order.append(tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(one(BIG))
        await clock.sleep(19.5)
        for _ in range(10):
            group.create_task(one(SMALL))

    assert Counter(order[20:30]) == {"big": 5, "small": 5}


@pytest.mark.parametrize(
    ("weight", "cost", "expected"),
    [
        pytest.param(1, 1, {"big": 10, "heavy": 10}, id="equal"),
        pytest.param(3, 1, {"big": 5, "heavy": 15}, id="three times the weight"),
    ],
)
async def test_weights(weight: int, cost: int, expected: dict[str, int]) -> None:
    """Turns are shared out by weight."""
    heavy = a_tenant("heavy", weight=weight)

    order = await run_all(Line(1), [BIG] * 40 + [heavy] * 40, cost=cost)

    assert Counter(order[:20]) == expected


async def test_costs() -> None:
    """A tenant whose edits cost four has a fourth of the turns."""
    line, order, clock = Line(1), list[str](), WarpClock()

    async def one(place: Place) -> None:
        async with line.turn(place):
            order.append(place.tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(one(line.place(BIG, 4)))
            group.create_task(one(line.place(SMALL, 1)))

    assert Counter(order[:20]) == {"big": 4, "small": 16}


async def test_one_who_comes_goes_before_its_equals() -> None:
    """In a round of many crowds a tenant with nothing running does not wait for the round."""
    line, order, clock = Line(1), list[str](), WarpClock()
    crowds = [a_tenant(f"crowd {number}") for number in range(5)]

    async def one(tenant: Tenant) -> None:
        async with line.turn(line.place(tenant, 1)):
            order.append(tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for tenant in crowds * 4:
            group.create_task(one(tenant))
        await clock.sleep(6.5)
        group.create_task(one(SMALL))

    assert order.index("small") == 7


async def test_turns_until() -> None:
    """Turns are foretold as they then come: by cost, weight and arrival."""
    line, heavy, clock = Line(1), a_tenant("heavy", weight=2), WarpClock()
    order: list[Place] = []

    async def one(place: Place) -> None:
        async with line.turn(place):
            order.append(place)
            await clock.sleep(1.0)

    works = [(BIG, 1)] * 5 + [(SMALL, 4)] * 3 + [(heavy, 1)] * 8
    places = [line.place(tenant, cost) for tenant, cost in works]
    newcomer = a_tenant("newcomer")
    async with asyncio.TaskGroup() as group:
        for place in places:
            group.create_task(one(place))
        await clock.sleep(0.5)
        told = {place: line.turns_until(place.tenant, place)[1] for place in places[1:]}
        comes_now = line.turns_until(newcomer)

    assert order[0] is places[0]
    assert all(abs(told[place] - order.index(place)) <= 1 for place in places[1:])
    assert comes_now == (0, 1)


async def test_max_running() -> None:
    """A tenant never holds more than its own slots though others are free."""
    few = a_tenant("few", max_running=2)
    line, clock = Line(5), WarpClock()
    running, most = 0, 0

    async def one() -> None:
        nonlocal running, most
        async with line.turn(line.place(few, 1)):
            running += 1
            most = max(most, running)
            await clock.sleep(1.0)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(7):
            group.create_task(one())

    assert most == 2
    assert line.free == 5


async def test_max_waiting() -> None:
    """One edit more than may wait is refused; a slot that is free is no waiting."""
    shy = a_tenant("shy", max_waiting=1)
    line = Line(1)
    async with line.turn(line.place(shy, 1)), asyncio.TaskGroup() as group:
        waiting = line.place(shy, 1)

        async def wait() -> None:
            async with line.turn(waiting):
                pass

        waiter = group.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(RateLimited, match="1"):
            line.place(shy, 1)
        waiter.cancel()

    assert line.waiting == line.waiting_of(shy) == 0
    assert line.free == 1


async def test_away_and_back() -> None:
    """Others pass one whose customer is away; back again it stands where it stood."""
    line, order, clock = Line(1), list[str](), WarpClock()
    places = {name: line.place(BIG, 1) for name in ("first", "second", "third", "fourth")}

    async def one(name: str) -> None:
        async with line.turn(places[name]):
            order.append(name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for name in places:
            group.create_task(one(name))
        await clock.sleep(0.5)
        places["second"].away = True
        await clock.sleep(1.0)
        line.come_back(places["second"])
        line.come_back(places["second"])

    assert order == ["first", "third", "second", "fourth"]
    line.come_back(places["second"])
    assert line.free == 1


async def test_coming_back_again_and_again() -> None:
    """However often a client comes and goes, its place is one entry, and waits are told right."""
    line, clock = Line(1), WarpClock()
    places = [line.place(BIG, 1) for _ in range(3)]

    async def one(place: Place) -> None:
        async with line.turn(place):
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for place in places:
            group.create_task(one(place))
        await clock.sleep(0.5)
        for _ in range(1000):
            places[1].away = True
            line.come_back(places[1])
        entries = len(line._queues[BIG.name].places)
        turns = line.turns_until(BIG, places[2])

    assert entries == 2
    assert turns == (0, 2)


async def test_only_the_absent_wait() -> None:
    """A free slot stays free for who is away, and is its own the moment it comes back."""
    line, clock = Line(1), WarpClock()
    place = line.place(BIG, 1)
    place.away = True

    async with asyncio.TaskGroup() as group:

        async def one() -> float:
            async with line.turn(place):
                return clock.now()

        turn = group.create_task(one())
        await clock.sleep(5.0)
        line.come_back(place)

    assert turn.result() == 1005.0


async def test_taken_over() -> None:
    """Tasks of a process before use up slots, even more than there are."""
    line = Line(1)
    line.take(BIG)
    line.take(BIG)
    frees = [line.free]
    line.give_back(BIG)
    frees.append(line.free)
    line.give_back(BIG)
    frees.append(line.free)

    assert frees == [0, 0, 1]


async def test_cancelled_at_the_moment_of_its_turn() -> None:
    """A slot that is given to one who is leaving goes on to the next."""
    line = Line(1)
    async with asyncio.TaskGroup() as group:
        first = line.turn(line.place(BIG, 1))
        await first.__aenter__()
        leaver, stayer = line.place(BIG, 1), line.place(BIG, 1)

        async def one(place: Place) -> None:
            async with line.turn(place):
                pass

        leaving = group.create_task(one(leaver))
        group.create_task(one(stayer))
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        leaving.cancel()

    assert leaver.granted.is_set()
    assert line.free == 1
    assert line.waiting == 0
