"""Filters, windows and pages of the list."""

from typing import Any

import pytest

from gateway.sandbox.config import DAY, Listing
from gateway.sandbox.faults import End
from gateway.sandbox.responses import Refusal
from gateway.sandbox.task_calls import Wanted, list_body, read_wanted
from gateway.sandbox.tasks import Order, Task
from tests.sandbox.stage import EPOCH

NOON = 1758686400.0  # 2025-09-24 12:00:00 in Beijing


def wanted(**query: str) -> Wanted:
    return read_wanted(query, NOON, 100)


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
    assert (wanted(**query).start, wanted(**query).end) == (start, end)


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
        wanted(**query)

    assert (caught.value.status, caught.value.code) == (400, "InvalidParameter")


def test_page_size_is_capped() -> None:
    """A page larger than the region's is answered with the region's."""
    assert wanted(page_size="500").page_size == 100
    assert (wanted().page, wanted().page_size) == (1, 10)


def tasks() -> list[Task]:
    made = []
    for number in range(5):
        order = Order("m1" if number % 2 else "m2", "p", n=1)
        each = Task(f"t{number}", "r", number, "a", "a/0", order, number, 1, End())
        each.started = 3.5 if number == 4 else float(number)
        made.append(each)
    return made


@pytest.mark.parametrize(
    ("query", "listing", "ids", "total", "pages"),
    [
        pytest.param({}, Listing(), "43210", 5, 1, id="newest-first"),
        pytest.param({}, Listing(newest_first=False), "01234", 5, 1, id="oldest-first"),
        pytest.param({"page_size": "2"}, Listing(), "43", 5, 3, id="page-1"),
        pytest.param({"page_size": "2", "page_no": "3"}, Listing(), "0", 5, 3, id="last-page"),
        pytest.param({"page_no": "2"}, Listing(), "", 5, 1, id="beyond"),
        pytest.param({"model_name": "m1"}, Listing(), "31", 2, 1, id="model"),
        pytest.param({"status": "RUNNING"}, Listing(), "4", 1, 1, id="status"),
        pytest.param({"status": "PENDING"}, Listing(), "", 0, 0, id="none"),
        pytest.param({"start_time": "20250923221412"}, Listing(), "432", 3, 1, id="from"),
        pytest.param({"end_time": "20250923221412"}, Listing(), "10", 2, 1, id="to"),
        pytest.param({}, Listing(lag_seconds=2.5), "10", 2, 1, id="lag"),
    ],
)
def test_page(query: dict[str, str], listing: Listing, ids: str, total: int, pages: int) -> None:
    """Rows are filtered, ordered and cut into pages; totals count all of them."""
    now = 4.25
    want = read_wanted(query, EPOCH + now, 100)

    said: dict[str, Any] = list_body(tasks(), want, listing, now, EPOCH, "beijing")

    assert "".join(row["task_id"][1] for row in said["data"]) == ids
    assert (said["total"], said["total_page"]) == (total, pages)
