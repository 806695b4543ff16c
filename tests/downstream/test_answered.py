import pytest

from gateway.domain.clock import Phase, Phases
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.viewers import RecentReplies
from tests.downstream.harness import RUNNING_STATUS, Recorder

EDITS, EDIT = "/v1/images/edits", "/v1/images/edits/{edit_id}"


def a_record(**changes: object) -> AccessRecord:
    line = AccessRecord("r", "POST", EDITS, 10.0, route=EDITS, tenant="acme", edit=RUNNING_STATUS)
    line.status, line.outcome, line.seconds = 200, "ok", 2.0
    for name, value in changes.items():
        setattr(line, name, value)
    return line


def test_an_end() -> None:
    """An replies edit is told with its phases, and its line goes on to the log."""
    seen = Recorder()
    replies, phases = RecentReplies(seen.write), Phases(started=10.0)
    phases.enter(Phase.QUEUE, 10.5)
    line = a_record(phases=phases)

    replies.write(line)

    (end,) = replies.recent().rows
    assert seen.lines == [line]
    assert (end.at, end.seconds, end.code, end.outcome) == (12.0, 2.0, 200, "ok")
    assert (end.edit_id, end.tenant, end.region) == ("edit_1", "acme", "beijing")
    assert end.phases == (("read", 0.5), ("queue", 1.5))


def test_one_who_left() -> None:
    """Of a client who left the phases are told up to then; of one never read, none."""
    replies = RecentReplies(Recorder().write)

    replies.write(a_record(outcome="customer_left", status=0, phases=Phases(started=10.0)))
    replies.write(a_record(phases=None))

    assert [end.phases for end in replies.recent().rows] == [(), (("read", 2.0),)]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({"status": 400, "edit": None}, True, id="refused"),
        pytest.param({"method": "GET", "route": EDIT}, True, id="fetched"),
        pytest.param({"method": "GET", "route": EDIT, "edit": None}, False, id="not-known"),
        pytest.param({"status": 202}, False, id="goes-on"),
        pytest.param({"method": "DELETE", "route": EDIT}, False, id="called-off"),
        pytest.param({"tenant": ""}, False, id="no-key"),
        pytest.param({"route": "/v1/models"}, False, id="elsewhere"),
    ],
)
def test_what_is_an_end(changes: dict[str, object], kept: bool) -> None:
    """Only the end of a known client's wait for pictures is kept."""
    replies = RecentReplies(Recorder().write)

    replies.write(a_record(**changes))

    assert replies.recent().total == kept


def test_the_last_ones_are_kept() -> None:
    """Forty at the most, youngest first; all are counted."""
    replies = RecentReplies(Recorder().write)

    for number in range(100):
        replies.write(a_record(started=float(number)))

    some = replies.recent()
    assert (len(some.rows), some.total) == (40, 100)
    assert [some.rows[0].at, some.rows[-1].at] == [101.0, 62.0]
