"""An edit as a stream of events: pictures, heartbeats and errors in it (P2, P6)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message

from gateway.domain.clock import Phases
from gateway.domain.edit import Size
from gateway.domain.errors import ContentRefused, GatewayError, StillRunning
from gateway.edits.request import EditResult
from tests.downstream.harness import RUNNING_STATUS, EdgeHarness, FakeConnection, answer
from tests.downstream.kept_awake import STREAM, end_with, events, send
from tests.warp import WARP

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


async def test_a_stream() -> None:
    """Each picture is an event with every field of the schema, and the last byte is delivered."""
    harness = EdgeHarness(measure=lambda picture: Size(3, 5) if picture == b"one" else None)
    waiter = end_with(harness, answer(pictures=(b"one", b"two"), requested=2, ignored=("user",)))

    wire = await send(harness)

    whole = {
        "type": "image_edit.completed",
        "created_at": 1_700_000_000,
        "quality": "auto",
        "background": "auto",
        "output_format": "png",
        "usage": {
            "total_tokens": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
        },
    }
    pictures = [(b"one", "3x5"), (b"two", "auto")]
    assert events(wire.body) == [
        (
            "image_edit.completed",
            {**whole, "b64_json": base64.b64encode(picture).decode(), "size": size},
        )
        for picture, size in pictures
    ]
    assert {name: wire.headers.get(name) for name in ("content-type", "cache-control")} == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
    }
    assert wire.headers["x-accel-buffering"] == "no"
    assert wire.headers["x-wan-ignored-params"] == "user"
    assert "content-length" not in wire.headers
    assert waiter.was_delivered
    assert not wire.sent[-1]["more_body"]


async def test_heartbeats_of_a_stream() -> None:
    """The head goes out with the first beat; what is known only later stands in comments."""
    harness = EdgeHarness()
    reported = replace(RUNNING_STATUS, task_ids=(), stage="waiting")
    waiter = end_with(harness, answer(requested=2), after=17.0, status=reported)

    wire = await send(harness, {**STREAM, "quality": "high"})

    beats, after = wire.body.rsplit(b": keep-alive\n\n", 1)
    assert (beats + b": keep-alive\n\n") == b": keep-alive\n\n" * 3
    assert wire.headers["x-wan-ignored-params"] == "quality"
    assert "x-wan-task-id" not in wire.headers
    comments, _, _ = after.partition(b"\n\n")
    assert comments.decode().splitlines() == [
        ": x-wan-task-id: task-1, task-2",
        ": x-wan-images: requested=2, delivered=1",
        ": server-timing: read;dur=250.0, queue;dur=0.0, respond;dur=0.0",
    ]
    assert len(events(wire.body)) == 1
    assert (waiter.was_delivered, waiter.extended) == (True, 540.0)
    assert harness.seen.lines[0].outcome == "ok"


async def test_a_stream_of_urls() -> None:
    """Events have no place for a URL: asked for both, the field to change is named."""
    harness = EdgeHarness()

    wire = await send(harness, {**STREAM, "response_format": "url"})

    assert wire.sent[0]["status"] == 400
    assert json.loads(wire.body)["error"]["param"] == "response_format"
    assert harness.service.edit_requests == []


async def test_an_error_in_a_stream() -> None:
    """After the head an error is an event that SDKs raise; log and metric tell what it was."""
    harness = EdgeHarness()
    error = StillRunning("Not yet.", retry_after=3.5)
    error.edit_id = "edit_1"
    waiter = end_with(harness, error, after=6.0)

    wire = await send(harness)

    assert events(wire.body) == [
        (
            "error",
            {
                "type": "error",
                "error": {
                    "message": "Not yet.",
                    "type": "server_error",
                    "param": None,
                    "code": "still_running",
                    "edit_id": "edit_1",
                },
            },
        )
    ]
    assert b": retry-after-ms: 3500\n" in wire.body
    assert wire.sent[0]["status"] == 200
    assert not wire.sent[-1]["more_body"]
    assert harness.seen.of("late error") == [("late error", 503, "acme")]
    (line,) = harness.seen.lines
    assert (line.status, line.outcome, line.edit) == (200, "still_running", RUNNING_STATUS)
    assert not waiter.was_delivered


@pytest.mark.parametrize(
    ("outcome", "place"),
    [
        pytest.param(answer(), "polling", id="between-beats"),
        pytest.param(answer(pictures=(b"one", b"two")), "writing", id="in-the-pictures"),
        pytest.param(ContentRefused("No."), "writing", id="in-an-error"),
    ],
)
async def test_customer_leaves_a_stream(outcome: EditResult | GatewayError, place: str) -> None:
    """Who leaves in the middle has got nothing: the edit stays to be had by a retry."""
    harness, wire = EdgeHarness(), FakeConnection()
    waiter = end_with(harness, outcome, after=12.0)

    def cut(message: Message) -> None:
        body = message.get("body", b"")
        if (place == "polling" and body.startswith(b": keep-alive")) or b"event: " in body:
            wire.hang_up.set()

    wire.on_send, wire.waits = cut, True
    await send(harness, STREAM, wire)

    assert not waiter.was_delivered
    assert harness.service.left == 1
    assert harness.seen.of("disconnected") == [("disconnected", place)]
    assert harness.seen.lines[0].outcome == "customer_left"
    assert wire.sent[-1]["more_body"]


async def test_a_stream_is_waited_for() -> None:
    """Whoever asks for a stream waits for it, whatever else it prefers."""
    harness = EdgeHarness()
    end_with(harness, answer())

    wire = await send(harness, headers={"prefer": "respond-async"})

    assert (wire.sent[0]["status"], len(events(wire.body))) == (200, 1)
    assert "preference-applied" not in wire.headers


async def test_phases_of_a_late_error() -> None:
    """The time of telling an error in a stream is told as such."""
    harness = EdgeHarness()
    end_with(harness, ContentRefused("No."), after=6.0)

    await send(harness)

    phases = harness.seen.lines[0].phases
    assert isinstance(phases, Phases)
    assert phases.phase == "respond"
