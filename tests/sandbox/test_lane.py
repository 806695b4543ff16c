"""The schedule of an account, computed from submit times and lengths alone."""

import pytest

from gateway.sandbox.faults import End
from gateway.sandbox.tasks import Lane, Order, Task


def task(number: int, submitted: float, seconds: float) -> Task:
    order = Order("m", "p", n=1)
    return Task(f"t{number}", "r", number, "a", "a/0", order, submitted, seconds, End())


def test_runs_at_most_so_many_in_order() -> None:
    """The next in line starts at the very moment at which a place is freed, in order of submit."""
    lane = Lane(2)
    tasks = [task(0, 0, 10), task(1, 1, 3.5), task(2, 2, 5), task(3, 2, 1), task(4, 20, 1)]
    for each in tasks:
        lane.join(each)

    lane.settle(100)

    assert [each.started for each in tasks] == [0, 1, 4.5, 9.5, 20]


@pytest.mark.parametrize("step", [0.25, 3.0, 50.0])
def test_looking_changes_nothing(step: float) -> None:
    """The schedule is the same however often somebody looks."""
    lane, starts = Lane(2), [0, 0, 2, 3, 5, 6, 7.5]
    tasks = [task(n, 0, length) for n, length in enumerate([2, 3, 3, 3, 2.5, 4, 1])]
    for each in tasks:
        lane.join(each)

    now = 0.0
    while now < 50:
        lane.settle(now)
        now += step
    lane.settle(50)

    assert [each.started for each in tasks] == starts


def test_a_late_task_arrives_late() -> None:
    """A task whose submit time lies ahead is neither given nor started before."""
    lane, late = Lane(1), task(0, 5, 1)
    lane.join(late)

    assert lane.settle(4.9) == []
    assert late.started is None
    assert lane.settle(5) == [late]
    assert late.started == 5


def test_end_makes_room_for_an_arrival_of_the_same_moment() -> None:
    """A place that is freed at the moment of an arrival goes to whoever waited longer."""
    lane, first, second, third = Lane(1), task(0, 0, 2), task(1, 1, 1), task(2, 2, 1)
    for each in (first, second, third):
        lane.join(each)

    lane.settle(10)

    assert (second.started, third.started) == (2, 3)


def test_cancel() -> None:
    """Only who waits can be cancelled, and the others move up."""
    lane, first, second, third = Lane(1), task(0, 0, 5), task(1, 0, 5), task(2, 0, 5)
    for each in (first, second, third):
        lane.join(each)
    lane.settle(1)

    assert lane.cancel(second, 1)
    assert not lane.cancel(first, 1)
    assert not lane.cancel(second, 1)
    lane.settle(5)
    assert (second.canceled, second.started, third.started) == (1, None, 5)
