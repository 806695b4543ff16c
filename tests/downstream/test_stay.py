"""Customers who are kept awake: what goes out when, and what becomes of a bad end (P2, P6)."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.types import Message

from gateway.domain.edit import AnswerForm, Size
from gateway.domain.errors import ContentRefused, GatewayError, RateLimited, StillRunning
from gateway.domain.models import Does
from gateway.domain.phases import Phases
from gateway.domain.tenant import KeepAlive
from gateway.downstream.manner import BLANKS, EVENTS, SILENCE, Manner, manner_of
from gateway.journey.ask import Answer, Told
from tests.downstream.house import (
    ACME,
    FILES,
    FORM,
    KEY,
    TOLD,
    FakeVisit,
    House,
    Wire,
    answer,
    request_of,
)
from tests.warp import WARP

pytestmark = pytest.mark.anyio

STREAM = {**FORM, "stream": "true"}
BLANK = replace(ACME, keep_alive=KeepAlive.WHITESPACE)


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


def ending(
    house: House, outcome: Answer | GatewayError, *, after: float = 0.0, told: Told = TOLD
) -> FakeVisit:
    async def ends() -> Answer:
        await asyncio.sleep(after)
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    house.desk.visit = FakeVisit(ends, told=told)
    return house.desk.visit


async def send(
    house: House,
    form: Mapping[str, str] = STREAM,
    wire: Wire | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Wire:
    """POST an edit over a connection by hand."""
    wire = wire or Wire()
    request = httpx.Request(
        "POST",
        "http://gateway/v1/images/edits",
        data=dict(form),
        files=FILES,
        headers={"authorization": f"Bearer {KEY}", **(headers or {})},
    )
    scope, messages = request_of(request)
    wire.script += messages
    await house.app(scope, wire.receive, wire.send)
    return wire


def events(body: bytes) -> list[tuple[str, Any]]:
    """Read server-sent events as a browser would; comments are dropped."""
    read: list[tuple[str, Any]] = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            read.append((fields["event"], json.loads(fields["data"])))
    return read


@pytest.mark.parametrize(
    ("stream", "keep_alive", "manner"),
    [
        pytest.param(False, KeepAlive.OFF, SILENCE, id="silence"),
        pytest.param(False, KeepAlive.WHITESPACE, BLANKS, id="blanks"),
        pytest.param(True, KeepAlive.OFF, EVENTS, id="events"),
        pytest.param(True, KeepAlive.WHITESPACE, EVENTS, id="events-before-blanks"),
    ],
)
async def test_manner(stream: bool, keep_alive: KeepAlive, manner: Manner) -> None:
    """A stream is asked for by the request; blanks are the tenant's, and only without one."""
    tenant = replace(ACME, keep_alive=keep_alive)

    assert manner_of(AnswerForm(stream=stream), tenant, Does.EDIT) is manner


async def test_a_stream() -> None:
    """Each picture is an event with every field of the schema, and the last byte is delivered."""
    house = House(measure=lambda picture: Size(3, 5) if picture == b"one" else None)
    visit = ending(house, answer(pictures=(b"one", b"two"), requested=2, ignored=("user",)))

    wire = await send(house)

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
    assert visit.was_delivered
    assert not wire.sent[-1]["more_body"]


async def test_heartbeats_of_a_stream() -> None:
    """The head goes out with the first beat; what is known only later stands in comments."""
    house = House()
    told = replace(TOLD, task_ids=(), status="waiting")
    visit = ending(house, answer(requested=2), after=17.0, told=told)

    wire = await send(house, {**STREAM, "quality": "high"})

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
    assert (visit.was_delivered, visit.extended) == (True, 540.0)
    assert house.seen.lines[0].outcome == "ok"


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
    house = House(heartbeat_seconds=seconds)
    ending(house, answer(), after=15.5)

    wire = await send(house, headers=headers)

    assert wire.body.count(b": keep-alive") == beats


async def test_refused_before_the_first_beat() -> None:
    """What goes wrong before the first beat has its own status, which SDKs retry by."""
    house = House()
    ending(house, RateLimited("The line is full.", retry_after=2.0), after=4.9)

    wire = await send(house)

    assert wire.sent[0]["status"] == 429
    assert wire.headers["retry-after-ms"] == "2000"
    assert json.loads(wire.body)["error"]["code"] == "rate_limit_exceeded"
    assert house.seen.told("late error") == []


async def test_a_stream_of_urls() -> None:
    """Events have no place for an URL: asked for both, the field to change is named."""
    house = House()

    wire = await send(house, {**STREAM, "response_format": "url"})

    assert wire.sent[0]["status"] == 400
    assert json.loads(wire.body)["error"]["param"] == "response_format"
    assert house.desk.asks == []


async def test_an_error_in_a_stream() -> None:
    """After the head an error is an event that SDKs raise; log and metric tell what it was."""
    house = House()
    error = StillRunning("Not yet.", retry_after=3.5)
    error.edit_id = "edit_1"
    visit = ending(house, error, after=6.0)

    wire = await send(house)

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
    assert house.seen.told("late error") == [("late error", 503, "acme")]
    (line,) = house.seen.lines
    assert (line.status, line.outcome, line.told) == (200, "still_running", TOLD)
    assert not visit.was_delivered


