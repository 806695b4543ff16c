"""POST /v1/images/edits: many bodies that arrive in one moment."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import httpx
import pytest

from gateway.domain.edit import Picture
from gateway.domain.tenant import Tenant
from gateway.downstream.pacer import MOST
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import DecodeLimits, Imaging
from tests.downstream.calls import EDITS, post
from tests.downstream.harness import (
    FORM,
    KEY,
    EdgeHarness,
    FakeConnection,
    passes,
    request_of,
)
from tests.imaging.pictures import read

pytestmark = pytest.mark.anyio


async def test_a_burst_is_worked_off_in_turns() -> None:
    """Of eighty that arrive together a few are checked in a round of the event loop."""
    harness = EdgeHarness()
    rounds = 0
    checked: Counter[int] = Counter()

    async def check(pictures: Sequence[Picture], tenant: Tenant) -> tuple[Picture, ...]:
        checked[rounds] += 1
        return await passes(pictures, tenant)

    async def count_rounds() -> None:
        nonlocal rounds
        while checked.total() < 80:
            rounds += 1
            await asyncio.sleep(0)

    harness.check = check
    async with asyncio.TaskGroup() as group:
        group.create_task(count_rounds())
        replies = [group.create_task(post(harness)) for _ in range(80)]

    assert {reply.result().status_code for reply in replies} == {200}
    assert max(checked.values()) <= MOST


async def test_a_turn_is_part_of_the_patience() -> None:
    """A client waits from its last bytes on, also for the turn of these."""
    harness = EdgeHarness()
    tenants: set[str] = set()

    async def late(tenant: str) -> None:
        tenants.add(tenant)
        harness.clock.time += 20.0

    harness.pacer.turn = late  # type: ignore[method-assign]
    await post(harness, headers={"x-stainless-read-timeout": "60"})

    ((_, wait),) = harness.claims
    assert tenants == {"acme"}
    assert wait == pytest.approx(38.0)


def sent_edit(harness: EdgeHarness) -> tuple[FakeConnection, Coroutine[Any, Any, None]]:
    """Return a connection whose whole edit has arrived, and what serves it."""
    request = httpx.Request(
        "POST",
        f"http://gateway{EDITS}",
        data=FORM,
        files={"image": ("a.png", read("rgb.png"))},
        headers={"authorization": f"Bearer {KEY}", "x-stainless-read-timeout": "600"},
    )
    scope, messages = request_of(request)
    wire = FakeConnection(*messages)
    return wire, harness.app(scope, wire.receive, wire.send)


async def test_a_burst_waits_for_decoding() -> None:
    """Hundreds wait while no thread is free, unsubmitted; who leaves frees its memory at once."""
    async with Imaging(DecodeLimits(threads=1)) as imaging:
        harness = EdgeHarness(imaging=imaging, most_bytes=2**28)
        await imaging._slots.take(SlotClaim("acme"), 0)
        async with asyncio.TaskGroup() as group:
            wires = []
            for _ in range(300):
                wire, serving = sent_edit(harness)
                group.create_task(serving)
                wires.append(wire)
            while len(imaging._slots._queues["acme"]) < len(wires):  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0)
            held, submitted = harness.budget.held, len(harness.service.edit_requests)
            for wire in wires[3:]:
                wire.hang_up.set()
            while len(harness.seen.of("disconnected")) < 297:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0)
            left = harness.budget.held
            imaging._slots.release("acme", 0)

    assert held == pytest.approx(300 * left / 3)
    assert left > 3 * len(read("rgb.png"))
    assert submitted == 0
    assert [wire.sent[0]["status"] for wire in wires[:3]] == [200] * 3
    assert {len(wire.sent) for wire in wires[3:]} == {0}
    assert harness.seen.of("disconnected") == [("disconnected", "reading")] * 297
    assert (len(harness.service.edit_requests), harness.budget.held) == (3, 0)


async def test_patience_that_ends_in_a_burst() -> None:
    """A client that waited for decoding to the end of its patience is told to come again."""
    async with Imaging(DecodeLimits(threads=1)) as imaging:
        harness = EdgeHarness(imaging=imaging)
        await imaging._slots.take(SlotClaim("acme"), 0)
        files = {"image": ("a.png", read("rgb.png"))}

        reply = await post(harness, files=files, headers={"x-stainless-read-timeout": "0.01"})

    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert reply.headers["x-should-retry"] == "true"
    assert reply.json()["error"]["code"] == "server_is_overloaded"
    assert (harness.service.edit_requests, harness.budget.held) == ([], 0)
