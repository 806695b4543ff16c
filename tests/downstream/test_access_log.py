import re
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import log_fields, record_of
from gateway.edits.request import EditStatus
from tests.downstream.harness import (
    FILES,
    FORM,
    KEY,
    EdgeHarness,
    FakeClock,
    FakeConnection,
    Marks,
    Recorder,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("trace-1.a_B", True, id="own"),
        pytest.param("a" * 128, True, id="longest"),
        pytest.param("a" * 129, False, id="too-long"),
        pytest.param("a b", False, id="space"),
        pytest.param('a"b', False, id="quote"),
        pytest.param("", False, id="empty"),
    ],
)
async def test_request_id(given: str, kept: bool) -> None:
    """A harmless id of the client's is kept; else there is a new one of OpenAI's form."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.get("/healthz", headers={"x-request-id": given})

    request_id = reply.headers["x-request-id"]
    assert request_id == harness.seen.lines[0].request_id
    assert request_id == given if kept else re.fullmatch("req_[0-9a-f]{32}", request_id)


async def test_one_line_for_each_request() -> None:
    """A line tells who, what, how long and how much, and no secret."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits?x=1", data=FORM, files=FILES)

    (line,) = harness.seen.lines
    assert (line.method, line.path, line.route) == ("POST", "/v1/images/edits", "/v1/images/edits")
    assert (line.tenant, line.status, line.outcome) == ("acme", 200, "ok")
    assert line.edit is not None
    assert line.body_in == int(reply.request.headers["content-length"])
    assert line.body_out == len(reply.content)
    assert line.body_ended
    assert harness.seen.of("ended") == [
        ("ended", line.route, "POST", 200, "acme", 0.0, line.body_in, line.body_out)
    ]
    assert KEY not in repr(line)
    assert FORM["prompt"] not in repr(line)


