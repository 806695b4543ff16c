from gateway.domain.phases import Phase, Phases
from gateway.downstream.request_line import RequestLine, attach, fields_of, line_of
from tests.downstream.house import TOLD


def test_the_line_travels_in_the_scope() -> None:
    """Whoever has the scope has the request's line."""
    scope: dict[str, object] = {}
    line = RequestLine(request_id="r", method="GET", path="/", started=0.0)

    attach(scope, line)

    assert line_of(scope) is line


def test_fields_of_an_edit() -> None:
    """The log says the edit, its tasks and where the seconds went."""
    phases = Phases(started=10.0)
    phases.enter(Phase.QUEUE, 10.5)
    line = RequestLine("r", "POST", "/x", 10.0, route="/x", told=TOLD, phases=phases, seconds=2.0)

    said = fields_of(line)

    assert said["phase_seconds"] == {"read": 0.5, "queue": 1.5}
    assert (said["edit_id"], said["region"]) == ("edit_1", "beijing")
    assert said["task_ids"] == ["task-1", "task-2"]


def test_fields_without_an_edit() -> None:
    """Where there is no edit, nothing is said of one."""
    said = fields_of(RequestLine("r", "GET", "/", 0.0))

    assert (said["edit_id"], said["task_ids"], said["phase_seconds"]) == (None, None, {})
