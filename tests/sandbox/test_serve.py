"""Regions on real sockets."""

import asyncio
import os
import signal

import httpx
import pytest

from gateway.sandbox import (
    Fault,
    Hang,
    SandboxConfig,
    bind,
    create_sandbox,
    running,
    running_regions,
)
from gateway.sandbox.serve import serve_sandboxes, url_of

pytestmark = pytest.mark.anyio


async def region_of(url: str) -> str:
    async with httpx.AsyncClient() as http:
        return str((await http.get(f"{url}/_sandbox/health")).json()["region"])


async def test_running() -> None:
    """A region answers as soon as its block begins, and no more after it."""
    async with running(create_sandbox()) as url:
        assert await region_of(url) == "beijing"

    with pytest.raises(httpx.ConnectError):
        await region_of(url)


async def test_given_socket() -> None:
    """A region takes a socket that is bound already."""
    listener = bind()
    expected = url_of(listener)

    async with running(create_sandbox(), listener) as url:
        assert url == expected
        assert await region_of(url) == "beijing"


async def test_several_regions() -> None:
    """Several regions run on ports of their own."""
    apps = {name: create_sandbox(SandboxConfig(region=name)) for name in ("beijing", "singapore")}

    async with running_regions(apps) as urls:
        assert {name: await region_of(url) for name, url in urls.items()} == {
            "beijing": "beijing",
            "singapore": "singapore",
        }


async def test_block_that_raises() -> None:
    """An error inside the block comes out as it is, and the server stops."""
    with pytest.raises(LookupError) as caught:
        async with running(create_sandbox()) as url:
            raise LookupError(url)

    with pytest.raises(httpx.ConnectError):
        await region_of(caught.value.args[0])


async def test_address_in_use_by_none() -> None:
    """A server that cannot start says why."""
    listener = bind()
    listener.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        async with running(create_sandbox(), listener):
            pass


async def test_hung_call_is_cut_at_the_end() -> None:
    """A call that hangs when the block ends is cut after a second."""
    app = create_sandbox(SandboxConfig(faults=(Fault("query", Hang()),)))
    async with httpx.AsyncClient() as http, asyncio.TaskGroup() as group:

        async def ask(url: str) -> str:
            key = {"authorization": "Bearer sk-sandbox"}
            try:
                answer = await http.get(f"{url}/api/v1/tasks/x", headers=key)
            except httpx.TransportError as error:
                return type(error).__name__
            return answer.text

        async with running(app) as url:
            call = group.create_task(ask(url))
            while "query.received" not in (await http.get(f"{url}/_sandbox/books")).text:
                pass

        assert await call in {"RemoteProtocolError", "ReadError"}


async def test_serve_until_a_signal(caplog: pytest.LogCaptureFixture) -> None:
    """Served regions stop at SIGTERM; SIGHUP and what rotates logs are logged, and end nothing."""
    listener = bind()
    url = url_of(listener)

    async with asyncio.TaskGroup() as group:
        served = group.create_task(serve_sandboxes([(create_sandbox(), listener)]))
        assert await region_of(url) == "beijing"
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
            assert await region_of(url) == "beijing"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(served, 60)

    with pytest.raises(httpx.ConnectError):
        await region_of(url)
    ours = [message for message in caplog.messages if message.startswith("SIG")]
    assert ours == ["SIGHUP is ignored", "SIGUSR1 is ignored", "SIGUSR2 is ignored"]
