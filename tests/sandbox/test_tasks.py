"""The queue of an account: start times computed from submit times and running times."""

import pytest

from gateway.sandbox.faults import End
from gateway.sandbox.tasks import SandboxTask, SubmitRequest, TaskQueue


def task(number: int, submitted: float, seconds: float) -> SandboxTask:
    request = SubmitRequest("m", "p", n=1)
    return SandboxTask(f"t{number}", "r", number, "a", "a/0", request, submitted, seconds, End())


def test_runs_at_most_so_many_in_order() -> None:
    """The next task starts at the very moment at which a place is freed, in order of submit."""
    queue = TaskQueue(2)
    tasks = [task(0, 0, 10), task(1, 1, 3.5), task(2, 2, 5), task(3, 2, 1), task(4, 20, 1)]
    for each in tasks:
        queue.add(each)

    queue.advance(100)

    assert [each.started for each in tasks] == [0, 1, 4.5, 9.5, 20]


@pytest.mark.parametrize("step", [0.25, 3.0, 50.0])
def test_looking_changes_nothing(step: float) -> None:
    """The schedule is the same however often somebody looks."""
    queue, starts = TaskQueue(2), [0, 0, 2, 3, 5, 6, 7.5]
    tasks = [task(n, 0, length) for n, length in enumerate([2, 3, 3, 3, 2.5, 4, 1])]
    for each in tasks:
        queue.add(each)

    now = 0.0
    while now < 50:
        queue.advance(now)
        now += step
    queue.advance(50)

    assert [each.started for each in tasks] == starts


def test_a_late_task_arrives_late() -> None:
    """A task whose submit time lies ahead is neither given nor started before."""
    queue, late = TaskQueue(1), task(0, 5, 1)
    queue.add(late)

    assert queue.advance(4.9) == []
    assert late.started is None
    assert queue.advance(5) == [late]
    assert late.started == 5


def test_end_makes_room_for_an_arrival_of_the_same_moment() -> None:
    """A place that is freed at the moment of an arrival goes to whoever waited longer."""
    queue, first, second, third = TaskQueue(1), task(0, 0, 2), task(1, 1, 1), task(2, 2, 1)
    for each in (first, second, third):
        queue.add(each)

    queue.advance(10)

    assert (second.started, third.started) == (2, 3)


def test_cancel() -> None:
    """Only who waits can be cancelled, and the others move up."""
    queue, first, second, third = TaskQueue(1), task(0, 0, 5), task(1, 0, 5), task(2, 0, 5)
    for each in (first, second, third):
        queue.add(each)
    queue.advance(1)

    assert queue.cancel(second, 1)
    assert not queue.cancel(first, 1)
    assert not queue.cancel(second, 1)
    queue.advance(5)
    assert (second.canceled, second.started, third.started) == (1, None, 5)
