"""Replies in their three forms: what is sent when, and what becomes of an error (P2, P6)."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from starlette.types import Message, Send

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions
from gateway.domain.errors import ContentRefused, RateLimited, ResultUnavailable
from gateway.domain.models import Operation
from gateway.domain.tenant import KeepAlive
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.reply import EventStreamReply, JsonReply, PaddedJsonReply, reply_form
from gateway.edits.request import EditResult
from gateway.edits.waiter import Waiter
from tests.downstream.harness import (
    ACME,
    FORM,
    RUNNING_STATUS,
    EdgeHarness,
    FakeClock,
    FakeConnection,
    FakeWaiter,
    Recorder,
    answer,
)
from tests.downstream.kept_awake import BLANK, STREAM, end_with, send
from tests.warp import WARP

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


@pytest.mark.parametrize(
    ("stream", "keep_alive", "form"),
    [
        pytest.param(False, KeepAlive.OFF, JsonReply, id="json"),
        pytest.param(False, KeepAlive.WHITESPACE, PaddedJsonReply, id="padded"),
        pytest.param(True, KeepAlive.OFF, EventStreamReply, id="events"),
        pytest.param(True, KeepAlive.WHITESPACE, EventStreamReply, id="events-before-padding"),
    ],
)
async def test_the_form_of_a_reply(
    stream: bool, keep_alive: KeepAlive, form: type[JsonReply]
) -> None:
    """A stream is asked for by the request; padding is the tenant's, and only without one."""
    tenant = replace(ACME, keep_alive=keep_alive)

    assert reply_form(OutputOptions(stream=stream), tenant) is form


@pytest.mark.parametrize(
    ("seconds", "headers", "beats"),
    [
        pytest.param(5.0, {}, 3, id="as-configured"),
        pytest.param(5.0, {"x-stainless-read-timeout": "10"}, 5, id="impatient"),
        pytest.param(1.0, {"x-stainless-read-timeout": "10"}, 15, id="often-enough"),
    ],
)
async def test_beats_come_before_patience_ends(
    seconds: float, headers: dict[str, str], beats: int
) -> None:
    """Who waits shorter than a few beats hears of us that much more often."""
    harness = EdgeHarness(heartbeat_seconds=seconds)
    end_with(harness, answer(), after=15.5)

    wire = await send(harness, headers=headers)

    assert wire.body.count(b": keep-alive") == beats


async def test_refused_before_the_first_beat() -> None:
    """What goes wrong before the first beat has its own status, which SDKs retry by."""
    harness = EdgeHarness()
    end_with(harness, RateLimited("The queue is full.", retry_after=2.0), after=4.9)

    wire = await send(harness)

    assert wire.sent[0]["status"] == 429
    assert wire.headers["retry-after-ms"] == "2000"
    assert json.loads(wire.body)["error"]["code"] == "rate_limit_exceeded"
    assert harness.seen.of("late error") == []


async def test_blanks() -> None:
    """Blanks go out once the task is accepted, then the JSON; its deadline is the server's."""
    harness = EdgeHarness(BLANK)
    waiter = end_with(
        harness, answer(), after=17.0, status=replace(RUNNING_STATUS, stage="waiting")
    )

    async def accepted() -> None:
        await asyncio.sleep(7.0)
        assert not wire.sent
        waiter.status = RUNNING_STATUS

    wire = FakeConnection()
    async with asyncio.TaskGroup() as group:
        group.create_task(accepted())
        await send(harness, FORM, wire)

    assert wire.body.startswith(b"\n\n{")
    assert json.loads(wire.body)["data"] == [{"b64_json": "b25l"}]
    assert wire.headers["content-type"] == "application/json"
    assert wire.headers["x-accel-buffering"] == "no"
    assert wire.headers["x-wan-task-id"] == "task-1, task-2"
    assert "content-length" not in wire.headers
    assert (waiter.was_delivered, waiter.extended) == (True, 540.0)


async def test_blanks_are_not_needed() -> None:
    """An edit that ends before the first beat is answered as if nobody were kept awake."""
    harness = EdgeHarness(BLANK)
    end_with(harness, answer(), after=1.0)

    wire = await send(harness, FORM)

    assert int(wire.headers["content-length"]) == len(wire.body)
    assert wire.body.startswith(b"{")


async def test_an_error_after_blanks() -> None:
    """The price of blanks: an error whose body comes with 200, told by log and metric."""
    harness = EdgeHarness(BLANK)
    waiter = end_with(
        harness, ContentRefused("No.", upstream_code="IPInfringementSuspect"), after=6.0
    )

    wire = await send(harness, FORM)

    assert wire.sent[0]["status"] == 200
    assert json.loads(wire.body)["error"]["code"] == "moderation_blocked"
    assert harness.seen.of("late error") == [("late error", 400, "acme")]
    assert harness.seen.lines[0].outcome == "moderation_blocked"
    assert harness.seen.lines[0].upstream_code == "IPInfringementSuspect"
    assert not waiter.was_delivered


