"""A restart seen from outside, within this loop: ready no more, then empty, then gone (P16)."""

import asyncio
import signal
from dataclasses import replace

import pytest

from gateway.sandbox import Constant
from tests.whole import PLAIN, House, eventually, house, photo, pictures_of, theirs, whose

pytestmark = pytest.mark.anyio

_CALM = replace(PLAIN, latency=Constant(8.0))


async def _drain(home: House) -> None:
    """Do what SIGTERM does, and wait for the next tick."""
    home.server.handle_exit(signal.SIGTERM, None)

    async def told() -> bool:
        return (await home.http.get("/readyz")).status_code == 503

    await eventually(told)


async def test_drain() -> None:
    """From SIGTERM on nothing begins and what runs is delivered; only then the listener closes."""
    async with house(_CALM) as home, asyncio.TaskGroup() as group:
        running = group.create_task(home.edit("first"))
        await home.until("RUNNING")

        await _drain(home)
        ready = await home.http.get("/readyz")
        lives = await home.http.get("/healthz")
        refused = await home.edit("second")
        answer = await running

        error = refused.json()["error"]
        assert (ready.status_code, lives.status_code) == (503, 200)
        assert (refused.status_code, error["code"]) == (503, "server_is_draining")
        assert error["type"] == "service_unavailable_error"
        assert refused.headers["x-should-retry"] == "true"
        assert int(refused.headers["retry-after-ms"]) > 0
        assert whose(pictures_of(answer)[0]) == theirs("first", photo())
        assert (await home.books())["tasks_made"] == 1


async def test_a_retry_joins_while_draining() -> None:
    """A marked retry of a running edit is let in, since its picture is made here."""
    async with house(_CALM) as home, asyncio.TaskGroup() as group:
        running = group.create_task(home.edit())
        other = group.create_task(home.edit("other"))
        await home.until("RUNNING", "sepia")
        await home.until("RUNNING", "other")
        running.cancel()
        await _drain(home)

        answer = await home.edit(headers={"x-stainless-retry-count": "1"})

        assert pictures_of(answer)
        assert pictures_of(await other)
        assert (await home.books())["tasks_made"] == 2


async def test_drain_is_over() -> None:
    """Whoever still waits when the grace is over is sent home with the way back."""
    server = {"port": 0, "drain_seconds": 2}
    async with house(_CALM, server=server) as home, asyncio.TaskGroup() as group:
        running = group.create_task(home.edit())
        await home.until("RUNNING")

        home.server.handle_exit(signal.SIGTERM, None)
        answer = await running

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "still_running")
        assert error["edit_id"] == answer.headers["x-wan-edit-id"]
        assert answer.headers["x-should-retry"] == "true"
