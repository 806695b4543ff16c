"""gateway.edits.fair_queue: which ticket gets the next slot, and when it will."""

import asyncio
from collections import Counter

import pytest

from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Tenant
from gateway.edits.fair_queue import Capacity, FairQueue, Ticket
from tests.fakes import a_tenant
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

BIG, SMALL = a_tenant("big"), a_tenant("small")


async def run_all(queue: FairQueue, work: list[Tenant], *, cost: int = 1) -> list[str]:
    """Queue every edit at once, each to run for a second; return the tenants in order of slots."""
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


async def test_a_crowd_delays_another_tenant_by_one_slot() -> None:
    """A tenant with a hundred waiting edits delays another's edit by at most one slot."""
    order = await run_all(FairQueue(1), [BIG] * 100 + [SMALL])

    assert order.index("small") <= 1
    assert order.count("big") == 100


async def test_slots_alternate() -> None:
    """Two tenants of equal weight get slots alternately while both wait."""
    order = await run_all(FairQueue(1), [BIG] * 50 + [SMALL] * 10)

    assert Counter(order[:20]) == {"big": 10, "small": 10}


async def test_idle_time_earns_nothing() -> None:
    """A tenant that comes late does not get the slots that it did not ask for."""
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
    """Slots are shared by weight."""
    heavy = a_tenant("heavy", weight=weight)

    order = await run_all(FairQueue(1), [BIG] * 40 + [heavy] * 40, cost=cost)

    assert Counter(order[:20]) == expected


async def test_costs() -> None:
    """A tenant whose edits cost four gets a fourth of the slots."""
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


async def test_a_new_tenant_goes_before_its_equals() -> None:
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


async def test_slots_until() -> None:
    """The wait for a slot is predicted as it then comes: by cost, weight and arrival."""
    queue, heavy, clock = FairQueue(1), a_tenant("heavy", weight=2), WarpClock()
    order: list[Ticket] = []

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            order.append(ticket)
            await clock.sleep(1.0)

    works = [(BIG, 1)] * 5 + [(SMALL, 4)] * 3 + [(heavy, 1)] * 8
    tickets = [queue.issue_ticket(tenant, cost) for tenant, cost in works]
    newcomer = a_tenant("newcomer")
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            group.create_task(one(ticket))
        await clock.sleep(0.5)
        predicted = {ticket: queue.slots_until(ticket.tenant, ticket)[1] for ticket in tickets[1:]}
        new_ticket = queue.slots_until(newcomer)

    assert order[0] is tickets[0]
    assert all(abs(predicted[ticket] - order.index(ticket)) <= 1 for ticket in tickets[1:])
    assert new_ticket == (0, 1)


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
    assert queue.free() == 5


async def test_max_waiting() -> None:
    """One edit more than may wait is refused; one that gets a slot at once does not wait."""
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

    assert queue.waiting == 0
    assert queue.free() == 1


async def test_paused_and_reactivated() -> None:
    """Others pass a paused ticket, which then continues from its old place."""
    queue, order, clock = FairQueue(1), list[str](), WarpClock()
    tickets = {name: queue.issue_ticket(BIG, 1) for name in ("first", "second", "third", "fourth")}

    async def one(name: str) -> None:
        async with queue.slot(tickets[name]):
            order.append(name)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for name in tickets:
            group.create_task(one(name))
        await clock.sleep(0.5)
        queue.pause(tickets["second"])
        await clock.sleep(1.0)
        queue.reactivate(tickets["second"])
        queue.reactivate(tickets["second"])

    assert order == ["first", "third", "second", "fourth"]
    queue.reactivate(tickets["second"])
    assert queue.free() == 1


async def test_paused_again_and_again() -> None:
    """However often a ticket is paused, it has one entry in the heap, and predictions are right."""
    queue, clock = FairQueue(1), WarpClock()
    tickets = [queue.issue_ticket(BIG, 1) for _ in range(3)]

    async def one(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            group.create_task(one(ticket))
        await clock.sleep(0.5)
        for _ in range(1000):
            queue.pause(tickets[1])
            queue.reactivate(tickets[1])
        entries = len(queue._tenants[BIG.name].queues[""].tickets)
        turns = queue.slots_until(BIG, tickets[2])

    assert entries == 2
    assert turns == (0, 2)


async def test_only_paused_tickets_wait() -> None:
    """A paused ticket takes no free slot, and gets it the moment it is reactivated."""
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


async def test_slots_of_a_process_before() -> None:
    """Tasks of a process before use up slots, even more than there are."""
    queue = FairQueue(1)
    queue.take_slot(BIG)
    queue.take_slot(BIG)
    frees = [queue.free()]
    queue.return_slot(BIG)
    frees.append(queue.free())
    queue.return_slot(BIG)
    frees.append(queue.free())

    assert frees == [0, 0, 1]


async def test_cancelled_when_its_slot_is_granted() -> None:
    """A slot that is granted to a ticket that is cancelled in this moment goes to the next."""
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
    assert queue.free() == 1
    assert queue.waiting == 0


# Several models.


async def granted(queue: FairQueue, *tickets: Ticket) -> list[Ticket]:
    """Return those of *tickets* that get a slot at once, and let all of them go again."""

    async def wait(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(ticket)) for ticket in tickets]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first = [ticket for ticket in tickets if not ticket.queued]
        for one in waiting:
            one.cancel()
    return first


