"""What a query says of a task at each time of its life."""

from typing import Any

import pytest

from gateway.sandbox.faults import End
from gateway.sandbox.responses import text_of
from gateway.sandbox.tasks import Order, Task, query_body, wire_time
from tests.sandbox.stage import EPOCH

URLS = ["http://x/0", "http://x/1"]
SUBMIT_TIME = {"submit_time": "2025-09-23 22:14:10.800"}
SCHEDULED = {**SUBMIT_TIME, "scheduled_time": "2025-09-23 22:14:10.825"}
ENDED = {**SCHEDULED, "end_time": "2025-09-23 22:15:23.456"}
GOOD = {"orig_prompt": "p", "actual_prompt": "p, natural light, fine detail"}
TIMEOUT = {
    "code": "InternalError.Timeout",
    "message": "An internal timeout error has occured during execution, please try again later or"
    " contact service support.",
}


def metrics(total: int, good: int, bad: int) -> dict[str, Any]:
    return {"task_metrics": {"TOTAL": total, "SUCCEEDED": good, "FAILED": bad}}


def task(end: End = End(), *, started: float | None = 0.025, **asked: Any) -> Task:  # noqa: B008 - frozen
    order = Order("m", "p", n=2, **asked)
    return Task("t", "r", 0, "a", "a/0", order, 0.0, 72.631, end, started=started)


@pytest.mark.parametrize(
    ("subject", "now", "output", "usage"),
    [
        pytest.param(
            task(started=None), 5, {"task_status": "PENDING", **SUBMIT_TIME}, None, id="pending"
        ),
        pytest.param(
            task(),
            72.6,
            {"task_status": "RUNNING", **SCHEDULED, **metrics(2, 0, 0)},
            None,
            id="running",
        ),
        pytest.param(
            task(),
            73,
            {
                "task_status": "SUCCEEDED",
                **ENDED,
                **metrics(2, 2, 0),
                "results": [{**GOOD, "url": URLS[0]}, {**GOOD, "url": URLS[1]}],
            },
            2,
            id="succeeded",
        ),
        pytest.param(
            task(prompt_extend=False),
            73,
            {
                "task_status": "SUCCEEDED",
                **ENDED,
                **metrics(2, 2, 0),
                "results": [{"orig_prompt": "p", "url": url} for url in URLS],
            },
            2,
            id="no-actual-prompt",
        ),
        pytest.param(
            task(End(images=(0,))),
            73,
            {
                "task_status": "SUCCEEDED",
                **ENDED,
                **metrics(2, 1, 1),
                "results": [TIMEOUT, {**GOOD, "url": URLS[1]}],
            },
            1,
            id="partial",
        ),
        pytest.param(
            task(End(images=(0, 1, 7))),
            73,
            {"task_status": "FAILED", **ENDED, **metrics(2, 0, 2), **TIMEOUT},
            None,
            id="all-failed",
        ),
        pytest.param(
            task(End("FAILED", "DataInspectionFailed", "no")),
            73,
            {
                "task_status": "FAILED",
                **ENDED,
                **metrics(2, 0, 2),
                "code": "DataInspectionFailed",
                "message": "no",
            },
            None,
            id="failed",
        ),
        pytest.param(
            task(End("CANCELED")), 73, {"task_status": "CANCELED", **ENDED}, None, id="canceled"
        ),
        pytest.param(task(End("UNKNOWN")), 73, {"task_status": "UNKNOWN"}, None, id="unknown"),
    ],
)
def test_query_body(subject: Task, now: float, output: dict[str, Any], usage: int | None) -> None:
    """Each state has the documented fields, and no other."""
    said = query_body(subject, now, EPOCH, URLS)

    assert said["output"] == {"task_id": "t", **output}
    assert said.get("usage") == (None if usage is None else {"image_count": usage})


def test_canceled_while_it_waited() -> None:
    """A cancelled task ended when it was cancelled and never ran."""
    subject = task(started=None)
    subject.canceled = 4.0

    assert (subject.status(3.9), subject.status(4.0)) == ("PENDING", "CANCELED")
    assert subject.ended == 4.0


@pytest.mark.parametrize(
    ("end", "billed"),
    [
        pytest.param(End(), 2, id="all"),
        pytest.param(End(images=(1,)), 1, id="partial"),
        pytest.param(End("FAILED"), 0, id="failed"),
        pytest.param(End("UNKNOWN"), 0, id="unknown"),
    ],
)
def test_billed(end: End, billed: int) -> None:
    """Only pictures that were made are billed, once the task has ended."""
    assert task(end).billed(10) == 0
    assert task(end).billed(73) == billed


def test_wire_time() -> None:
    """Times are Beijing time in milliseconds without an offset."""
    assert wire_time(0.9999) == "1970-01-01 08:00:00.999"


def test_unlisted_code_has_a_text() -> None:
    """A code that no document knows still has a message."""
    assert text_of("Odd.Code") == "Odd.Code (scripted in the sandbox)."
