"""POST /v1/images/edits that brings no picture: what is refused where, and how it is told."""

from typing import Any

import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidImage, KeyReused, RateLimited, StillRunning, UpstreamFailed
from gateway.domain.tenant import Tenant
from tests.downstream.calls import end_with, post, send_raw
from tests.downstream.harness import FORM, EdgeHarness, FakeConnection, limits_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        pytest.param(
            StillRunning("Not yet.", retry_after=3.5),
            503,
            {"x-should-retry": "true", "retry-after": "4", "retry-after-ms": "3500"},
            id="deadline",
        ),
        pytest.param(
            UpstreamFailed("Theirs.", upstream_request_id="up-9", upstream_code="InternalError"),
            500,
            {"x-should-retry": "true", "x-wan-upstream-request-id": "up-9"},
            id="failed",
        ),
        pytest.param(RateLimited("Later."), 429, {"x-should-retry": "true"}, id="line-full"),
    ],
)
async def test_bad_ends(error: Any, status: int, headers: dict[str, str]) -> None:
    """A bad end is refused with what is known of the edit, and is not delivered."""
    harness = EdgeHarness()
    error.edit_id = "edit_1"
    end_with(harness, error)

    reply = await post(harness)

    assert reply.status_code == status
    assert reply.json()["error"]["edit_id"] == "edit_1"
    assert {name: reply.headers[name] for name in headers} == headers
    assert reply.headers["x-wan-edit-id"] == "edit_1"
    assert reply.headers["x-wan-task-id"] == "task-1, task-2"
    assert harness.seen.lines[0].outcome == error.code
    assert harness.seen.lines[0].upstream_code == (error.upstream_code or "")
    assert not harness.service.waiter.was_delivered
    assert harness.service.left == 1


async def test_refused_by_the_service() -> None:
    """What the service refuses before there is an edit has no edit's headers."""
    harness = EdgeHarness()
    harness.service.refusal = KeyReused("This key came with other content.")

    reply = await post(harness)

    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert "x-wan-edit-id" not in reply.headers


async def test_picture_against_a_rule() -> None:
    """What the check of pictures refuses reaches the client, and no service."""
    harness = EdgeHarness()

    async def refuses(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        raise InvalidImage("Image 1 is too small.", param="image")

    harness.check = refuses
    reply = await post(harness)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_image_file")
    assert harness.service.edit_requests == []


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        pytest.param(
            {"data": {**FORM, "mask": "https://a.b/m.png"}},
            *(400, "invalid_value", "mask"),
            id="mask",
        ),
        pytest.param(
            {"headers": {"idempotency-key": "k" * 256}}, 400, "invalid_value", None, id="long-key"
        ),
        pytest.param({"data": {}}, 400, "missing_required_parameter", "prompt", id="no-prompt"),
        pytest.param(
            {"data": {**FORM, "model": "dall-e-9"}}, 400, "invalid_value", "model", id="model"
        ),
        pytest.param(
            {"headers": {"authorization": "Bearer sk-no"}}, 401, "invalid_api_key", None, id="key"
        ),
    ],
)
async def test_refused_before_the_service(
    changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    """What can be refused for nothing is refused before the service hears of it."""
    harness = EdgeHarness()

    reply = await post(harness, **changes)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert harness.service.edit_requests == []
    assert harness.seen.inflight == 0


async def test_draining() -> None:
    """While draining new edits are refused, and marked retries may still join theirs."""
    harness = EdgeHarness()
    harness.readiness.draining = True

    new = await post(harness)
    retried = await post(harness, headers={"x-stainless-retry-count": "1"})

    assert (new.status_code, new.json()["error"]["code"]) == (503, "server_is_draining")
    assert new.headers["retry-after-ms"] == "1000"
    assert retried.status_code == 200


async def test_too_large_by_content_length() -> None:
    """A body that is announced too large is refused before a byte of it is read."""
    harness = EdgeHarness(limits=limits_of(max_body_bytes=100))
    wire = FakeConnection()
    unread: list[int] = []
    wire.on_send = lambda _: unread.append(len(wire.script))

    await send_raw(harness, wire)

    assert unread[0] == 1
    assert (wire.sent[0]["status"], wire.headers["connection"]) == (413, "close")
    assert harness.seen.lines[0].outcome == "request_too_large"


async def test_no_memory_by_content_length() -> None:
    """A body for which there is no memory is refused before a byte of it is read."""
    harness = EdgeHarness(most_bytes=100)
    wire = FakeConnection()

    await send_raw(harness, wire)

    assert wire.sent[0]["status"] == 503
    assert wire.script != []
