import asyncio
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from gateway.domain.errors import NotFound
from gateway.downstream import responses
from gateway.downstream.access_record import begin_record
from tests.downstream.harness import (
    FILES,
    FORM,
    KEY,
    EdgeHarness,
    FakeConnection,
    limits_of,
    request_of,
)

pytestmark = pytest.mark.anyio


def edit(*, chunks: int) -> tuple[dict[str, Any], list[Message]]:
    headers = {"authorization": f"Bearer {KEY}"}
    request = httpx.Request(
        "POST", "http://gateway/v1/images/edits", data=FORM, files=FILES, headers=headers
    )
    body = request.read()
    del request.headers["content-length"]
    size = len(body) // chunks + 1
    return request_of(request, pieces=[body[n : n + size] for n in range(0, len(body), size)])


async def test_too_large_waits_for_the_rest() -> None:
    """The refusal goes out whole, then the rest of the body is thrown away, then it ends."""
    harness = EdgeHarness(limits=limits_of(max_body_bytes=100), linger_seconds=0.01)
    scope, messages = edit(chunks=5)
    wire = FakeConnection(*messages)
    left: list[int] = []
    wire.on_send = lambda _: left.append(len(wire.script))

    await harness.app(scope, wire.receive, wire.send)

    assert (wire.sent[0]["status"], wire.headers["connection"]) == (413, "close")
    assert left == [4, 4, 0]
    assert [message.get("more_body") for message in wire.sent] == [None, True, False]
    assert int(wire.headers["content-length"]) == len(wire.body)


async def test_too_large_waits_no_longer_than_that() -> None:
    """Who neither sends the rest nor hangs up is cut off after a while."""
    harness = EdgeHarness(limits=limits_of(max_body_bytes=100), linger_seconds=0.01)
    scope, messages = edit(chunks=5)
    wire = FakeConnection(*messages[:2])

    await harness.app(scope, wire.receive, wire.send)

    assert wire.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_too_slow() -> None:
    """A body that stays away is 408 on a connection that ends, and may be sent again."""
    harness = EdgeHarness(limits=limits_of(idle_body_seconds=0.01), linger_seconds=0.01)
    scope, messages = edit(chunks=5)
    wire = FakeConnection(*messages[:2])

    await harness.app(scope, wire.receive, wire.send)

    assert (wire.sent[0]["status"], wire.headers["connection"]) == (408, "close")
    assert wire.headers["x-should-retry"] == "true"
    assert harness.seen.inflight == 0


@pytest.mark.parametrize(
    ("status", "code"), [(413, "request_too_large"), (404, "unknown_url"), (418, "invalid_request")]
)
async def test_what_starlette_refuses(status: int, code: str) -> None:
    """Starlette's own refusals come in the same envelope."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    begin_record(scope, 0.0)

    reply = await responses.http_error_response(Request(scope), HTTPException(status))

    assert f'"code":"{code}"'.encode() in bytes(reply.body)


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        pytest.param(responses.error_response, HTTPException(404), id="gateway"),
        pytest.param(responses.http_error_response, NotFound("x"), id="http"),
    ],
)
def test_not_theirs(handler: Any, error: Exception) -> None:
    """A handler that gets what is not its own raises it again."""
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})

    with pytest.raises(type(error)):
        asyncio.run(handler(request, error))