async def test_blanks() -> None:
    """Blanks go out once the task is accepted, then the JSON; its deadline is the server's."""
    house = House(BLANK)
    visit = ending(house, answer(), after=17.0, told=replace(TOLD, status="waiting"))

    async def accepted() -> None:
        await asyncio.sleep(7.0)
        assert not wire.sent
        visit.told = TOLD

    wire = Wire()
    async with asyncio.TaskGroup() as group:
        group.create_task(accepted())
        await send(house, FORM, wire)

    assert wire.body.startswith(b"\n\n{")
    assert json.loads(wire.body)["data"] == [{"b64_json": "b25l"}]
    assert wire.headers["content-type"] == "application/json"
    assert wire.headers["x-accel-buffering"] == "no"
    assert wire.headers["x-wan-task-id"] == "task-1, task-2"
    assert "content-length" not in wire.headers
    assert (visit.was_delivered, visit.extended) == (True, 540.0)


async def test_blanks_are_not_needed() -> None:
    """An edit that ends before the first beat is answered as if nobody were kept awake."""
    house = House(BLANK)
    ending(house, answer(), after=1.0)

    wire = await send(house, FORM)

    assert int(wire.headers["content-length"]) == len(wire.body)
    assert wire.body.startswith(b"{")


async def test_an_error_after_blanks() -> None:
    """The price of blanks: an error whose body comes with 200, told by log and metric."""
    house = House(BLANK)
    visit = ending(house, ContentRefused("No.", upstream_code="IPInfringementSuspect"), after=6.0)

    wire = await send(house, FORM)

    assert wire.sent[0]["status"] == 200
    assert json.loads(wire.body)["error"]["code"] == "moderation_blocked"
    assert house.seen.told("late error") == [("late error", 400, "acme")]
    assert house.seen.lines[0].outcome == "moderation_blocked"
    assert house.seen.lines[0].upstream_code == "IPInfringementSuspect"
    assert not visit.was_delivered


@pytest.mark.parametrize(
    ("outcome", "place"),
    [
        pytest.param(answer(), "polling", id="between-beats"),
        pytest.param(answer(pictures=(b"one", b"two")), "writing", id="in-the-pictures"),
        pytest.param(ContentRefused("No."), "writing", id="in-an-error"),
    ],
)
async def test_customer_leaves_a_stream(outcome: Answer | GatewayError, place: str) -> None:
    """Who leaves in the middle has got nothing: the edit stays to be had by a retry."""
    house, wire = House(), Wire()
    visit = ending(house, outcome, after=12.0)

    def cut(message: Message) -> None:
        said = message.get("body", b"")
        if (place == "polling" and said.startswith(b": keep-alive")) or b"event: " in said:
            wire.hang_up.set()

    wire.on_send, wire.waits = cut, True
    await send(house, STREAM, wire)

    assert not visit.was_delivered
    assert house.desk.left == 1
    assert house.seen.told("disconnected") == [("disconnected", place)]
    assert house.seen.lines[0].outcome == "customer_left"
    assert wire.sent[-1]["more_body"]


async def test_no_beat_for_nobody() -> None:
    """A beat that is due when the customer has just left is not sent."""
    house, wire = House(), Wire()
    visit = ending(house, answer(), after=12.0)
    stays = visit.answer

    async def lingers() -> Answer:
        try:
            return await stays()
        except asyncio.CancelledError:
            await asyncio.sleep(20.0)
            raise

    visit.answer = lingers  # type: ignore[method-assign]  # a visit that is slow to end
    async with asyncio.TaskGroup() as group:
        group.create_task(send(house, STREAM, wire))
        await asyncio.sleep(6.0)
        sent = len(wire.sent)
        wire.hang_up.set()

    assert len(wire.sent) == sent


async def test_a_stream_is_waited_for() -> None:
    """Whoever asks for a stream waits for it, whatever else it prefers."""
    house = House()
    ending(house, answer())

    wire = await send(house, headers={"prefer": "respond-async"})

    assert (wire.sent[0]["status"], len(events(wire.body))) == (200, 1)
    assert "preference-applied" not in wire.headers


async def test_phases_of_a_late_error() -> None:
    """The time of telling an error in a stream is told as such."""
    house = House()
    ending(house, ContentRefused("No."), after=6.0)

    await send(house)

    phases = house.seen.lines[0].phases
    assert isinstance(phases, Phases)
    assert phases.phase == "respond"


async def test_a_bug_in_a_beat() -> None:
    """A beat that breaks ends the wait and cuts the answer; the log has the place, no values."""
    house, wire = House(), Wire()
    visit = ending(house, answer(), after=60.0)

    def breaks(message: Message) -> None:
        if message.get("body"):
            raise ValueError(FORM["prompt"])

    wire.on_send = breaks
    await send(house, STREAM, wire)

    (line,) = house.seen.lines
    assert (line.status, line.outcome) == (200, "internal_error")
    assert "ValueError" in line.bug
    assert FORM["prompt"] not in line.bug
    assert visit.cancelled
    assert not visit.was_delivered
    assert wire.sent[-1]["more_body"]
