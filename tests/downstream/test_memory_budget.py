from contextlib import ExitStack, suppress

import pytest

from gateway.domain.errors import Overloaded
from gateway.downstream.memory_budget import MemoryBudget, Reservation


def test_hold_and_release() -> None:
    """What has come is held for the length of the block, and the gauge hears of it."""
    changes: list[int] = []
    budget = MemoryBudget(100, changes.append)

    with budget.reserve("acme") as reservation:
        reservation.grow_to(30)
        reservation.grow_to(20)
        reservation.grow_to(45)
        held = budget.held

    assert held == 45
    assert budget.held == 0
    assert changes == [30, 15, -45]


def test_what_is_announced_is_not_held() -> None:
    """An announcement takes nothing, whatever it says; one without room is refused at once."""
    budget = MemoryBudget(100, lambda _: None)

    with budget.reserve("acme", 100), budget.reserve("acme", 100) as reservation:
        reservation.grow_to(60)
        with pytest.raises(Overloaded) as caught, budget.reserve("acme", 41):
            raise AssertionError

    assert caught.value.retry_after == 1.0
    assert budget.held == 0


def test_growing_over_the_limit() -> None:
    """A refused growth gives back what was held when the block ends."""
    budget = MemoryBudget(100, lambda _: None)

    with budget.reserve("acme") as reservation:
        reservation.grow_to(60)
        with pytest.raises(Overloaded):
            reservation.grow_to(101)

    assert budget.held == 0


def test_exactly_the_limit() -> None:
    """The limit itself is allowed, to a single tenant by several bodies."""
    budget = MemoryBudget(100, lambda _: None)
    with budget.reserve("acme") as one, budget.reserve("acme") as other:
        one.grow_to(40)
        other.grow_to(60)
        assert budget.held == 100


def test_one_tenant_cannot_hold_all() -> None:
    """However many bodies a tenant sends, it leaves room, and the next tenant leaves some, too."""
    budget = MemoryBudget(1000, lambda _: None, shared=True)
    held: dict[str, int] = {}

    def taken(body: Reservation) -> bool:
        with suppress(Overloaded):
            body.grow_to(10)
        return body.held == 10

    with ExitStack() as stack:
        for tenant in ("a", "b", "c"):
            bodies = (stack.enter_context(budget.reserve(tenant)) for _ in range(100))
            held[tenant] = 10 * sum(taken(body) for body in bodies)

    assert held == {"a": 750, "b": 180, "c": 50}
    assert budget.held == 0


def test_one_body_always_finds_the_room_that_is_there() -> None:
    """A tenant that holds nothing else sends one body as long as it fits at all."""
    budget = MemoryBudget(100, lambda _: None, shared=True)

    with budget.reserve("a", 100) as one:
        one.grow_to(90)
        with budget.reserve("b", 10) as other:
            other.grow_to(10)
            with pytest.raises(Overloaded):
                one.grow_to(91)


def test_what_was_spooled_is_given_back() -> None:
    """What lies on the disk is not in memory, and somebody else may have the room."""
    budget = MemoryBudget(100, lambda _: None)

    with budget.reserve("acme") as reservation:
        reservation.grow_to(90)
        reservation.shrink_to(20)
        reservation.shrink_to(50)
        assert budget.held == 20
        with budget.reserve("acme", 80):
            pass


def test_room_for_answers() -> None:
    """Pictures of answers stand under the same budget, and a tenant's own do not take it all."""
    budget = MemoryBudget(1600, lambda _: None, shared=True)
    rooms = [budget.room("a") for _ in range(20)]

    begun = [room for room in rooms if room.begin()]
    assert len(begun) == 12  # of 100 bytes each: three quarters
    assert budget.room("b").begin()

    begun[0].hold(700)
    assert budget.held == 1900
    for room in begun:
        room.release()
    assert budget.held == 100


def test_release_twice() -> None:
    """Bytes that were dropped early are not given back again at the end."""
    budget = MemoryBudget(100, lambda _: None)

    with budget.reserve("acme") as reservation:
        reservation.grow_to(60)
        reservation.release()
        with budget.reserve("acme", 100):
            pass

    assert budget.held == 0