async def test_a_bug_before_the_first_byte() -> None:
    """A bug is 500 with the request id and nothing else; the line tells where it is."""
    harness = EdgeHarness()

    async def breaks(pictures: Any, tenant: Any) -> Any:
        try:
            return dict[str, str]()[FORM["prompt"]]
        except KeyError as exc:
            raise ValueError(FORM["prompt"]) from exc

    harness.check = breaks
    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", data=FORM, files=FILES)

    (line,) = harness.seen.lines
    assert (reply.status_code, line.outcome) == (500, "internal_error")
    assert reply.json() == {
        "error": {
            "message": "The server had an error while processing your request. Quote the request "
            f"id {line.request_id} when you ask about it.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
    }
    assert reply.headers["x-request-id"] == line.request_id
    assert reply.headers["x-should-retry"] == "false"
    assert "ValueError" in line.bug
    assert "KeyError" in line.bug
    assert FORM["prompt"] not in line.bug


async def test_a_bug_in_the_middle_of_an_answer() -> None:
    """What has begun is not answered a second time; it stays without an end."""
    seen = Recorder()
    wire = FakeConnection()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    log = AccessLogMiddleware(app, clock=FakeClock(), observer=seen, log=seen.write)
    await log(
        {"type": "http", "method": "GET", "path": "/", "headers": []}, wire.receive, wire.send
    )

    (line,) = seen.lines
    assert [message["type"] for message in wire.sent] == ["http.response.start"]
    assert (line.status, line.outcome) == (200, "internal_error")
    assert "ValueError" in line.bug


async def test_time_and_headers() -> None:
    """The answer tells how long it took; the line, how long until the last byte."""
    clock, seen = FakeClock(), Recorder()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        record_of(scope).route = "/x"
        await clock.sleep(1.5)
        await send({"type": "http.response.start", "status": 204})
        await clock.sleep(1)
        await send({"type": "http.response.body"})

    wire = FakeConnection()
    scope = {"type": "http", "method": "GET", "path": "/x" * 200, "headers": []}
    await AccessLogMiddleware(app, clock=clock, observer=seen, log=seen.write)(
        scope, wire.receive, wire.send
    )

    assert wire.headers["openai-processing-ms"] == "1500"
    assert wire.headers["openai-version"] == "2020-10-01"
    assert seen.lines[0].seconds == 2.5
    assert len(seen.lines[0].path) == 200


async def test_no_page_no_count() -> None:
    """A request that no page took was never counted as started, so it is not counted as ended."""
    seen = Recorder()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    wire = FakeConnection()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    log = AccessLogMiddleware(app, clock=FakeClock(), observer=seen, log=seen.write)
    await log(scope, wire.receive, wire.send)

    assert wire.sent[0]["status"] == 500
    assert seen.events == []
    assert seen.lines[0].outcome == "internal_error"


async def test_other_protocols_pass() -> None:
    """What is no HTTP request goes through untouched."""
    seen = Recorder()
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def nothing(*_: Any) -> Message:
        raise AssertionError

    await AccessLogMiddleware(app, clock=FakeClock(), observer=seen, log=seen.write)(
        {"type": "lifespan"},
        nothing,
        nothing,  # type: ignore[arg-type]  # never called
    )

    assert (passed, seen.lines) == (["lifespan"], [])


@pytest.mark.parametrize(
    ("method", "route", "outcome", "status", "counted"),
    [
        ("POST", "/v1/images/edits", "server_is_draining", None, "draining"),
        ("POST", "/v1/images/generations", "server_is_overloaded", None, "bytes"),
        ("POST", "/v1/images/edits", "rate_limit_exceeded", "waiting", "deadline"),
        ("POST", "/v1/images/edits", "rate_limit_exceeded", "failed", None),
        ("POST", "/v1/images/edits", "rate_limit_exceeded", None, None),
        ("POST", "/v1/images/edits", "ok", None, None),
        ("GET", "/v1/images/edits/{edit_id}", "server_is_overloaded", None, None),
        ("POST", "/dashboard/events", "server_is_overloaded", None, None),
    ],
)
async def test_edits_refused_before_their_submit(
    method: str, route: str, outcome: str, status: str | None, counted: str | None
) -> None:
    """Why an edit was refused before its submit is counted once, by its tenant."""
    seen = Recorder()

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        line = record_of(scope)
        line.route, line.outcome, line.tenant = route, outcome, "acme"
        line.edit = None if status is None else EditStatus("edit_1", "beijing", stage=status)

    log = AccessLogMiddleware(app, clock=FakeClock(), observer=seen, log=seen.write)
    wire = FakeConnection()
    await log(
        {"type": "http", "method": method, "path": "/", "headers": []}, wire.receive, wire.send
    )

    assert seen.rejected == ([] if counted is None else [("acme", counted)])


async def test_two_nodes_count_one_request() -> None:
    """The node that a client came to counts the request; both have a line of it."""
    harness = EdgeHarness()
    harness.app.user_middleware.append(Middleware(Marks, via="node-b"))

    async with harness.client() as client:
        await client.post("/v1/images/edits", data=FORM, files=FILES)

    assert harness.seen.of("started") == harness.seen.of("ended") == []
    assert log_fields(harness.seen.lines[0])["via"] == "node-b"


@pytest.mark.parametrize(
    ("marks", "counted"),
    [
        pytest.param({"via": "node-b"}, [("acme", "draining")], id="by-the-owner"),
        pytest.param({"owner": "node-b"}, [], id="not-on-the-way-to-it"),
    ],
)
async def test_two_nodes_count_one_rejection(
    marks: dict[str, str], counted: list[tuple[str, str]]
) -> None:
    """Who has refused an edit counts it; the node that passes the refusal on does not."""
    harness = EdgeHarness()
    harness.app.user_middleware.append(Middleware(Marks, **marks))
    harness.readiness.draining = True

    async with harness.client() as client:
        await client.post("/v1/images/edits", data=FORM, files=FILES)

    assert harness.seen.rejected == counted
