from gateway.domain.clock import Phase, Phases
from gateway.downstream.access_record import AccessRecord, begin_record, log_fields, record_of
from tests.downstream.harness import RUNNING_STATUS


def test_the_record_is_attached_to_the_scope() -> None:
    """Whoever has the scope has the request's record."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}

    record = begin_record(scope, 1.0)

    assert record_of(scope) is record
    assert (record.method, record.path, record.started) == ("GET", "/", 1.0)


def test_fields_of_an_edit() -> None:
    """The log says the edit, its tasks and where the seconds went."""
    phases = Phases(started=10.0)
    phases.enter(Phase.QUEUE, 10.5)
    record = AccessRecord(
        "r", "POST", "/x", 10.0, route="/x", edit=RUNNING_STATUS, phases=phases, seconds=2.0
    )

    fields = log_fields(record)

    assert fields["phase_seconds"] == {"read": 0.5, "queue": 1.5}
    assert (fields["edit_id"], fields["region"]) == ("edit_1", "beijing")
    assert fields["task_ids"] == ["task-1", "task-2"]


def test_fields_without_an_edit() -> None:
    """Where there is no edit, nothing is fields of one."""
    fields = log_fields(AccessRecord("r", "GET", "/", 0.0))

    assert (fields["edit_id"], fields["task_ids"], fields["phase_seconds"]) == (None, None, {})
