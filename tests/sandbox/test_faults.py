"""Faults: their JSON form, which request each one hits, scripts in a prompt."""

from random import Random
from typing import Any

import pytest

from gateway.sandbox.faults import (
    Answer,
    Cut,
    Drop,
    End,
    Fault,
    FaultInjector,
    Forget,
    Hang,
    Late,
    Slow,
    end_from_prompt,
    read_fault,
    write_fault,
)
from gateway.sandbox.responses import Refusal

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


DROP = Drop()


def book(*faults: Fault) -> FaultInjector:
    return FaultInjector(faults, Random(1))


@pytest.mark.parametrize(
    ("fault", "hits"),
    [
        pytest.param(Fault("query", DROP), [0, 1, 2, 3, 4], id="always"),
        pytest.param(Fault("submit", DROP), [], id="other-operation"),
        pytest.param(Fault("query", DROP, prompt="ha"), [0, 2, 4], id="prompt"),
        pytest.param(Fault("query", DROP, task=3), [3], id="task"),
        pytest.param(Fault("query", DROP, nth=2), [1], id="nth"),
        pytest.param(Fault("query", DROP, prompt="hat", nth=2), [2], id="nth-of-those"),
        pytest.param(Fault("query", DROP, count=2), [0, 1], id="count"),
        pytest.param(Fault("query", DROP, probability=0), [], id="never"),
    ],
)
def test_hits(fault: Fault, hits: list[int]) -> None:
    """All conditions of a rule must hold."""
    faults = book(fault)

    hit = [
        number
        for number in range(5)
        if faults.action_for("query", prompt="cap" if number % 2 else "hat", task=number)
    ]

    assert hit == hits


def test_probability() -> None:
    """A rule with a probability hits about so often."""
    faults = book(Fault("query", DROP, probability=0.25))

    hits = sum(faults.action_for("query") is not None for _ in range(1000))

    assert 200 < hits < 300


def test_first_match_plays() -> None:
    """The first rule that hits decides; it is shown how often each one did."""
    faults = book(Fault("query", Forget(), count=1), Fault("query", DROP))

    assert [faults.action_for("query"), faults.action_for("query")] == [Forget(), DROP]
    assert [(row["seen"], row["hits"]) for row in faults.show()] == [(2, 1), (1, 1)]


@pytest.mark.parametrize(
    ("prompt", "end"),
    [
        pytest.param("a hat", End(), id="none"),
        pytest.param(
            "a [sandbox:fail DataInspectionFailed] hat",
            End("FAILED", "DataInspectionFailed"),
            id="fail",
        ),
        pytest.param("[sandbox:fail]", End("FAILED"), id="fail-by-default"),
        pytest.param("[sandbox:partial 1]", End(images=(1,)), id="partial"),
        pytest.param("[sandbox:partial 0, 2]", End(images=(0, 2)), id="partial-two"),
        pytest.param("[sandbox:seconds 2.5]", End(seconds=2.5), id="seconds"),
        pytest.param("[sandbox:cancel]", End("CANCELED"), id="cancel"),
        pytest.param(
            "[sandbox:unknown] and [sandbox:seconds 1]", End("UNKNOWN", seconds=1), id="two"
        ),
    ],
)
def test_ends(prompt: str, end: End) -> None:
    """Each script decides its part of the end."""
    assert end_from_prompt(prompt) == end


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        pytest.param("[sandbox:refuse Arrearage]", 400, "Arrearage", id="refuse"),
        pytest.param("[sandbox:refuse Throttling]", 429, "Throttling", id="refuse-429"),
        pytest.param("[sandbox:refuse]", 400, "InvalidParameter", id="refuse-by-default"),
        pytest.param("[sandbox:refuse Odd]", 400, "Odd", id="refuse-unlisted"),
        pytest.param("[sandbox:partial x]", 400, "InvalidParameter", id="partial-of-nothing"),
        pytest.param("[sandbox:seconds nan]", 400, "InvalidParameter", id="not-a-time"),
        pytest.param("[sandbox:dance]", 400, "InvalidParameter", id="no-script"),
    ],
)
def test_refusals(prompt: str, status: int, code: str) -> None:
    """A script can refuse at POST, and one that is none is refused."""
    with pytest.raises(Refusal) as caught:
        end_from_prompt(prompt)

    assert (caught.value.status, caught.value.code) == (status, code)
