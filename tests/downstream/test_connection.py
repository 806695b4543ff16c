"""gateway.downstream.connection, over real sockets: what uvicorn alone would let through."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.downstream.connection import Connection
from tests.rush import RUSH

pytestmark = pytest.mark.anyio


async def _length(request: Request) -> Response:
    return Response(str(len(await request.body())))


@asynccontextmanager
async def _talking() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of one page, which tells the length of what it got."""
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    config = uvicorn.Config(app, http=Connection, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup(sockets=[listener])
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            await server.shutdown(sockets=[listener])


async def test_a_head_that_never_ends() -> None:
    """More than 64 KiB of headers are refused with 431, in OpenAI's envelope."""
    async with _talking() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n" + b"x-more: " + b"a" * 70_000)
        answer = await reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


# In time that stands still while the machine does: the first head shall come within it.
@pytest.mark.parametrize("anyio_backend", [RUSH], ids=["rush"])
async def test_a_head_that_comes_too_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not finish a head in time is hung up on, the second head as the first."""
    monkeypatch.setattr("gateway.downstream.connection.HEAD_SECONDS", 4.0)

    async with _talking() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab")
        first = await reader.readuntil(b"\r\n\r\n2")
        writer.write(b"POST / HTTP/1.1\r\n")
        rest = await reader.read()
    async with _talking() as (reader, _):
        nothing = await reader.read()

    assert first.startswith(b"HTTP/1.1 200")
    assert rest == nothing == b""


async def test_no_http_at_all() -> None:
    """What is no HTTP is refused in the envelope too."""
    async with _talking() as (reader, writer):
        writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        answer = await reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


async def test_a_large_body_is_no_large_head() -> None:
    """The limits end with the head."""
    async with _talking() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"a" * 300_000)
        answer = await reader.readuntil(b"\r\n\r\n300000")

    assert answer.startswith(b"HTTP/1.1 200")
