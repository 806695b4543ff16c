import pytest

from gateway.domain.errors import Overloaded
from gateway.downstream.bytes_budget import Bytes


def test_reserve_and_release() -> None:
    """What is reserved is held for the length of the block, and the gauge hears of it."""
    changes: list[int] = []
    budget = Bytes(100, changes.append)

    with budget.reserve(30) as share:
        share.grow_to(20)
        share.grow_to(45)
        held = budget.held

    assert held == 45
    assert budget.held == 0
    assert changes == [30, 15, -45]


def test_over_the_limit() -> None:
    """A body that does not fit is refused at once, takes nothing, and may come again."""
    budget = Bytes(100, lambda _: None)

    with budget.reserve(60), pytest.raises(Overloaded) as caught, budget.reserve(41):
        raise AssertionError

    assert caught.value.retry_after == 1.0
    assert budget.held == 0


def test_growing_over_the_limit() -> None:
    """A refused growth gives back what was held when the block ends."""
    budget = Bytes(100, lambda _: None)

    with pytest.raises(Overloaded), budget.reserve(60) as share:
        share.grow_to(101)

    assert budget.held == 0


def test_exactly_the_limit() -> None:
    """The limit itself is allowed."""
    with Bytes(100, lambda _: None).reserve(100) as share:
        assert share.held == 100


def test_release_twice() -> None:
    """Bytes that were dropped early are not given back again at the end."""
    budget = Bytes(100, lambda _: None)

    with budget.reserve(60) as share:
        share.release()
        with budget.reserve(100):
            pass

    assert budget.held == 0
