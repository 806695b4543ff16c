"""Answers that left our socket and reached nobody, by a proxy in front and the real SDK (P2)."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from openai import APITimeoutError, AsyncOpenAI

from gateway.sandbox import Constant
from tests.harness import (
    KEY,
    PLAIN,
    Harness,
    hashed,
    origin,
    origin_of,
    photo,
    start_harness,
)

pytestmark = pytest.mark.anyio


@dataclass
class _HoldingProxy:
    """Passes requests on, one a connection; lets its client go and holds on to the gateway."""

    target: httpx.URL
    cuts: int = 0
    """So many answers are taken to their last byte and not passed on."""
    marks: bool = True
    """Whether the SDK's own headers are passed on."""
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, away = await asyncio.open_connection(self.target.host, self.target.port)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(_pass_on(reader, away, marks=self.marks))
            answer = await upstream.read()
            up.cancel()
        if self.cuts:
            self.cuts -= 1
            answer = answer[:100_000]
        for end in (away, writer):
            with suppress(ConnectionError):
                if end is writer:
                    end.write(answer)
                end.close()
                await end.wait_closed()


async def _pass_on(
    reader: asyncio.StreamReader, away: asyncio.StreamWriter, *, marks: bool
) -> None:
    """Pass the request on; its client's leaving is not passed on."""
    head = await reader.readuntil(b"\r\n\r\n")
    # The gateway shall end the connection, so that the end of the answer is seen.
    head = head.replace(b"onnection: keep-alive", b"onnection: close")
    if not marks:
        head = re.sub(rb"(?i)x-stainless-[^\r]*\r\n", b"", head)
    away.write(head)
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            away.write(piece)
            await away.drain()


@asynccontextmanager
async def _proxy(harness: Harness, **more: Any) -> AsyncIterator[_HoldingProxy]:
    proxy = _HoldingProxy(httpx.URL(harness.url), **more)
    async with asyncio.TaskGroup() as group:

        def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(proxy.serve(reader, writer))  # nobody else would hold it

        server = await asyncio.start_server(come, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        proxy.url = f"http://{host}:{port}/v1"
        async with server:
            yield proxy


async def _edit(proxy: _HoldingProxy, **more: Any) -> bytes:
    """Edit by the SDK; return the picture."""
    async with AsyncOpenAI(base_url=proxy.url, api_key=KEY, **more) as client:
        answer = await client.images.edit(
            image=("a.png", photo()), prompt="make it sepia", model="gpt-image-1", size="1024x1024"
        )
    assert answer.data
    assert answer.data[0].b64_json
    return b64decode(answer.data[0].b64_json)


@pytest.mark.parametrize("cuts", [1, 2])
async def test_cut_after_the_last_byte(cuts: int) -> None:
    """The SDK's own retries get the picture that was made: one task, no exception."""
    async with (
        start_harness(replace(PLAIN, plain_bytes=300_000)) as harness,
        _proxy(harness, cuts=cuts) as proxy,
    ):
        picture = await _edit(proxy, max_retries=2)

        assert proxy.cuts == 0
        assert origin_of(picture) == origin("make it sepia", photo())
        assert (await harness.books())["tasks_made"] == 1


@pytest.mark.parametrize(("equal_edits", "tasks"), [("join", 1), ("separate", 3)])
async def test_a_proxy_that_holds_on(equal_edits: str, tasks: int) -> None:
    """With "join" an impatient client behind one gets one picture of one task, else pays thrice."""
    tenant = {"region": "beijing", "keys": [hashed(KEY)], "equal_edits": equal_edits}
    async with (
        start_harness(replace(PLAIN, latency=Constant(12.0)), tenants={"acme": tenant}) as harness,
        _proxy(harness, marks=False) as proxy,
    ):
        with suppress(APITimeoutError):
            picture = await _edit(proxy, timeout=5, max_retries=2)
            assert origin_of(picture) == origin("make it sepia", photo())
            assert tasks == 1

        assert (await harness.books())["tasks_made"] == tasks
