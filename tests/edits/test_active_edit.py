import pytest

from gateway.domain.clock import Phase, Phases
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.timeline import Timeline
from tests.fakes import a_request, an_upstream
from tests.models import EDITOR
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


async def test_phases_of_a_client_that_came_late() -> None:
    """A client that joins is told only the phases that it was there for."""
    timeline = Timeline()
    phases = Phases(12.0)
    timeline.enter(Phase.QUEUE, 10.0)
    timeline.enter(Phase.SUBMIT, 11.0)
    timeline.enter(Phase.UPSTREAM_RUNNING, 14.0)
    timeline.enter(Phase.QUEUE, 15.0)

    timeline.replay(phases, since=13.0, now=20.0)

    assert phases.spent(20.0) == {
        Phase.READ: 1.0,
        Phase.SUBMIT: 1.0,
        Phase.UPSTREAM_RUNNING: 6.0,
    }


async def test_an_uncertain_edit_is_shown_as_submitting() -> None:
    """What is uncertain is ours to find out: clients see a submit under way."""
    active = ActiveEdit.begin("edit_1", a_request(WarpClock()), EDITOR, created=1.0)
    active.life.intended(0, an_upstream(), now=0.0, at=0.0)
    active.life.uncertain(0)

    assert active.status.stage == "submitting"
