"""Clients who are kept awake: what goes out when, and what becomes of a bad end (P2, P6)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message

from gateway.domain.edit import OutputOptions
from gateway.domain.errors import ContentRefused, RateLimited
from gateway.domain.models import Operation
from gateway.domain.tenant import KeepAlive
from gateway.downstream.reply import BLANKS, EVENTS, SILENCE, Manner, manner_of
from gateway.edits.request import EditResult
from tests.downstream.harness import ACME, FORM, TOLD, House, Wire, answer
from tests.downstream.kept_awake import BLANK, STREAM, ending, send
from tests.warp import WARP

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP


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

    assert manner_of(OutputOptions(stream=stream), tenant, Operation.EDIT) is manner


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


async def test_blanks() -> None:
    """Blanks go out once the task is accepted, then the JSON; its deadline is the server's."""
    house = House(BLANK)
    waiter = ending(house, answer(), after=17.0, told=replace(TOLD, status="waiting"))

    async def accepted() -> None:
        await asyncio.sleep(7.0)
        assert not wire.sent
        waiter.told = TOLD

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
    assert (waiter.was_delivered, waiter.extended) == (True, 540.0)


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
    waiter = ending(house, ContentRefused("No.", upstream_code="IPInfringementSuspect"), after=6.0)

    wire = await send(house, FORM)

    assert wire.sent[0]["status"] == 200
    assert json.loads(wire.body)["error"]["code"] == "moderation_blocked"
    assert house.seen.told("late error") == [("late error", 400, "acme")]
    assert house.seen.lines[0].outcome == "moderation_blocked"
    assert house.seen.lines[0].upstream_code == "IPInfringementSuspect"
    assert not waiter.was_delivered


async def test_no_beat_for_nobody() -> None:
    """A beat that is due when the client has just left is not sent."""
    house, wire = House(), Wire()
    waiter = ending(house, answer(), after=12.0)
    stays = waiter.answer

    async def lingers() -> EditResult:
        try:
            return await stays()
        except asyncio.CancelledError:
            await asyncio.sleep(20.0)
            raise

    waiter.answer = lingers  # type: ignore[method-assign]  # a visit that is slow to end
    async with asyncio.TaskGroup() as group:
        group.create_task(send(house, STREAM, wire))
        await asyncio.sleep(6.0)
        sent = len(wire.sent)
        wire.hang_up.set()

    assert len(wire.sent) == sent


async def test_a_bug_in_a_beat() -> None:
    """A beat that breaks ends the wait and cuts the answer; the log has the place, no values."""
    house, wire = House(), Wire()
    waiter = ending(house, answer(), after=60.0)

    def breaks(message: Message) -> None:
        if message.get("body"):
            raise ValueError(FORM["prompt"])

    wire.on_send = breaks
    await send(house, STREAM, wire)

    (line,) = house.seen.lines
    assert (line.status, line.outcome) == (200, "internal_error")
    assert "ValueError" in line.bug
    assert FORM["prompt"] not in line.bug
    assert waiter.cancelled
    assert not waiter.was_delivered
    assert wire.sent[-1]["more_body"]
