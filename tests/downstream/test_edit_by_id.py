"""An edit by its id: fetched, looked at, called off."""

import pytest

from gateway.domain.errors import UpstreamFailed
from gateway.edits.request import EditStatus
from tests.downstream.calls import EDITS, end_with
from tests.downstream.harness import RUNNING_STATUS, EdgeHarness, answer

pytestmark = pytest.mark.anyio


ENDED = EditStatus(edit_id="edit_1", region="beijing", stage="succeeded", created=7)


async def test_get_an_ended_edit() -> None:
    """An edit that has ended is answered by its id as it would have been by POST."""
    harness = EdgeHarness()
    end_with(harness, answer())
    harness.service.waiter.status = ENDED

    async with harness.client() as client:
        reply = await client.get(f"{EDITS}/edit_1")

    assert reply.status_code == 200
    assert reply.json()["data"] == [{"b64_json": "b25l"}]
    assert harness.service.waiter.was_delivered


async def test_get_a_running_edit() -> None:
    """An edit that runs is told of with 202."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.get("/images/edits/edit_1/")

    assert (reply.status_code, reply.json()["status"]) == (202, "running")
    assert harness.seen.lines[0].edit == RUNNING_STATUS
    assert not harness.service.waiter.was_delivered


@pytest.mark.parametrize(
    ("expected", "status"),
    [pytest.param(RUNNING_STATUS, 202, id="runs"), pytest.param(ENDED, 200, id="ended")],
)
async def test_head_of_an_edit(expected: EditStatus, status: int) -> None:
    """HEAD tells how far an edit is; it brings no picture and delivers none."""
    harness = EdgeHarness()
    harness.service.waiter.status = expected

    async with harness.client() as client:
        reply = await client.head(f"{EDITS}/edit_1")

    assert (reply.status_code, reply.headers["x-wan-edit-id"]) == (status, "edit_1")
    assert not harness.service.waiter.was_delivered


async def test_head_of_a_failed_edit() -> None:
    """HEAD of an edit that failed has the status that GET has."""
    harness = EdgeHarness()
    end_with(harness, UpstreamFailed("Theirs."))
    harness.service.waiter.status = EditStatus("edit_1", "beijing", stage="failed")

    async with harness.client() as client:
        reply = await client.head(f"{EDITS}/edit_1")

    assert reply.status_code == 500


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_edit(method: str) -> None:
    """Nobody's edit, and another tenant's, is 404."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.request(method, f"{EDITS}/edit_2")

    assert reply.status_code == 404
    assert method == "HEAD" or reply.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("expected", "status"),
    [pytest.param(RUNNING_STATUS, 202, id="runs-on"), pytest.param(ENDED, 200, id="ended")],
)
async def test_delete(expected: EditStatus, status: int) -> None:
    """An edit called off is told of as it is then."""
    harness = EdgeHarness()
    harness.service.waiter.status = expected

    async with harness.client() as client:
        reply = await client.delete(f"{EDITS}/edit_1")

    assert (reply.status_code, reply.json()["status"]) == (status, expected.stage)
    assert reply.headers["x-wan-edit-id"] == "edit_1"
