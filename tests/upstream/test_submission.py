"""The table of money: what each end of a submit proves, over real sockets and in shapes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidRequest,
    RequestTooLarge,
    SubmitUncertain,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.models import MODELS, Model
from gateway.domain.task import Made
from gateway.translate.dashscope_families import submit_body
from gateway.upstream import dashscope
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.dashscope import DashScopeApi
from gateway.upstream.submission import Outgoing, broken, settled
from gateway.upstream.transport import AiohttpTransport
from tests.upstream.wire import (
    EDIT,
    PART,
    PICTURES,
    HandClock,
    Heard,
    Serve,
    Tally,
    listening,
    read_request,
    upstream,
)

pytestmark = pytest.mark.anyio

_TASK = b'{"output":{"task_status":"PENDING","task_id":"t-1"},"request_id":"r-1"}'
WITH_TASKS, WITHOUT = MODELS["wan2.5-i2i-preview"], MODELS["qwen-image-edit-plus"]
_LONG_PICTURE = (Picture(content=b"x" * 4_000_000, media_type="image/png"),)


def _answer(status: bytes, body: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, size, body)


def _cut_at_once(heard: Heard) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return serve


def _reset_at_once(heard: Heard) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return serve


def _cut_after_head(heard: Heard) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.bytes += await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    return serve


def _says(*parts: bytes, abort: bool = False) -> Callable[[Heard], Serve]:
    def scripted(heard: Heard) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(heard, reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if abort:
                writer.transport.abort()

        return serve

    return scripted


def _hangs(heard: Heard) -> Serve:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(heard, reader)
        await asyncio.sleep(30)

    return serve


def _reads_nothing(heard: Heard) -> Serve:
    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    return serve


def _trickles(heard: Heard) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(heard, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(30)

    return serve


def _soon(purpose: Purpose) -> httpx.AsyncBaseTransport:
    """Give the real transport with a patience of 0.3 s for silence, so that no test waits."""

    class Hasty(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["timeout"]["read"] = 0.3
            return await super().handle_async_request(request)

    return Hasty(keep_alive=1.5, ssl_context=_no_tls)


def _no_tls() -> ssl.SSLContext:
    raise AssertionError


async def _submit(base_url: str, pictures: tuple[Picture, ...] = PICTURES) -> object:
    async with Clients(_soon) as clients:
        api = DashScopeApi(clients, HandClock(), Tally())
        return await api.submit(upstream(base_url), EDIT, PART, pictures)


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
    serve: Callable[[Heard], Serve], pictures: tuple[Picture, ...]
) -> None:
    """Once a connection was there, nothing but a clear answer makes a submit certain."""
    async with listening(serve) as heard:
        with pytest.raises(SubmitUncertain):
            await _submit(heard.base_url, pictures)

    assert heard.connections == 1


async def test_refused_port_is_no_byte_sent() -> None:
    """A refused connection proves that nothing was sent: another upstream may be tried."""
    async with listening(_hangs) as heard:
        pass

    with pytest.raises(UpstreamUnreachable):
        await _submit(heard.base_url)


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
    async with listening(_hello_in_plain) as heard, Clients() as clients:
        api = DashScopeApi(clients, HandClock(), Tally())

        with pytest.raises(UpstreamUnreachable):
            await api.submit(upstream(f"https://127.0.0.1:{heard.port}"), EDIT, PART, PICTURES)

    assert b"POST" not in heard.bytes


def _hello_in_plain(heard: Heard) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.bytes += await reader.read(4096)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    return serve


async def test_connecting_too_long_is_no_byte_sent() -> None:
    """A TLS handshake that never ends is given up as unreachable."""

    class Hasty(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["timeout"]["connect"] = 0.2
            return await super().handle_async_request(request)

    def hasty(_: Purpose) -> httpx.AsyncBaseTransport:
        return Hasty(keep_alive=1, ssl_context=httpx.create_ssl_context)

    async with listening(_reads_nothing) as heard, Clients(hasty) as clients:
        api = DashScopeApi(clients, HandClock(), Tally())

        with pytest.raises(UpstreamUnreachable):
            await api.submit(upstream(f"https://127.0.0.1:{heard.port}"), EDIT, PART, PICTURES)


async def test_proxy_that_refuses_the_tunnel_is_no_byte_sent() -> None:
    """A proxy's no to CONNECT comes before the request: no byte of it was sent."""
    async with listening(_refuses_tunnel) as heard:

        def proxied(_: Purpose) -> httpx.AsyncBaseTransport:
            return AiohttpTransport(
                keep_alive=1,
                ssl_context=httpx.create_ssl_context,
                proxy_of=lambda _: f"127.0.0.1:{heard.port}",
            )

        async with Clients(proxied) as clients:
            api = DashScopeApi(clients, HandClock(), Tally())
            with pytest.raises(UpstreamUnreachable):
                await api.submit(upstream("https://upstream.test"), EDIT, PART, PICTURES)

    assert heard.bytes.startswith(b"CONNECT upstream.test:443")
    assert b"canary" not in heard.bytes


