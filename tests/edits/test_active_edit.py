import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.phases import Phase, Phases
from gateway.edits.active_edit import ActiveEdit, Stage
from tests.fakes import an_ask
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


def an_errand(n: int = 1) -> ActiveEdit:
    return ActiveEdit.begin("edit_1", an_ask(WarpClock(), n=n), created=1.0)


async def test_a_leg_that_was_refused_is_not_dropped() -> None:
    """What was refused in this moment is written down, not interrupted."""
    active = an_errand()
    active.runs[0].error = InvalidRequest("no")

    active.runs[0].drop()

    assert not active.given_up


async def test_given_up_when_every_part_is_dropped() -> None:
    """One part that goes on keeps the edit joinable; none left gives it up."""
    active = an_errand(n=8)

    active.runs[0].drop()
    half = active.given_up, active.joinable
    active.runs[1].drop()

    assert half == (False, True)
    assert (active.given_up, active.joinable) == (True, False)


async def test_phases_of_one_that_came_late() -> None:
    """A client that joins is told only the phases that it was there for."""
    active, phases = an_errand(), Phases(12.0)
    active.mark(Phase.QUEUE, 10.0)
    active.mark(Phase.SUBMIT, 11.0)
    active.mark(Phase.UPSTREAM_RUNNING, 14.0)
    active.mark(Phase.QUEUE, 15.0)

    active.replay_marks(phases, since=13.0, now=20.0)

    assert phases.spent(20.0) == {
        Phase.READ: 1.0,
        Phase.SUBMIT: 1.0,
        Phase.UPSTREAM_RUNNING: 6.0,
    }


async def test_the_stage_that_is_told() -> None:
    """An uncertain edit is told as submitting: what is uncertain is ours to find out."""
    active = an_errand()
    active.stage = Stage.UNCERTAIN

    assert active.told.status == "submitting"
