"""Over TLS, as DashScope is called: who signed the other side is asked, and may be one's own CA."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from gateway.domain.errors import UpstreamUnreachable
from gateway.upstream.clients import Clients
from gateway.upstream.dashscope import DashScopeApi
from tests.models import TABLE
from tests.upstream.wire import (
    EDIT,
    PART,
    PICTURES,
    HandClock,
    LoopbackServer,
    RecordedCalls,
    intent,
    read_request,
)
from tests.upstream.wire import upstream as an_upstream

pytestmark = pytest.mark.anyio

_TASK = b'{"output":{"task_status":"PENDING","task_id":"t-1"},"request_id":"r-1"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_TASK), _TASK)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name the CA."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


@asynccontextmanager
async def secured(authority: trustme.CA, *names: str) -> AsyncIterator[LoopbackServer]:
    """Answer submits over TLS as one of *names*."""
    received, context = LoopbackServer(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.connections += 1
        await read_request(received, reader)
        writer.write(_ANSWER)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    received.port = server.sockets[0].getsockname()[1]
    async with server:
        yield received


async def submitted(received: LoopbackServer) -> str:
    async with Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)
        upstream = an_upstream(f"https://127.0.0.1:{received.port}")
        return (await api.submit(upstream, EDIT, PART, PICTURES, intent())).task_id


async def test_a_ca_of_ones_own(authority: trustme.CA, trusted: None) -> None:
    """A proxy that opens TLS is trusted once the environment names its CA."""
    async with secured(authority, "127.0.0.1") as received:
        assert await submitted(received) == "t-1"


async def test_a_stranger_is_not_trusted(authority: trustme.CA) -> None:
    """Without it the handshake fails, and no byte of a key or picture goes out."""
    async with secured(authority, "127.0.0.1") as received:
        with pytest.raises(UpstreamUnreachable):
            await submitted(received)

    assert received.bytes == b""


async def test_a_name_that_is_anothers(authority: trustme.CA, trusted: None) -> None:
    """A good certificate of somebody else is refused just so."""
    async with secured(authority, "elsewhere.test") as received:
        with pytest.raises(UpstreamUnreachable):
            await submitted(received)

    assert received.bytes == b""
