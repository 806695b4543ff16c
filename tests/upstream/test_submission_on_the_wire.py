"""The table of money over real sockets: which broken submit is certain, which is not."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import (
    IntentExpired,
    RequestTooLarge,
    SubmitUncertain,
    UpstreamUnreachable,
)
from gateway.upstream.calls import CALL_LIMITS, CallLimits
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.dashscope import DashScopeApi
from gateway.upstream.transport import AiohttpTransport
from tests.models import TABLE
from tests.upstream.wire import (
    EDIT,
    PART,
    PICTURES,
    HandClock,
    LoopbackServer,
    RecordedCalls,
    Serve,
    intent,
    listening,
    read_request,
    upstream,
)

pytestmark = pytest.mark.anyio

_TASK = b'{"output":{"task_status":"PENDING","task_id":"t-1"},"request_id":"r-1"}'
_LONG_PICTURE = (Picture(content=b"x" * 4_000_000, media_type="image/png"),)


def _answer(status: bytes, body: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, size, body)


def _cut_at_once(received: LoopbackServer) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return serve


def _reset_at_once(received: LoopbackServer) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return serve


def _cut_after_head(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.bytes += await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    return serve


def _says(*parts: bytes, abort: bool = False) -> Callable[[LoopbackServer], Serve]:
    def scripted(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(received, reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if abort:
                writer.transport.abort()

        return serve

    return scripted


def _hangs(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(received, reader)
        await asyncio.sleep(30)

    return serve


def _reads_nothing(received: LoopbackServer) -> Serve:
    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    return serve


def _trickles(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(received, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(30)

    return serve


def _soon(purpose: Purpose) -> httpx.AsyncBaseTransport:
    """Give the real transport with a patience of 0.3 s for silence, so that no test waits."""

    class ShortReadTimeout(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["timeout"]["read"] = 0.3
            return await super().handle_async_request(request)

    return ShortReadTimeout(keep_alive=1.5, ssl_context=_no_tls)


def _slow_socket() -> socket.socket:
    """Return one to listen on, whose kernel takes only a little that nobody has read."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    slow.bind(("127.0.0.1", 0))
    return slow


def _no_tls() -> ssl.SSLContext:
    raise AssertionError


_HASTY = CallLimits(submit=0.3)


async def _submit(
    base_url: str, pictures: tuple[Picture, ...] = PICTURES, *, limits: CallLimits = CALL_LIMITS
) -> object:
    async with Clients(_soon) as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE, limits=limits)
        return await api.submit(upstream(base_url), EDIT, PART, pictures, intent())


@pytest.mark.parametrize(
    ("serve", "pictures"),
    [
        pytest.param(_cut_at_once, PICTURES, id="closed-on-accept"),
        pytest.param(_reset_at_once, PICTURES, id="reset-on-accept"),
        pytest.param(_reset_at_once, _LONG_PICTURE, id="reset-while-sending"),
        pytest.param(_cut_after_head, _LONG_PICTURE, id="reset-after-head"),
        pytest.param(_says(), PICTURES, id="closed-after-body"),
        pytest.param(_says(abort=True), PICTURES, id="reset-after-body"),
        pytest.param(_says(b"HTTP/1.1 200"), PICTURES, id="cut-in-status-line"),
        pytest.param(_says(b"HTTP/1.1 200 OK\r\nContent-Le"), PICTURES, id="cut-in-head"),
        pytest.param(_says(_answer(b"200 OK", _TASK, length=999)), PICTURES, id="cut-in-answer"),
        pytest.param(_says(b"not http at all\r\n\r\n"), PICTURES, id="not-http"),
        pytest.param(_says(_answer(b"502 Bad Gateway", b"<html>")), PICTURES, id="502-page"),
        pytest.param(_says(_answer(b"200 OK", b"{}")), PICTURES, id="200-empty"),
        pytest.param(_hangs, PICTURES, id="silent-after-body"),
        pytest.param(_trickles, PICTURES, id="silent-in-answer"),
    ],
)
async def test_a_byte_may_have_arrived(
    serve: Callable[[LoopbackServer], Serve], pictures: tuple[Picture, ...]
) -> None:
    """Once a connection was there, nothing but a clear answer makes a submit certain."""
    async with listening(serve) as received:
        with pytest.raises(SubmitUncertain):
            await _submit(received.base_url, pictures)

    assert received.connections == 1


def _patient(_: Purpose) -> httpx.AsyncBaseTransport:
    return AiohttpTransport(keep_alive=1.5, ssl_context=_no_tls)


