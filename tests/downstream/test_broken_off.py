"""A call that is broken off, by the client or by a bug: who has got what."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from gateway.domain.edit import Picture
from gateway.domain.errors import InternalError
from gateway.domain.tenant import Tenant
from gateway.edits.request import EditResult, EditStatus
from tests.downstream.calls import end_with, send_raw
from tests.downstream.harness import FORM, EdgeHarness, FakeConnection, FakeWaiter, answer, passes

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("status", "place"),
    [
        pytest.param("waiting", "queued", id="queued"),
        pytest.param("submitting", "submitting", id="submitting"),
        pytest.param("running", "polling", id="polling"),
        pytest.param("succeeded", "downloading", id="downloading"),
    ],
)
async def test_customer_leaves_while_waiting(status: str, place: str) -> None:
    """A hang-up ends the wait at once, is counted by its phase, and nothing is answered."""
    harness = EdgeHarness()
    wire = FakeConnection()

    async def ends() -> EditResult:
        wire.hang_up.set()
        await asyncio.Event().wait()
        raise AssertionError

    harness.service.waiter = FakeWaiter(ends, status=EditStatus("edit_1", "beijing", stage=status))
    await send_raw(harness, wire)

    assert harness.seen.of("disconnected") == [("disconnected", place)]
    assert harness.service.waiter.cancelled
    assert harness.service.left == 1
    assert wire.sent == []
    assert harness.seen.of("ended")[0][3] == 499
    assert harness.seen.lines[0].outcome == "customer_left"
    assert harness.seen.inflight == 0


async def test_customer_leaves_while_a_decoding_thread_is_waited_for() -> None:
    """A hang-up ends the wait for a thread at once: no picture of that client is decoded."""
    harness = EdgeHarness()
    wire = FakeConnection()
    ended: list[str] = []

    async def waits(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        wire.hang_up.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("wait")
        raise AssertionError

    harness.check = waits
    await send_raw(harness, wire)

    assert ended == ["wait"]
    assert harness.service.edit_requests == []
    assert harness.seen.of("disconnected") == [("disconnected", "reading")]
    assert harness.seen.inflight == 0


async def test_customer_leaves_while_reading() -> None:
    """A hang-up in the middle of the body never comes to the service."""
    harness = EdgeHarness()
    script: list[Message] = [
        {"type": "http.request", "body": b"--x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    await send_raw(harness, wire := FakeConnection(), script=script)

    assert harness.seen.of("disconnected") == [("disconnected", "reading")]
    assert (harness.service.edit_requests, wire.sent, harness.seen.inflight) == ([], [], 0)


@pytest.mark.parametrize(
    ("nth", "waits", "sent"),
    [
        pytest.param(1, True, 2, id="after-the-head"),
        pytest.param(3, True, 3, id="in-the-body"),
        pytest.param(5, False, 5, id="at-the-end"),
    ],
)
async def test_customer_leaves_while_writing(nth: int, waits: bool, sent: int) -> None:
    """A picture whose bytes did not all reach the socket is not delivered."""
    harness = EdgeHarness()
    wire = FakeConnection()
    end_with(harness, answer())

    def cut(message: Message) -> None:
        if len(wire.sent) >= nth:
            wire.hang_up.set()

    wire.on_send, wire.waits = cut, waits
    await send_raw(harness, wire)

    assert not harness.service.waiter.was_delivered
    assert harness.seen.of("disconnected") == [("disconnected", "writing")]
    assert len(wire.sent) == sent
    assert wire.sent[-1]["more_body"]
    assert harness.service.left == 1


async def test_the_end_comes_after_delivered() -> None:
    """Delivered is said between the last byte and the end of the message."""
    harness = EdgeHarness()
    wire = FakeConnection()
    order: list[Any] = []
    end_with(harness, answer())
    waiter = harness.service.waiter
    wire.on_send = lambda m: order.append((m.get("more_body"), waiter.was_delivered))

    await send_raw(harness, wire)

    assert order[-2:] == [(True, False), (False, True)]
    assert wire.sent[-2]["body"] == b""
    assert int(wire.headers["content-length"]) == len(wire.body)


async def test_a_bug_after_the_first_byte() -> None:
    """Once an answer has begun, a bug cuts it: no end of message, a line with its place."""
    harness = EdgeHarness()
    wire = FakeConnection()
    end_with(harness, answer())

    async def breaks() -> None:
        raise ValueError(FORM["prompt"])

    harness.service.waiter.delivered = breaks  # type: ignore[method-assign]  # a visit with a bug
    await send_raw(harness, wire)

    assert wire.sent[-1]["more_body"]
    assert harness.seen.lines[0].outcome == InternalError.code
    assert "ValueError" in harness.seen.lines[0].bug
    assert FORM["prompt"] not in harness.seen.lines[0].bug


async def test_customer_leaves_while_pictures_are_checked() -> None:
    """One who left after the last byte of the body begins no edit: its retry may be there first."""
    harness = EdgeHarness()
    wire = FakeConnection()

    async def slow(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        wire.hang_up.set()
        return await passes(pictures, tenant)

    harness.check = slow
    await send_raw(harness, wire)

    assert harness.service.edit_requests == []
    assert harness.seen.of("disconnected") == [("disconnected", "reading")]
    assert harness.seen.inflight == 0