async def test_no_beat_for_nobody() -> None:
    """A beat that is due when the client has just left is not sent."""
    harness, wire = EdgeHarness(), FakeConnection()
    waiter = end_with(harness, answer(), after=12.0)
    stays = waiter.answer

    async def lingers() -> EditResult:
        try:
            return await stays()
        except asyncio.CancelledError:
            await asyncio.sleep(20.0)
            raise

    waiter.answer = lingers  # type: ignore[method-assign]  # a visit that is slow to end
    async with asyncio.TaskGroup() as group:
        group.create_task(send(harness, STREAM, wire))
        await asyncio.sleep(6.0)
        sent = len(wire.sent)
        wire.hang_up.set()

    assert len(wire.sent) == sent


async def test_a_bug_in_a_beat() -> None:
    """A beat that breaks ends the wait and cuts the answer; the log has the place, no values."""
    harness, wire = EdgeHarness(), FakeConnection()
    waiter = end_with(harness, answer(), after=60.0)

    def breaks(message: Message) -> None:
        if message.get("body"):
            raise ValueError(FORM["prompt"])

    wire.on_send = breaks
    await send(harness, STREAM, wire)

    (line,) = harness.seen.lines
    assert (line.status, line.outcome) == (200, "internal_error")
    assert "ValueError" in line.bug
    assert FORM["prompt"] not in line.bug
    assert waiter.cancelled
    assert not waiter.was_delivered
    assert wire.sent[-1]["more_body"]


PICTURE = bytes(range(256)) * 3 + b"!"


class Download:
    """A picture that arrives in chunks; one that is an exception breaks it off."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = chunks
        self.length = len(PICTURE)
        self.head = PICTURE[:32]

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def close(self) -> None:
        """Nothing is open."""


async def replied(
    form: type[JsonReply], result: EditResult, send: Send, stall_seconds: float = 60.0
) -> None:
    """Send *result* in *form*."""

    async def ends() -> EditResult:
        return result

    async with DisconnectWatch(FakeConnection().receive) as client:
        reply = form(
            waiter=cast("Waiter", FakeWaiter(ends)),
            client=client,
            send=send,
            record=AccessRecord("r", "POST", "/", 0.0),
            phases=Phases(started=0.0),
            operation=Operation.EDIT,
            measure=lambda _: None,
            clock=FakeClock(),
            observer=Recorder(),
            heartbeat_seconds=5.0,
            stall_seconds=stall_seconds,
        )
        await reply.run()


@pytest.mark.parametrize("form", [JsonReply, EventStreamReply])
async def test_pictures_that_are_still_downloaded(form: type[JsonReply]) -> None:
    """A picture in chunks of any length is sent as it would be whole, of the length told before."""
    download = Download(PICTURE[:1], PICTURE[1:3], PICTURE[3:300], PICTURE[300:])
    connections = []
    for picture in (PICTURE, download):
        connection = FakeConnection()
        await replied(form, answer(pictures=(picture, b"b"), requested=2), connection.send)
        connections.append(connection)

    whole, chunked = connections
    length = chunked.headers.get("content-length")
    assert whole.body == chunked.body
    assert length == (str(len(whole.body)) if form is JsonReply else None)
    assert base64.b64encode(PICTURE) in whole.body


async def test_a_picture_that_breaks_off() -> None:
    """What cannot be sent to its end is cut: no end, not delivered, and the line tells why."""
    harness = EdgeHarness()
    broken = ResultUnavailable("The picture cannot be downloaded: cut.")
    waiter = end_with(harness, answer(pictures=(Download(PICTURE[:300], broken),)))

    wire = await send(harness, FORM)

    assert wire.sent[0]["status"] == 200
    assert all(message.get("more_body", True) for message in wire.sent)
    assert not waiter.was_delivered
    assert harness.seen.lines[0].outcome == "result_unavailable"


async def test_a_client_that_takes_nothing() -> None:
    """One who takes no byte for so long counts as disconnected."""
    bodies: list[Message] = []

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message)
            await asyncio.Event().wait()

    with pytest.raises(ClientLeft):
        await replied(JsonReply, answer(), stuck, stall_seconds=7.0)

    assert len(bodies) == 1


async def test_urls_have_a_length() -> None:
    """A result of URLs is one part of known length."""
    connection = FakeConnection()

    await replied(JsonReply, answer(pictures=(), urls=("https://r/1",)), connection.send)

    assert json.loads(connection.body)["data"] == [{"url": "https://r/1"}]
    assert connection.headers["content-length"] == str(len(connection.body))
