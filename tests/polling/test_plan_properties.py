"""gateway.polling.plan holds whatever tasks, lists and failures there are."""

import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.task import TaskStatus
from tests.polling.simulation import Listing, SimulatedTask, Simulation

_TASKS = st.builds(
    SimulatedTask,
    accepted=st.floats(0.0, 100.0),
    seconds=st.floats(0.1, 200.0),
    unknown=st.sampled_from([0, 0, 0, 1]),
)


@st.composite
def simulations(draw: st.DrawFn) -> Simulation:
    return Simulation(
        tasks=draw(st.lists(_TASKS, min_size=1, max_size=25)),
        slots=draw(st.integers(1, 30)),
        known_slots=draw(st.integers(1, 30)),
        rate=draw(st.sampled_from([1.0, 5.0, 20.0])),
        listing=draw(st.sampled_from(get_args(Listing))),
        page_size=draw(st.sampled_from([3, 100])),
        failing=draw(st.sampled_from([0.0, 0.2])),
        chance=random.Random(draw(st.integers(0, 99))),
    )


@given(simulations())
@settings(max_examples=150, deadline=None)
def test_every_end_is_found_once(simulation: Simulation) -> None:
    """
    However the list lies and calls fail, each end is reported once, not before it came, and late
    by no more than some three times what the task took and a few minutes.
    """
    simulation.play(until=40_000.0)

    for task in simulation.tasks:
        assert len(task.reported) == 1
        assert task.fetches[-1] is TaskStatus.SUCCEEDED
        took = task.ends - task.accepted
        assert task.ends <= task.reported[0] <= task.ends + 3 * took + 300.0


@given(simulations())
@settings(max_examples=50, deadline=None)
def test_no_call_is_made_twice_at_once(simulation: Simulation) -> None:
    """Nothing is requested again while it is under way, and calls are not needlessly many."""
    simulation.play(until=40_000.0)

    assert simulation.overlaps == 0
    lasted = max(task.reported[0] for task in simulation.tasks)
    # At most a list each 0.47 s, and a fetch of each task each 0.2 s while it is watched.
    watched = sum(task.reported[0] - task.accepted for task in simulation.tasks)
    assert len(simulation.sent) <= 2 * lasted / 0.47 + watched / 0.2 + 3 * len(simulation.tasks)


@pytest.mark.parametrize(
    ("unknown", "fetches"), [(1, 2), (2, 3), (3, 3)], ids=["once", "twice", "for good"]
)
def test_unknown_is_asked_again(unknown: int, fetches: int) -> None:
    """A new task that is UNKNOWN is lost at the third fetch, and not before (P4)."""
    task = SimulatedTask(accepted=0.0, seconds=0.1, unknown=unknown)

    Simulation([task]).play(until=100.0)

    assert len(task.fetches) == fetches
    assert len(task.reported) == 1


def test_a_true_list_is_worth_its_calls() -> None:
    """Forty running tasks are found out about within half a second, at few calls each."""
    chance = random.Random(3)
    tasks = [SimulatedTask(chance.uniform(0, 60), chance.uniform(15, 90)) for _ in range(40)]
    simulation = Simulation(tasks, slots=40, known_slots=40, rate=20.0)
    simulation.play(until=1000.0)

    lags = [task.reported[0] - task.ends for task in tasks]
    assert sum(lags) / len(lags) < 1.0
    assert len(simulation.sent) / len(tasks) < 10
