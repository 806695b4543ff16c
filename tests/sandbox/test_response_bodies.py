"""The bodies of query and list responses, computed without HTTP."""

from typing import Any

import pytest

from gateway.sandbox.config import DAY, ListOptions
from gateway.sandbox.faults import End
from gateway.sandbox.responses import Refusal, message_of
from gateway.sandbox.task_calls import ListQuery, list_body, query_body, read_list_query
from gateway.sandbox.tasks import SandboxTask, SubmitRequest, wire_time
from tests.sandbox.region_client import EPOCH

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


def task(end: End = End(), *, started: float | None = 0.025, **fields: Any) -> SandboxTask:  # noqa: B008 - frozen
    request = SubmitRequest("m", "p", n=2, **fields)
    return SandboxTask("t", "r", 0, "a", "a/0", request, 0.0, 72.631, end, started=started)


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
def test_query_body(
    subject: SandboxTask, now: float, output: dict[str, Any], usage: int | None
) -> None:
    """Each state has the documented fields, and no other."""
    body = query_body(subject, now, EPOCH, URLS)

    assert body["output"] == {"task_id": "t", **output}
    assert body.get("usage") == (None if usage is None else {"image_count": usage})


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
    assert message_of("Odd.Code") == "Odd.Code (scripted in the sandbox)."


NOON = 1758686400.0  # 2025-09-24 12:00:00 in Beijing


def list_query(**query: str) -> ListQuery:
    return read_list_query(query, NOON, 100)


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        pytest.param({}, NOON - DAY, NOON, id="last-24-hours"),
        pytest.param({"start_time": "", "end_time": ""}, NOON - DAY, NOON, id="empty"),
        pytest.param({"end_time": "20250924110000"}, NOON - 3600 - DAY, NOON - 3600, id="end"),
        pytest.param({"start_time": "20250924110000"}, NOON - 3600, NOON, id="start"),
        pytest.param({"start_time": "20250922120000"}, NOON - 2 * DAY, NOON - DAY, id="old-start"),
        pytest.param(
            {"start_time": "20250924110000", "end_time": "20250924120000"},
            NOON - 3600,
            NOON,
            id="both",
        ),
    ],
)
def test_window(query: dict[str, str], start: float, end: float) -> None:
    """Times are Beijing time; what is left out makes a window of 24 hours."""
    assert (list_query(**query).start, list_query(**query).end) == (start, end)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param({"start_time": "2025-09-24"}, "start_time", id="form"),
        pytest.param({"end_time": "20251324000000"}, "end_time", id="month-13"),
        pytest.param(
            {"start_time": "20250923110000", "end_time": "20250924110001"},
            "start_time",
            id="over-24-hours",
        ),
        pytest.param({"status": "DONE"}, "status", id="status"),
        pytest.param({"page_no": "0"}, "page_no", id="page-0"),
        pytest.param({"page_no": "-1"}, "page_no", id="page-negative"),
        pytest.param({"page_size": "ten"}, "page_size", id="size-text"),
    ],
)
def test_refusals(query: dict[str, str], name: str) -> None:
    """A parameter of the wrong form is 400 and named."""
    with pytest.raises(Refusal, match=name) as caught:
        list_query(**query)

    assert (caught.value.status, caught.value.code) == (400, "InvalidParameter")


def test_page_size_is_capped() -> None:
    """A page larger than the region's is answered with the region's."""
    assert list_query(page_size="500").page_size == 100
    assert (list_query().page, list_query().page_size) == (1, 10)


def tasks() -> list[SandboxTask]:
    rows = []
    for number in range(5):
        request = SubmitRequest("m1" if number % 2 else "m2", "p", n=1)
        each = SandboxTask(f"t{number}", "r", number, "a", "a/0", request, number, 1, End())
        each.started = 3.5 if number == 4 else float(number)
        rows.append(each)
    return rows


@pytest.mark.parametrize(
    ("query", "listing", "ids", "total", "pages"),
    [
        pytest.param({}, ListOptions(), "43210", 5, 1, id="newest-first"),
        pytest.param({}, ListOptions(newest_first=False), "01234", 5, 1, id="oldest-first"),
        pytest.param({"page_size": "2"}, ListOptions(), "43", 5, 3, id="page-1"),
        pytest.param({"page_size": "2", "page_no": "3"}, ListOptions(), "0", 5, 3, id="last-page"),
        pytest.param({"page_no": "2"}, ListOptions(), "", 5, 1, id="beyond"),
        pytest.param({"model_name": "m1"}, ListOptions(), "31", 2, 1, id="model"),
        pytest.param({"status": "RUNNING"}, ListOptions(), "4", 1, 1, id="status"),
        pytest.param({"status": "PENDING"}, ListOptions(), "", 0, 0, id="none"),
        pytest.param({"start_time": "20250923221412"}, ListOptions(), "432", 3, 1, id="from"),
        pytest.param({"end_time": "20250923221412"}, ListOptions(), "10", 2, 1, id="to"),
        pytest.param({}, ListOptions(lag_seconds=2.5), "10", 2, 1, id="lag"),
    ],
)
def test_page(
    query: dict[str, str], listing: ListOptions, ids: str, total: int, pages: int
) -> None:
    """Rows are filtered, ordered and cut into pages; totals count all of them."""
    now = 4.25
    parsed = read_list_query(query, EPOCH + now, 100)

    body: dict[str, Any] = list_body(tasks(), parsed, listing, now, EPOCH, "beijing")

    assert "".join(row["task_id"][1] for row in body["data"]) == ids
    assert (body["total"], body["total_page"]) == (total, pages)