class _Leaping(HandClock):
    """One of its clocks leaps by *seconds* in the middle of a body."""

    def __init__(self, leaping: str, seconds: float) -> None:
        super().__init__()
        self._leaping = leaping
        self._seconds = seconds
        self._asked = 0

    def now(self) -> float:
        self._asked += 1
        return super().now() + self._leap("now")

    def epoch(self) -> float:
        return super().epoch() + self._leap("epoch")

    def _leap(self, name: str) -> float:
        return self._seconds * (name == self._leaping and self._asked > 12)


def _reads_to_the_end(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.bytes += await reader.readuntil(b"\r\n\r\n")
        while len(received.bytes) < 5_333_000 and (more := await reader.read(2**16)):
            received.bytes += more
        writer.write(_answer(b"200 OK", _TASK))
        await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("leaping", "seconds"), [("now", 31.0), ("epoch", 31.0), ("epoch", -3600.0)]
)
async def test_the_rest_of_an_expired_submit_never_leaves(leaping: str, seconds: float) -> None:
    """Whichever clock leaps in mid-body, nothing more is sent: surely no task is made."""
    clock = _Leaping(leaping, seconds)
    async with listening(_reads_to_the_end) as received, Clients(_patient) as clients:
        api = DashScopeApi(clients, clock, RecordedCalls(), TABLE)
        with pytest.raises(IntentExpired):
            await api.submit(upstream(received.base_url), EDIT, PART, _LONG_PICTURE, intent(clock))
        await asyncio.sleep(0.05)

    assert 100_000 < len(received.bytes) < 5_000_000


@pytest.mark.parametrize("pictures", [PICTURES, (), _LONG_PICTURE], ids=["small", "none", "large"])
async def test_a_submit_of_an_old_intent_sends_no_body(pictures: tuple[Picture, ...]) -> None:
    """Stopped between the intent's COMMIT and the first piece for too long: nothing is made."""
    clock = HandClock()
    old = intent(clock)
    clock.time += 31.0
    async with listening(_reads_to_the_end) as received, Clients(_patient) as clients:
        api = DashScopeApi(clients, clock, RecordedCalls(), TABLE)
        with pytest.raises(IntentExpired) as caught:
            await api.submit(upstream(received.base_url), EDIT, PART, pictures, old)
        await asyncio.sleep(0.05)

    assert b"{" not in received.bytes
    assert not caught.value.maybe_billed


async def test_a_slow_region_does_not_get_the_end_of_a_body() -> None:
    """A body that takes longer than its intent lasts is left unfinished, not left to the kernel."""
    clock = HandClock()
    received = bytearray()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                received.extend(piece)
                clock.time += len(piece) / 65_536  # 4 MB at 64 KiB/s
        over.set()
        writer.close()

    slow = _slow_socket()
    async with await asyncio.start_server(serve, sock=slow, limit=8192), Clients() as clients:
        api = DashScopeApi(clients, clock, RecordedCalls(), TABLE)
        base_url = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with pytest.raises(IntentExpired):
            await api.submit(upstream(base_url), EDIT, PART, _LONG_PICTURE, intent(clock))
        await over.wait()

    assert 1_500_000 < len(received) < 3_500_000


async def test_a_submit_goes_on_after_a_short_standstill() -> None:
    """A clock that leaps by less cuts nothing."""
    clock = _Leaping("now", 29.0)
    async with listening(_reads_to_the_end) as received, Clients(_patient) as clients:
        api = DashScopeApi(clients, clock, RecordedCalls(), TABLE)
        accepted = await api.submit(
            upstream(received.base_url), EDIT, PART, _LONG_PICTURE, intent(clock)
        )

    assert accepted.task_id == "t-1"
    assert len(received.bytes) > 5_333_000


async def test_refused_port_is_no_byte_sent() -> None:
    """A refused connection proves that nothing was sent: another upstream may be tried."""
    async with listening(_hangs) as received:
        pass

    with pytest.raises(UpstreamUnreachable):
        await _submit(received.base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("http://no-such-host.invalid/api/v1", id="no-such-name"),
        pytest.param("http://127.0.0.1:1/api/v1", id="no-listener"),
    ],
)
async def test_no_connection_is_no_byte_sent(base_url: str) -> None:
    """Neither a name that does not resolve nor a port without a listener saw a byte."""
    with pytest.raises(UpstreamUnreachable):
        await _submit(base_url)


