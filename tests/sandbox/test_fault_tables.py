"""The JSON form of faults."""

from typing import Any

import pytest

from gateway.sandbox.faults import (
    Answer,
    Cut,
    Drop,
    End,
    Forget,
    Hang,
    Late,
    Slow,
    read_fault,
    write_fault,
)

TABLES: list[dict[str, Any]] = [
    {"on": "submit", "do": "answer", "status": 503, "body": "<html>", "retry_after": 2},
    {"on": "query", "do": "hang", "seconds": 1.5, "after": True, "nth": 2},
    {"on": "list", "do": "drop", "reset": True, "probability": 0.5},
    {"on": "submit", "do": "late", "seconds": 1, "prompt": "hat"},
    {"on": "download", "do": "cut", "bytes": 10, "task": 0},
    {"on": "download", "do": "slow", "start": 1.0, "bytes_per_second": 100, "count": 1},
    {"on": "query", "do": "forget"},
    {"on": "submit", "do": "end", "status": "FAILED", "code": "Arrearage", "images": (0, 1)},
]


@pytest.mark.parametrize("table", [pytest.param(row, id=row["do"]) for row in TABLES])
def test_round_trip(table: dict[str, Any]) -> None:
    """Each action is read from JSON and shown again as it was written."""
    fault = read_fault(table)

    assert write_fault(fault) == table
    assert type(fault.action) in {Answer, Hang, Drop, Late, Cut, Slow, Forget, End}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        pytest.param({"do": "drop"}, "fault.on", id="no-operation"),
        pytest.param({"on": "dance", "do": "drop"}, "fault.on", id="unknown-operation"),
        pytest.param({"on": "query", "do": "dance"}, "fault.do", id="unknown-action"),
        pytest.param({"on": "query", "do": "drop", "x": 1}, "fault.x: not a field", id="field"),
        pytest.param({"on": "query", "do": "answer"}, "fault.status: .* needs", id="missing"),
        pytest.param({"on": "query", "do": "late", "seconds": 1}, "submit only", id="late-query"),
        pytest.param({"on": "submit", "do": "forget"}, "query only", id="forget-submit"),
        pytest.param({"on": "query", "do": "answer", "status": "x"}, "fault.status", id="text"),
        pytest.param({"on": "query", "do": "drop", "after": 1}, "fault.after", id="number"),
        pytest.param({"on": "query", "do": "drop", "nth": True}, "fault.nth", id="true-is-not-1"),
        pytest.param(
            {"on": "submit", "do": "end", "status": "DONE"}, "fault.status", id="no-status"
        ),
        pytest.param(
            {"on": "submit", "do": "end", "images": ["0"]}, "fault.images", id="text-index"
        ),
    ],
)
def test_read_refuses(table: dict[str, Any], text: str) -> None:
    """What is no rule is refused by name."""
    with pytest.raises(ValueError, match=text):
        read_fault(table)
