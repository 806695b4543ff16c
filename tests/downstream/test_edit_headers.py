"""gateway.downstream.responses: what upstream says fits into a header line."""

import pytest

from gateway.downstream.responses import edit_headers
from gateway.edits.request import EditStatus


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        pytest.param("0385dc79-5ff8-4d82-bcb6-e6a7", "0385dc79-5ff8-4d82-bcb6-e6a7", id="its own"),
        pytest.param("task-\u6f22", "task-%E6%BC%A2", id="not latin-1"),
        pytest.param("a\r\nSet-Cookie: b", "a%0D%0ASet-Cookie:%20b", id="control characters"),
        pytest.param("a, b", "a%2C%20b", id="a comma"),
        pytest.param("x" * 10_000, "x" * 256, id="huge"),
    ],
)
def test_ids_of_upstream(expected: str, shown: str) -> None:
    """An id is shown as it is, or escaped where a header line cannot hold it."""
    headers = edit_headers(
        EditStatus("edit_1", "beijing", task_ids=(expected, "t"), upstream_request_ids=(expected,))
    )

    assert headers["x-wan-task-id"] == f"{shown}, t"
    assert headers["x-wan-upstream-request-id"] == shown
