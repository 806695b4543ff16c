from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.clock import Phase, Phases


def test_phases_add_up() -> None:
    """Each second is in exactly one phase; the running one counts up to now."""
    phases = Phases(10.0)

    phases.enter(Phase.QUEUE, 11.0)
    phases.enter(Phase.SUBMIT, 13.0)

    assert phases.spent(16.0) == {Phase.READ: 1.0, Phase.QUEUE: 2.0, Phase.SUBMIT: 3.0}


def test_move() -> None:
    """Seconds move from one phase to another, never more than there are."""
    phases = Phases(0.0)
    phases.enter(Phase.UPSTREAM_RUNNING, 1.0)
    phases.enter(Phase.DOWNLOAD, 6.0)

    phases.move(Phase.UPSTREAM_RUNNING, Phase.UPSTREAM_PENDING, 2.0)
    phases.move(Phase.UPSTREAM_RUNNING, Phase.DETECTION, 99.0)
    phases.move(Phase.UPSTREAM_RUNNING, Phase.DETECTION, -1.0)

    spent = phases.spent(7.0)
    assert spent[Phase.UPSTREAM_PENDING] == 2.0
    assert spent[Phase.UPSTREAM_RUNNING] == 0.0
    assert spent[Phase.DETECTION] == 3.0
    assert sum(spent.values()) == 7.0


@given(st.lists(st.tuples(st.sampled_from(Phase), st.floats(0, 100)), max_size=20))
def test_the_parts_are_the_whole(steps: list[tuple[Phase, float]]) -> None:
    """Whatever the way through the phases: they add up, in their order."""
    phases, now = Phases(0.0), 0.0
    for phase, seconds in steps:
        now += seconds
        phases.enter(phase, now)

    spent = phases.spent(now + 1.0)

    assert abs(sum(spent.values()) - now - 1.0) < 1e-6
    assert list(spent) == [phase for phase in Phase if phase in spent]