async def test_bad_certificate_is_no_byte_sent() -> None:
    """A failed TLS handshake comes before the request: no byte of it was sent."""
    async with listening(_hello_in_plain) as received, Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)

        with pytest.raises(UpstreamUnreachable):
            await api.submit(
                upstream(f"https://127.0.0.1:{received.port}"), EDIT, PART, PICTURES, intent()
            )

    assert b"POST" not in received.bytes


def _hello_in_plain(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.bytes += await reader.read(4096)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    return serve


async def test_connecting_too_long_is_no_byte_sent() -> None:
    """A TLS handshake that never ends is given up as unreachable."""

    class ShortConnectTimeout(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["timeout"]["connect"] = 0.2
            return await super().handle_async_request(request)

    def hasty(_: Purpose) -> httpx.AsyncBaseTransport:
        return ShortConnectTimeout(keep_alive=1, ssl_context=httpx.create_ssl_context)

    async with listening(_reads_nothing) as received, Clients(hasty) as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)

        with pytest.raises(UpstreamUnreachable):
            await api.submit(
                upstream(f"https://127.0.0.1:{received.port}"), EDIT, PART, PICTURES, intent()
            )


async def test_proxy_that_refuses_the_tunnel_is_no_byte_sent() -> None:
    """A proxy's no to CONNECT comes before the request: no byte of it was sent."""
    async with listening(_refuses_tunnel) as received:

        def proxied(_: Purpose) -> httpx.AsyncBaseTransport:
            return AiohttpTransport(
                keep_alive=1,
                ssl_context=httpx.create_ssl_context,
                proxy_of=lambda _: f"127.0.0.1:{received.port}",
            )

        async with Clients(proxied) as clients:
            api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)
            with pytest.raises(UpstreamUnreachable):
                await api.submit(upstream("https://upstream.test"), EDIT, PART, PICTURES, intent())

    assert received.bytes.startswith(b"CONNECT upstream.test:443")
    assert b"canary" not in received.bytes


def _refuses_tunnel(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.bytes += await reader.readuntil(b"\r\n\r\n")
        writer.write(_answer(b"407 Proxy Authentication Required", b""))
        await writer.drain()

    return serve


async def test_upload_that_stands_still_is_uncertain() -> None:
    """A peer that stops reading in mid-body does not hold a submit for ever."""

    async with listening(_reads_nothing) as received:
        with pytest.raises(SubmitUncertain):
            await _submit(received.base_url, _LONG_PICTURE * 5, limits=_HASTY)


async def test_connection_that_the_server_just_closed_is_not_used_again() -> None:
    """A POST is sent once: on a kept connection that breaks it is uncertain, not repeated."""

    def once(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(received, reader)
            writer.write(_answer(b"200 OK", _TASK))
            await writer.drain()
            await read_request(received, reader)
            writer.transport.abort()

        return serve

    async with listening(once) as received, Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)
        await api.submit(upstream(received.base_url), EDIT, PART, PICTURES, intent())
        with pytest.raises(SubmitUncertain):
            await api.submit(upstream(received.base_url), EDIT, PART, PICTURES, intent())

    assert received.connections == 1
    assert received.bytes.count(b"POST ") == 2


async def test_answer_before_the_body_is_read() -> None:
    """A refusal that comes while the body still goes out is a refusal, or else uncertain."""

    def hasty(received: LoopbackServer) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.bytes += await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer(b"413 Content Too Large", b""))
            await writer.drain()
            while await reader.read(2**16):
                pass

        return serve

    async with listening(hasty) as received:
        with pytest.raises((RequestTooLarge, SubmitUncertain)):
            await _submit(received.base_url, _LONG_PICTURE)


@pytest.mark.parametrize("size", [300_000, 1_500_000, 4_000_000])
async def test_nothing_leaves_after_a_submit_was_given_up(size: int) -> None:
    """
    What still lies in our buffers then never reaches upstream, however slowly that reads.

    Otherwise a whole submit could arrive minutes after the task list was searched for it.
    """
    given_up, over = asyncio.Event(), asyncio.Event()
    received = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await given_up.wait()
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                received += len(piece)
        over.set()
        writer.close()

    slow = _slow_socket()
    picture = Picture(content=b"x" * size, media_type="image/png")
    async with await asyncio.start_server(serve, sock=slow, limit=8192), Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE, limits=_HASTY)
        base_url = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with pytest.raises(SubmitUncertain):
            await api.submit(upstream(base_url), EDIT, PART, (picture,), intent())
        given_up.set()
        await over.wait()

    assert 0 < received < 200_000