async def test_each_model_has_slots_of_its_own() -> None:
    """A crowd for one model takes no slot of another, whose number is its own."""
    queue = FairQueue(2, {"qwen": Capacity(3)})
    wan = [queue.issue_ticket(BIG, 1, model="wan") for _ in range(9)]
    qwen = [queue.issue_ticket(SMALL, 1, model="qwen") for _ in range(4)]

    first = await granted(queue, *wan, *qwen)

    assert first == [*wan[:2], *qwen[:3]]
    assert (queue.waiting, queue.running) == (0, {})


async def test_a_quiet_model_costs_no_turn_at_a_crowded_one() -> None:
    """Who had fifty slots of one model is next at another as if it had had none."""
    queue, order, clock = FairQueue(1), list[str](), WarpClock()

    async def one(tenant: Tenant, model: str) -> None:
        async with queue.slot(queue.issue_ticket(tenant, 1, model=model)):
            if model == "crowded":
                order.append(tenant.name)
            await clock.sleep(1.0)

    for _ in range(50):
        await one(BIG, "quiet")
    async with asyncio.TaskGroup() as group:
        for tenant in [SMALL] * 10 + [BIG] * 10:
            group.create_task(one(tenant, "crowded"))

    assert Counter(order[:10]) == {"big": 5, "small": 5}


async def test_few_slots_wait_for_the_rate_limit() -> None:
    """Beyond so many submits that wait for the rate limit tickets stay in the queue."""
    queue = FairQueue(Capacity(10, submits=2))
    tickets = [queue.issue_ticket(BIG, 1) for _ in range(5)]
    seen = []

    async def wait(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(ticket)) for ticket in tickets]
        await asyncio.sleep(0)
        seen.append((queue.running, queue.waiting, queue.free()))
        queue.release_submit(tickets[0])
        queue.release_submit(tickets[0])
        seen.append((queue.running, queue.waiting, queue.free()))
        for one in waiting:
            one.cancel()

    assert seen == [({"": 2}, 3, 0), ({"": 3}, 2, 0)]
    assert (queue.free(), queue.running) == (2, {})


async def test_max_running_counts_all_models() -> None:
    """A tenant's own limit is of the account, and so is the number that may wait."""
    few = a_tenant("few", max_running=2, max_waiting=1)
    queue = FairQueue(5)
    tickets = [queue.issue_ticket(few, 1, model=model) for model in ("a", "b", "c")]

    first = await granted(queue, *tickets)

    assert first == tickets[:2]


async def test_max_waiting_counts_all_models() -> None:
    """An edit in the queue for one model counts for another, too."""
    shy = a_tenant("shy", max_waiting=1, max_running=1)
    queue = FairQueue(1)
    queue.take_slot(shy, "a")
    async with asyncio.TaskGroup() as group:

        async def wait() -> None:
            async with queue.slot(queue.issue_ticket(shy, 1, model="a")):
                pass

        waiter = group.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            queue.issue_ticket(shy, 1, model="b")
        waiter.cancel()
    queue.return_slot(shy, "a")

    assert not queue.running


async def test_an_older_ticket_of_another_model_is_not_passed_for_ever() -> None:
    """A tenant with one slot gives it to its oldest edit, though a newer one's model is free."""
    few = a_tenant("few", max_running=1)
    queue, clock, order = FairQueue(1), WarpClock(), list[str]()

    async def one(tenant: Tenant, model: str, seconds: float) -> None:
        async with queue.slot(queue.issue_ticket(tenant, 1, model=model)):
            if tenant is few:
                order.append(model)
            await clock.sleep(seconds)

    async with asyncio.TaskGroup() as group:
        group.create_task(one(BIG, "busy", 9.5))
        group.create_task(one(few, "free", 1.0))
        await clock.sleep(0.1)
        group.create_task(one(few, "busy", 1.0))
        for _ in range(20):
            group.create_task(one(few, "free", 1.0))

    assert order[:3] == ["free", "busy", "free"]


@pytest.mark.parametrize("how", ["pause", "cancel"])
async def test_an_older_ticket_that_goes_keeps_no_slot(how: str) -> None:
    """Once the client of the older edit is gone, the newer one has the tenant's slot at once."""
    few = a_tenant("few", max_running=1)
    queue = FairQueue(1)
    queue.take_slot(BIG, "busy")
    older, newer = (queue.issue_ticket(few, 1, model=model) for model in ("busy", "free"))

    async def wait(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            pass

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait(older))
        other = group.create_task(wait(newer))
        await asyncio.sleep(0)
        before = newer.granted.is_set()
        if how == "pause":
            queue.pause(older)
        else:
            waiting.cancel()
        await asyncio.wait([other])
        waiting.cancel()

    assert (before, newer.granted.is_set()) == (False, True)


async def test_slots_until_by_model() -> None:
    """The wait is that of the model, and by the tenant's own limit that of all its edits."""
    few = a_tenant("few", max_running=2)
    queue = FairQueue(1, {"free": Capacity(9)})
    tickets = [queue.issue_ticket(few, 1, model=model) for model in ("busy", "busy", "free")]
    seen = []

    async def wait(ticket: Ticket) -> None:
        async with queue.slot(ticket):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(ticket)) for ticket in tickets]
        await asyncio.sleep(0)
        seen += [queue.slots_until(few, ticket) for ticket in tickets[1:]]
        seen += [queue.slots_until(BIG, model=model) for model in ("busy", "free")]
        for one in waiting:
            one.cancel()

    assert seen == [(0, 1), (1, 0), (0, 1), (0, 0)]
