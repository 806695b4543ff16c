import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest

from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.transport import AiohttpTransport, environment_proxy
from tests.upstream.wire import LoopbackServer, Serve, listening, read_request, upstream

pytestmark = pytest.mark.anyio


def _echo(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(received, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok")
            await writer.drain()

    return serve


def _no_tls() -> ssl.SSLContext:
    raise AssertionError


def _transport(proxy: str | None = None) -> AiohttpTransport:
    return AiohttpTransport(keep_alive=5, ssl_context=_no_tls, proxy_of=lambda _: proxy)


_ODD = b"/a%2fb/./c%2B?Signature=x%2By%3d&q='%41%2f~[]"


async def test_target_goes_out_byte_for_byte() -> None:
    """A target handed in is on the wire as it was: no escape is changed, no dot resolved."""
    async with listening(_echo) as received, httpx.AsyncClient(transport=_transport()) as client:
        await client.get(received.base_url, extensions={"target": _ODD})

    assert received.bytes.startswith(b"GET " + _ODD + b" HTTP/1.1\r\n")


async def test_connection_is_used_again_and_keeps_no_cookie() -> None:
    """Two calls share a connection; what the first set as cookie is not in the second."""
    async with listening(_echo) as received, httpx.AsyncClient(transport=_transport()) as client:
        first = await client.get(received.base_url)
        client.cookies.clear()
        await client.get(received.base_url)

    assert first.text == "ok"
    assert received.connections == 1
    assert b"a=b" not in received.bytes


async def test_buffered_and_streamed_bodies_arrive_with_their_length() -> None:
    """A body of bytes and one of pieces are both sent with Content-Length, not chunked."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"pie"
        yield b"ces"

    async with listening(_echo) as received, httpx.AsyncClient(transport=_transport()) as client:
        await client.post(received.base_url, content=b"bytes")
        await client.post(received.base_url, content=pieces(), headers={"Content-Length": "6"})

    assert received.bytes.count(b"\r\n\r\nbytes") == 1
    assert received.bytes.endswith(b"\r\n\r\npieces")
    assert b"chunked" not in received.bytes


async def test_proxy_gets_its_password_and_the_whole_url() -> None:
    """A plain http request goes through the proxy, with the credentials of the proxy's URL."""
    async with listening(_echo) as received:
        proxy = f"http://us:pw@127.0.0.1:{received.port}"
        async with httpx.AsyncClient(transport=_transport(proxy)) as client:
            await client.get("http://far.test/x")

    assert received.bytes.startswith(b"GET http://far.test/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXM6cHc=" in received.bytes


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        pytest.param({}, "https://a.test/", None, id="none"),
        pytest.param({"https_proxy": "http://p:1"}, "https://a.test/", "http://p:1", id="https"),
        pytest.param({"https_proxy": "http://p:1"}, "http://a.test/", None, id="other-scheme"),
        pytest.param({"all_proxy": "http://p:2"}, "http://a.test/", "http://p:2", id="all"),
        pytest.param(
            {"https_proxy": "http://p:1", "no_proxy": "a.test"}, "https://a.test/", None, id="no"
        ),
        pytest.param(
            {"http_proxy": "http://p:1", "no_proxy": "a.test:81"},
            "http://a.test:81/",
            None,
            id="no-by-port",
        ),
    ],
)
def test_environment_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    """The usual variables decide, whatever else is set."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert environment_proxy(httpx.URL(url)) == proxy


async def test_errors_name_no_url() -> None:
    """A connection that fails says which kind of failure, never the signed URL."""
    async with listening(_echo) as received:
        gone = received.base_url
    async with httpx.AsyncClient(transport=_transport()) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(gone, extensions={"target": b"/x?Signature=canary"})

    assert str(caught.value) == "ClientConnectorError"
    assert caught.value.__cause__ is None


async def test_answer_is_streamed_and_a_cut_is_seen() -> None:
    """A body that ends too early is an error, not a shorter body."""

    def cut(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(received, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            await writer.drain()

        return serve

    async with listening(cut) as received, httpx.AsyncClient(transport=_transport()) as client:
        with pytest.raises(httpx.ReadError):
            await client.get(received.base_url)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"", id="closed-without-a-word"),
        pytest.param(b"nonsense\r\n\r\n", id="not-http"),
        pytest.param(None, id="reset"),
    ],
)
async def test_what_broke_later_is_no_connect_error(
    response: bytes | None,
) -> None:
    """Once connected, no failure is called a ConnectError or ConnectTimeout."""

    def broken(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(received, reader)
            if response is None:
                writer.transport.abort()
            else:
                writer.write(response)
                await writer.drain()

        return serve

    async with listening(broken) as received, httpx.AsyncClient(transport=_transport()) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.post(received.base_url, content=b"bytes")

    assert not isinstance(caught.value, httpx.ConnectError | httpx.ConnectTimeout)


async def test_closing_unused_is_nothing() -> None:
    """A transport that never carried anything closes without a session."""
    await _transport().aclose()


def _record_sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Return a list to which the transport's TCP sockets are added as they are opened."""
    opened: list[socket.socket] = []
    original = socket.socket

    class RecordedSocket(original):  # type: ignore[misc, valid-type]  # the very class that is used
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            if self.type == socket.SOCK_STREAM:
                opened.append(self)

    monkeypatch.setattr("gateway.upstream.transport.socket.socket", RecordedSocket)
    return opened


@pytest.mark.parametrize("named", [True, False], ids=["as on Linux", "without the names"])
async def test_a_silent_connection_is_kept_alive(
    monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """Nothing between us and upstream forgets a connection on which a picture is waited for."""
    async with listening(_echo) as received, httpx.AsyncClient(transport=_transport()) as client:
        sockets = _record_sockets(monkeypatch)
        if not named:
            monkeypatch.delattr(socket, "TCP_KEEPIDLE")
        answer = await client.get(received.base_url)
        monkeypatch.undo()
        connection = sockets[0]

        assert answer.text == "ok"
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert (idle == 45) is named


@pytest.mark.parametrize(
    ("purpose", "milliseconds"),
    [(Purpose.SUBMIT, 15_000), (Purpose.SUBMIT_AND_WAIT, 15_000), (Purpose.CALL, 0)],
)
async def test_lost_bytes_of_a_submit_are_not_sent_for_long(
    monkeypatch: pytest.MonkeyPatch, purpose: Purpose, milliseconds: int
) -> None:
    """The system gives a submit up that nobody acknowledges, and at once when we are gone."""
    async with listening(_echo) as received, Clients() as clients:
        client = clients.of(upstream(received.base_url), purpose)
        sockets = _record_sockets(monkeypatch)
        await client.send(client.build_request("GET", received.base_url + "/"))
        monkeypatch.undo()

        timeout = sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        linger = struct.unpack("ii", sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        unsent = sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert timeout == milliseconds
        assert (unsent == 2**18) is bool(milliseconds)
        assert linger == ((1, 0) if milliseconds else (0, 0))


async def test_a_system_without_limits_on_unsent_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux a submit goes out without these options."""
    async with listening(_echo) as received, Clients() as clients:
        client = clients.of(upstream(received.base_url), Purpose.SUBMIT)
        monkeypatch.delattr("gateway.upstream.transport.socket.TCP_NOTSENT_LOWAT")
        monkeypatch.delattr("gateway.upstream.transport.socket.TCP_USER_TIMEOUT")
        answer = await client.send(client.build_request("GET", received.base_url + "/"))

    assert answer.status_code == 200


async def test_what_came_unasked_is_no_answer() -> None:
    """An answer that comes while the connection is idle is never that to the next request."""
    more = asyncio.Event()

    def twice(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_request(received, reader)
                own = b"connection %d" % received.connections
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + own)
                await more.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")
                await writer.drain()

        return serve

    transport = _transport()
    async with listening(twice) as received, httpx.AsyncClient(transport=transport) as client:
        first = await client.get(received.base_url)
        assert transport._session is not None
        assert isinstance(transport._session.connector, aiohttp.TCPConnector)
        ((pooled, _),) = next(iter(transport._session.connector._conns.values()))
        more.set()
        while not pooled.should_close:  # noqa: ASYNC110 - it comes by the loop itself
            await asyncio.sleep(0.001)
        second = await client.get(received.base_url)

    assert (first.text, second.text) == ("connection 1", "connection 2")