def _refuses_tunnel(heard: Heard) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.bytes += await reader.readuntil(b"\r\n\r\n")
        writer.write(_answer(b"407 Proxy Authentication Required", b""))
        await writer.drain()

    return serve


async def test_upload_that_stands_still_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that stops reading in mid-body does not hold a submit for ever."""
    monkeypatch.setitem(dashscope._SUBMIT_PATIENCE, Purpose.SUBMIT, 0.3)
    monkeypatch.setattr("gateway.upstream.dashscope._SLOWEST_UPLOAD", 2**40)

    async with listening(_reads_nothing) as heard:
        with pytest.raises(SubmitUncertain):
            await _submit(heard.base_url, _LONG_PICTURE * 5)


async def test_connection_that_the_server_just_closed_is_not_used_again() -> None:
    """A POST is sent once: on a kept connection that breaks it is uncertain, not repeated."""

    def once(heard: Heard) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(heard, reader)
            writer.write(_answer(b"200 OK", _TASK))
            await writer.drain()
            await read_request(heard, reader)
            writer.transport.abort()

        return serve

    async with listening(once) as heard, Clients() as clients:
        api = DashScopeApi(clients, HandClock(), Tally())
        await api.submit(upstream(heard.base_url), EDIT, PART, PICTURES)
        with pytest.raises(SubmitUncertain):
            await api.submit(upstream(heard.base_url), EDIT, PART, PICTURES)

    assert heard.connections == 1
    assert heard.bytes.count(b"POST ") == 2


async def test_answer_before_the_body_is_read() -> None:
    """A refusal that comes while the body still goes out is a refusal, or else uncertain."""

    def hasty(heard: Heard) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.bytes += await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer(b"413 Content Too Large", b""))
            await writer.drain()
            while await reader.read(2**16):
                pass

        return serve

    async with listening(hasty) as heard:
        with pytest.raises((RequestTooLarge, SubmitUncertain)):
            await _submit(heard.base_url, _LONG_PICTURE)


# ------------------------------------------------------------ shapes


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(200, {"code": "InvalidApiKey"}, UpstreamUnavailable, id="200-key"),
        pytest.param(200, {"code": "DataInspectionFailed"}, ContentRefused, id="200-content"),
        pytest.param(200, {"code": "Throttling.RateQuota"}, Throttled, id="200-throttled"),
        pytest.param(200, {"code": "InternalError"}, SubmitUncertain, id="200-internal"),
        pytest.param(200, {"code": "NeverHeardOf"}, SubmitUncertain, id="200-unlisted"),
        pytest.param(200, {"output": {"task_id": ""}}, SubmitUncertain, id="200-empty-id"),
        pytest.param(200, {"output": {"task_id": 5}}, SubmitUncertain, id="200-odd-id"),
        pytest.param(200, ["a list"], SubmitUncertain, id="200-list"),
        pytest.param(204, None, SubmitUncertain, id="204"),
        pytest.param(301, None, UpstreamUnavailable, id="redirect"),
        pytest.param(400, {"code": "InvalidParameter"}, InvalidRequest, id="400"),
        pytest.param(400, {"code": "Arrearage"}, UpstreamUnavailable, id="400-arrears"),
        pytest.param(400, None, UpstreamFailed, id="400-no-json"),
        pytest.param(401, {"code": "InvalidApiKey"}, UpstreamUnavailable, id="401"),
        pytest.param(403, None, UpstreamUnavailable, id="403-no-json"),
        pytest.param(408, None, SubmitUncertain, id="408"),
        pytest.param(413, None, RequestTooLarge, id="413-no-json"),
        pytest.param(429, {"code": "Throttling"}, Throttled, id="429"),
        pytest.param(429, None, Throttled, id="429-no-json"),
        pytest.param(429, {"code": "PrepaidBillOverdue"}, UpstreamUnavailable, id="429-bill"),
        pytest.param(499, None, SubmitUncertain, id="499"),
        pytest.param(500, {"code": "InternalError"}, SubmitUncertain, id="500"),
        pytest.param(503, {"code": "ModelServingError"}, SubmitUncertain, id="503"),
        pytest.param(504, None, SubmitUncertain, id="504"),
    ],
)
@pytest.mark.parametrize("model", [WITH_TASKS, WITHOUT], ids=lambda model: model.family)
def test_what_an_answer_proves(
    status: int, body: object, error: type[GatewayError], model: Model
) -> None:
    """Each status and code is either certain that nothing was made, or uncertain."""
    answer = httpx.Response(status, json=body) if body is not None else httpx.Response(status)

    with pytest.raises(error) as caught:
        settled(answer, model)

    assert type(caught.value) is error


@pytest.mark.parametrize("code", [pytest.param("", id="plain"), pytest.param("Odd", id="code")])
def test_a_task_id_is_believed(code: str) -> None:
    """A 2xx that names a task has made one, whatever else it says."""
    said = {"output": {"task_id": "t-1"}, "code": code}

    accepted = settled(httpx.Response(200, json=said, headers={"x-request-id": "r-9"}), WITH_TASKS)

    assert (accepted.task_id, accepted.request_id) == ("t-1", "r-9")


def test_pictures_instead_of_a_task() -> None:
    """A model without tasks answers with the pictures; the request's id stands for the task's."""
    content = [{"image": "https://a/1.png"}, {"image": "https://a/2.png"}]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    said = {"output": {"choices": [choice]}, "usage": {"image_count": 2}}

    accepted = settled(httpx.Response(200, json=said, headers={"x-request-id": "r-9"}), WITHOUT)

    assert (accepted.task_id, accepted.request_id) == ("request-r-9", "r-9")
    assert accepted.task is not None
    assert accepted.task.made == (Made("https://a/1.png"), Made("https://a/2.png"))
    assert accepted.task.fault is None


@pytest.mark.parametrize(
    ("said", "model"),
    [
        pytest.param({"output": {"choices": []}}, WITH_TASKS, id="pictures-for-a-task"),
        pytest.param({"output": {"task_id": "t-1"}}, WITHOUT, id="a-task-for-pictures"),
    ],
)
def test_the_other_kinds_answer_is_none(said: object, model: Model) -> None:
    """What was made, if anything, cannot be told."""
    with pytest.raises(SubmitUncertain):
        settled(httpx.Response(200, json=said), model)


def test_an_answer_without_pictures() -> None:
    """It made nothing and cost nothing, but would most likely do so again."""
    accepted = settled(httpx.Response(200, json={"output": {"choices": []}}), WITHOUT)

    assert accepted.task_id == "request-unknown"
    assert accepted.task is not None
    assert accepted.task.made == ()
    assert isinstance(accepted.task.fault, UpstreamFailed)
    assert not accepted.task.fault.retry


async def test_uncertain_tells_the_operator_why() -> None:
    """What upstream said and under which request id stays with the error."""
    said = {"code": "InternalError", "request_id": "r-5"}

    with pytest.raises(SubmitUncertain) as caught:
        settled(httpx.Response(500, json=said), WITH_TASKS)

    assert (caught.value.upstream_code, caught.value.upstream_request_id) == (
        "InternalError",
        "r-5",
    )


@pytest.mark.parametrize(
    ("exc", "asked_for", "error"),
    [
        pytest.param(httpx.ConnectError(""), False, UpstreamUnreachable, id="connect"),
        pytest.param(httpx.ConnectTimeout(""), False, UpstreamUnreachable, id="connect-timeout"),
        pytest.param(httpx.PoolTimeout(""), False, UpstreamUnreachable, id="pool"),
        pytest.param(httpx.ProxyError(""), False, UpstreamUnreachable, id="proxy"),
        pytest.param(httpx.ConnectTimeout(""), True, SubmitUncertain, id="lying-transport"),
        pytest.param(httpx.ReadError(""), False, SubmitUncertain, id="read-error-unasked"),
        pytest.param(httpx.WriteError(""), True, SubmitUncertain, id="write"),
        pytest.param(TimeoutError(), True, SubmitUncertain, id="patience-over"),
        pytest.param(RuntimeError("bug"), False, SubmitUncertain, id="unforeseen"),
    ],
)
async def test_two_witnesses(exc: Exception, error: type[GatewayError], *, asked_for: bool) -> None:
    """Nothing was sent only if the transport says so and no piece of the body was asked for."""
    outgoing = Outgoing(submit_body(EDIT, PART, PICTURES))
    if asked_for:
        await anext(_pieces(outgoing))

    assert type(broken(exc, outgoing)) is error


async def _pieces(outgoing: Outgoing) -> AsyncIterator[bytes]:
    async for piece in outgoing:
        yield piece
