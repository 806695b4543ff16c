"""A restart seen from outside, within this loop: ready no more, then empty, then gone (P16)."""

import asyncio
import signal
from dataclasses import replace

import pytest

from gateway.sandbox import Constant
from tests.harness import (
    PLAIN,
    Harness,
    eventually,
    origin,
    origin_of,
    photo,
    pictures_of,
    start_harness,
)

pytestmark = pytest.mark.anyio

_CALM = replace(PLAIN, latency=Constant(8.0))


async def _drain(harness: Harness) -> None:
    """Do what SIGTERM does, and wait for the next tick."""
    harness.server.handle_exit(signal.SIGTERM, None)

    async def is_draining() -> bool:
        return (await harness.http.get("/readyz")).status_code == 503

    await eventually(is_draining)


async def test_drain() -> None:
    """From SIGTERM on nothing begins and what runs is delivered; only then the listener closes."""
    async with start_harness(_CALM) as harness, asyncio.TaskGroup() as group:
        running = group.create_task(harness.edit("first"))
        await harness.until("RUNNING")

        await _drain(harness)
        ready = await harness.http.get("/readyz")
        lives = await harness.http.get("/healthz")
        refused = await harness.edit("second")
        answer = await running

        error = refused.json()["error"]
        assert (ready.status_code, lives.status_code) == (503, 200)
        assert (refused.status_code, error["code"]) == (503, "server_is_draining")
        assert error["type"] == "service_unavailable_error"
        assert refused.headers["x-should-retry"] == "true"
        assert int(refused.headers["retry-after-ms"]) > 0
        assert origin_of(pictures_of(answer)[0]) == origin("first", photo())
        assert (await harness.books())["tasks_made"] == 1


async def test_a_retry_joins_while_draining() -> None:
    """A marked retry of a running edit is let in, since its picture is made here."""
    async with start_harness(_CALM) as harness, asyncio.TaskGroup() as group:
        running = group.create_task(harness.edit())
        other = group.create_task(harness.edit("other"))
        await harness.until("RUNNING", "sepia")
        await harness.until("RUNNING", "other")
        running.cancel()
        await _drain(harness)

        answer = await harness.edit(headers={"x-stainless-retry-count": "1"})

        assert pictures_of(answer)
        assert pictures_of(await other)
        assert (await harness.books())["tasks_made"] == 2


async def test_drain_is_over() -> None:
    """Whoever still waits when the grace is over is sent home with the way back."""
    server = {"port": 0, "drain_seconds": 2}
    async with start_harness(_CALM, server=server) as harness, asyncio.TaskGroup() as group:
        running = group.create_task(harness.edit())
        await harness.until("RUNNING")

        harness.server.handle_exit(signal.SIGTERM, None)
        answer = await running

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "still_running")
        assert error["edit_id"] == answer.headers["x-wan-edit-id"]
        assert answer.headers["x-should-retry"] == "true"
