"""Clients who hang up: what was not begun costs nothing, what runs is kept (P4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.sandbox import AccountLimits, Constant
from tests.harness import (
    KEY,
    PLAIN,
    Harness,
    hashed,
    origin,
    origin_of,
    photo,
    pictures_of,
    start_harness,
)

pytestmark = pytest.mark.anyio

_ONE_RUNS = replace(PLAIN, latency=Constant(12.0), limits=AccountLimits(running_tasks=1))
_UPSTREAM = {"region": "beijing", "key": "env:KEY", "running_tasks": 1}


@asynccontextmanager
async def _crowded(pending_ahead: int) -> AsyncIterator[Harness]:
    """A gateway whose account runs one task at a time."""
    upstreams = {"main": {**_UPSTREAM, "pending_ahead": pending_ahead}}
    async with start_harness(_ONE_RUNS, upstreams=upstreams) as harness:
        yield harness


async def _hang_up(call: asyncio.Task[object]) -> None:
    call.cancel()
    await asyncio.wait([call])


async def test_pending_is_cancelled() -> None:
    """A task that waits upstream when its client has been gone for 3 s is cancelled there."""
    async with _crowded(pending_ahead=1) as harness, asyncio.TaskGroup() as group:
        first = group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        second = group.create_task(harness.edit("second"))
        await harness.until("PENDING", "second")

        await _hang_up(second)

        await harness.until("CANCELED", "second")
        assert pictures_of(await first)
        assert (await harness.books())["images_billed"] == 1


async def test_a_retry_in_the_grace_keeps_its_place() -> None:
    """Whoever comes back within 3 s finds the pending task as it was left."""
    async with _crowded(pending_ahead=1) as harness, asyncio.TaskGroup() as group:
        first = group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        second = group.create_task(harness.edit("second"))
        await harness.until("PENDING", "second")

        await _hang_up(second)
        await asyncio.sleep(1.0)
        answer = await harness.edit("second")

        assert origin_of(pictures_of(answer)[0]) == origin("second", photo())
        assert pictures_of(await first)
        assert (await harness.books())["tasks_made"] == 2


@pytest.mark.slow
async def test_waiting_is_dropped() -> None:
    """An edit that still waits in our line when its client leaves is never submitted."""
    async with _crowded(pending_ahead=0) as harness, asyncio.TaskGroup() as group:
        first = group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        second = group.create_task(harness.edit("second"))
        await asyncio.sleep(1.0)

        await _hang_up(second)
        await first
        third = await harness.edit("third")

        assert pictures_of(third)
        prompts = [row["prompt"] for row in (await harness.books())["tasks"]]
        assert prompts == ["first", "third"]


async def test_running_is_kept() -> None:
    """A running task is followed without its client; a later equal request gets its picture."""
    async with (
        start_harness(replace(PLAIN, latency=Constant(6.0))) as harness,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(harness.edit("make it blue"))
        await harness.until("RUNNING")

        await _hang_up(call)
        await harness.until("SUCCEEDED")
        answer = await harness.edit("make it blue")

        books = await harness.books()
        assert origin_of(pictures_of(answer)[0]) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)


async def test_a_retry_joins_the_running_task() -> None:
    """The retry of somebody whose connection broke waits for the very same task."""
    async with (
        start_harness(replace(PLAIN, latency=Constant(6.0))) as harness,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(harness.edit("make it blue"))
        await harness.until("RUNNING")

        await _hang_up(call)
        answer = await harness.edit("make it blue", headers={"x-stainless-retry-count": "1"})

        assert origin_of(pictures_of(answer)[0]) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1


async def test_equal_edits_of_connected_customers() -> None:
    """Two clients who ask for the same at once get an edit each."""
    async with start_harness() as harness:
        answers = await asyncio.gather(harness.edit(), harness.edit())

        assert all(pictures_of(answer) for answer in answers)
        assert (await harness.books())["tasks_made"] == 2


async def test_another_tenant_does_not_join() -> None:
    """Not even an abandoned edit of the same content is given to another tenant."""
    tenants = {
        "acme": {"region": "beijing", "keys": [hashed(KEY)]},
        "globex": {"region": "beijing", "keys": [hashed("wk-globex")]},
    }
    calm = replace(PLAIN, latency=Constant(6.0))
    async with start_harness(calm, tenants=tenants) as harness, asyncio.TaskGroup() as group:
        call = group.create_task(harness.edit())
        await harness.until("RUNNING")
        await _hang_up(call)

        answer = await harness.edit(
            headers={"authorization": "Bearer wk-globex", "x-stainless-retry-count": "1"}
        )

        assert pictures_of(answer)
        assert (await harness.books())["tasks_made"] == 2
