"""gateway.edits.fair_queue: whose turn it is, when it comes, and who waits for whom."""

import asyncio
from collections import Counter

import pytest

from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Tenant
from gateway.edits.fair_queue import FairQueue, Ticket
from tests.fakes import a_tenant
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

BIG, SMALL = a_tenant("big"), a_tenant("small")


async def run_all(queue: FairQueue, work: list[Tenant], *, cost: int = 1) -> list[str]:
    """Let every edit come at once and run for a second; return the tenants in order of turns."""
    clock = WarpClock()
    order: list[str] = []

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            order.append(ticket.tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for tenant in work:
            group.create_task(one(queue.issue_ticket(tenant, cost)))
    return order


async def test_a_crowd_moves_another_tenant_by_one_turn() -> None:
    """A tenant with a hundred edits in line delays another's single edit by at most one turn."""
    order = await run_all(FairQueue(1), [BIG] * 100 + [SMALL])

    assert order.index("small") <= 1
    assert order.count("big") == 100


async def test_turns_alternate() -> None:
    """Two tenants of equal weight take turns while both wait."""
    order = await run_all(FairQueue(1), [BIG] * 50 + [SMALL] * 10)

    assert Counter(order[:20]) == {"big": 10, "small": 10}


async def test_one_who_was_away_has_saved_nothing_up() -> None:
    """A tenant that comes late does not get all the turns that it missed."""
    queue, clock = FairQueue(1), WarpClock()
    order: list[str] = []

    async def one(tenant: Tenant) -> None:
        async with queue.slot(queue.issue_ticket(tenant, 1)):
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

    order = await run_all(FairQueue(1), [BIG] * 40 + [heavy] * 40, cost=cost)

    assert Counter(order[:20]) == expected


async def test_costs() -> None:
    """A tenant whose edits cost four has a fourth of the turns."""
    queue, order, clock = FairQueue(1), list[str](), WarpClock()

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            order.append(ticket.tenant.name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(one(queue.issue_ticket(BIG, 4)))
            group.create_task(one(queue.issue_ticket(SMALL, 1)))

    assert Counter(order[:20]) == {"big": 4, "small": 16}


async def test_one_who_comes_goes_before_its_equals() -> None:
    """In a round of many crowds a tenant with nothing running does not wait for the round."""
    queue, order, clock = FairQueue(1), list[str](), WarpClock()
    crowds = [a_tenant(f"crowd {number}") for number in range(5)]

    async def one(tenant: Tenant) -> None:
        async with queue.slot(queue.issue_ticket(tenant, 1)):
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
    queue, heavy, clock = FairQueue(1), a_tenant("heavy", weight=2), WarpClock()
    order: list[Ticket] = []

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            order.append(ticket)
            await clock.sleep(1.0)

    works = [(BIG, 1)] * 5 + [(SMALL, 4)] * 3 + [(heavy, 1)] * 8
    places = [queue.issue_ticket(tenant, cost) for tenant, cost in works]
    newcomer = a_tenant("newcomer")
    async with asyncio.TaskGroup() as group:
        for ticket in places:
            group.create_task(one(ticket))
        await clock.sleep(0.5)
        told = {ticket: queue.slots_until(ticket.tenant, ticket)[1] for ticket in places[1:]}
        comes_now = queue.slots_until(newcomer)

    assert order[0] is places[0]
    assert all(abs(told[ticket] - order.index(ticket)) <= 1 for ticket in places[1:])
    assert comes_now == (0, 1)


async def test_max_running() -> None:
    """A tenant never holds more than its own slots though others are free."""
    few = a_tenant("few", max_running=2)
    queue, clock = FairQueue(5), WarpClock()
    running, most = 0, 0

    async def one() -> None:
        nonlocal running, most
        async with queue.slot(queue.issue_ticket(few, 1)):
            running += 1
            most = max(most, running)
            await clock.sleep(1.0)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(7):
            group.create_task(one())

    assert most == 2
    assert queue.free == 5


async def test_max_waiting() -> None:
    """One edit more than may wait is refused; a slot that is free is no waiting."""
    shy = a_tenant("shy", max_waiting=1)
    queue = FairQueue(1)
    async with queue.slot(queue.issue_ticket(shy, 1)), asyncio.TaskGroup() as group:
        waiting = queue.issue_ticket(shy, 1)

        async def wait() -> None:
            async with queue.slot(waiting):
                pass

        waiter = group.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(RateLimited, match="1"):
            queue.issue_ticket(shy, 1)
        waiter.cancel()

    assert queue.waiting == queue.waiting_of(shy) == 0
    assert queue.free == 1


async def test_away_and_back() -> None:
    """Others pass one whose client is away; back again it stands where it stood."""
    queue, order, clock = FairQueue(1), list[str](), WarpClock()
    places = {name: queue.issue_ticket(BIG, 1) for name in ("first", "second", "third", "fourth")}

    async def one(name: str) -> None:
        async with queue.slot(places[name]):
            order.append(name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for name in places:
            group.create_task(one(name))
        await clock.sleep(0.5)
        places["second"].paused = True
        await clock.sleep(1.0)
        queue.reactivate(places["second"])
        queue.reactivate(places["second"])

    assert order == ["first", "third", "second", "fourth"]
    queue.reactivate(places["second"])
    assert queue.free == 1


async def test_coming_back_again_and_again() -> None:
    """However often a client comes and goes, its place is one entry, and waits are told right."""
    queue, clock = FairQueue(1), WarpClock()
    places = [queue.issue_ticket(BIG, 1) for _ in range(3)]

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for ticket in places:
            group.create_task(one(ticket))
        await clock.sleep(0.5)
        for _ in range(1000):
            places[1].paused = True
            queue.reactivate(places[1])
        entries = len(queue._queues[BIG.name].places)
        turns = queue.slots_until(BIG, places[2])

    assert entries == 2
    assert turns == (0, 2)


async def test_only_the_absent_wait() -> None:
    """A free slot stays free for who is away, and is its own the moment it comes back."""
    queue, clock = FairQueue(1), WarpClock()
    ticket = queue.issue_ticket(BIG, 1)
    ticket.paused = True

    async with asyncio.TaskGroup() as group:

        async def one() -> float:
            async with queue.slot(ticket):
                return clock.now()

        turn = group.create_task(one())
        await clock.sleep(5.0)
        queue.reactivate(ticket)

    assert turn.result() == 1005.0


async def test_taken_over() -> None:
    """Tasks of a process before use up slots, even more than there are."""
    queue = FairQueue(1)
    queue.take_slot(BIG)
    queue.take_slot(BIG)
    frees = [queue.free]
    queue.return_slot(BIG)
    frees.append(queue.free)
    queue.return_slot(BIG)
    frees.append(queue.free)

    assert frees == [0, 0, 1]


async def test_cancelled_at_the_moment_of_its_turn() -> None:
    """A slot that is given to one who is leaving goes on to the next."""
    queue = FairQueue(1)
    async with asyncio.TaskGroup() as group:
        first = queue.slot(queue.issue_ticket(BIG, 1))
        await first.__aenter__()
        leaver, stayer = queue.issue_ticket(BIG, 1), queue.issue_ticket(BIG, 1)

        async def one(ticket: Ticket) -> None:
            async with queue.slot(ticket):
                pass

        leaving = group.create_task(one(leaver))
        group.create_task(one(stayer))
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        leaving.cancel()

    assert leaver.granted.is_set()
    assert queue.free == 1
    assert queue.waiting == 0
