from gateway.domain.clock import Phase, Phases
from gateway.downstream.access_record import AccessRecord, attach, fields_of, record_of
from tests.downstream.harness import TOLD


def test_the_line_travels_in_the_scope() -> None:
    """Whoever has the scope has the request's line."""
    scope: dict[str, object] = {}
    line = AccessRecord(request_id="r", method="GET", path="/", started=0.0)

    attach(scope, line)

    assert record_of(scope) is line


def test_fields_of_an_edit() -> None:
    """The log says the edit, its tasks and where the seconds went."""
    phases = Phases(started=10.0)
    phases.enter(Phase.QUEUE, 10.5)
    line = AccessRecord("r", "POST", "/x", 10.0, route="/x", told=TOLD, phases=phases, seconds=2.0)

    said = fields_of(line)

    assert said["phase_seconds"] == {"read": 0.5, "queue": 1.5}
    assert (said["edit_id"], said["region"]) == ("edit_1", "beijing")
    assert said["task_ids"] == ["task-1", "task-2"]


def test_fields_without_an_edit() -> None:
    """Where there is no edit, nothing is said of one."""
    said = fields_of(AccessRecord("r", "GET", "/", 0.0))

    assert (said["edit_id"], said["task_ids"], said["phase_seconds"]) == (None, None, {})
