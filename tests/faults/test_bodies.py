"""Requests that break on their way in, byte by byte on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from tests.harness import KEY, Harness, eventually, photo, pictures_of, start_harness

pytestmark = pytest.mark.anyio

_HELD = "wan_gateway_inflight_body_bytes "
_LIMITS = {
    "port": 0,
    "max_body_bytes": 100_000,
    "max_bytes_in_flight": 150_000,
    "idle_body_seconds": 4,
    "body_seconds": 20,
}


def _form(prompt: str = "a hat") -> tuple[bytes, bytes]:
    """The Content-Type and the body of an edit."""
    request = httpx.Request(
        "POST",
        "http://gateway",
        data={"prompt": prompt, "size": "768x768"},
        files={"image": ("a.png", photo(), "image/png")},
    )
    return request.headers["content-type"].encode(), request.read()


def _head(kind: bytes, *more: bytes) -> bytes:
    lines = (
        b"POST /v1/images/edits HTTP/1.1",
        b"host: gateway",
        b"authorization: Bearer " + KEY.encode(),
        b"content-type: " + kind,
        *more,
    )
    return b"\r\n".join((*lines, b"", b""))


@asynccontextmanager
async def _wire(
    harness: Harness,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = httpx.URL(harness.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Status and error of an answer that may come before the request has ended."""
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        body = await reader.readexactly(length)
    return int(head.split()[1]), orjson.loads(body)["error"]


async def _no_task_was_made(harness: Harness) -> None:
    assert (await harness.books())["counts"] == {}


async def test_cut_body() -> None:
    """A client that breaks off in mid-body leaves nothing behind, and the next one is served."""
    kind, body = _form()
    async with start_harness(server=_LIMITS) as harness:
        async with _wire(harness) as (_, writer):
            writer.write(_head(kind, b"content-length: %d" % len(body)) + body[:-40])
            await writer.drain()
            await asyncio.sleep(0.5)

        await asyncio.sleep(0.5)
        await _no_task_was_made(harness)
        assert pictures_of(await harness.edit())


async def test_body_without_its_end() -> None:
    """A form whose last boundary is missing is refused, not taken for a shorter one."""
    kind, body = _form()
    async with start_harness(server=_LIMITS) as harness:
        answer = await harness.http.post(
            "/v1/images/edits", content=body[:-40], headers={"content-type": kind.decode()}
        )

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request_body")
        await _no_task_was_made(harness)


async def test_slow_body() -> None:
    """A body that falls silent is answered 408, which SDKs repeat."""
    kind, body = _form()
    async with start_harness(server=_LIMITS) as harness, _wire(harness) as (reader, writer):
        writer.write(_head(kind, b"content-length: %d" % len(body)) + body[:500])

        status, error = await _answer(reader)

        assert (status, error["code"]) == (408, "request_timeout")
        await _no_task_was_made(harness)


async def test_announced_too_large() -> None:
    """A body that announces itself as too large is refused before a byte of it is read."""
    kind, _ = _form()
    async with start_harness(server=_LIMITS) as harness, _wire(harness) as (reader, writer):
        writer.write(_head(kind, b"content-length: 100001"))

        status, error = await _answer(reader)

        assert (status, error["code"]) == (413, "request_too_large")
        await _no_task_was_made(harness)


async def test_chunked_too_large() -> None:
    """A body that says nothing of its length is refused as soon as it is too large."""
    kind, _ = _form()
    async with start_harness(server=_LIMITS) as harness, _wire(harness) as (reader, writer):
        writer.write(_head(kind, b"transfer-encoding: chunked"))
        writer.write(b"20000\r\n" + bytes(0x20000) + b"\r\n")

        status, error = await _answer(reader)

        assert (status, error["code"]) == (413, "request_too_large")


async def _held(harness: Harness, least: int) -> None:
    """Wait until the gateway holds so many bytes of bodies."""

    async def held() -> bool:
        text = (await harness.http.get("/metrics")).text
        (line,) = (one for one in text.splitlines() if one.startswith(_HELD))
        return float(line.split()[1]) >= least

    await eventually(held)


async def test_too_much_in_flight() -> None:
    """Bodies that together are over the budget are refused with a 503, and the rest goes on."""
    kind, body = _form()
    async with start_harness(server=_LIMITS) as harness, _wire(harness) as (_, first):
        first.write(_head(kind, b"content-length: 99000") + body[:500] + bytes(90_000))
        await _held(harness, 90_000)

        async with _wire(harness) as (reader, second):
            second.write(_head(kind, b"content-length: 99000") + body[:500])
            status, error = await _answer(reader)

        assert (status, error["code"]) == (503, "server_is_overloaded")
        assert error["type"] == "service_unavailable_error"


async def test_what_is_announced_takes_no_room() -> None:
    """Bodies that are announced and do not come keep nobody else out."""
    kind, body = _form()
    async with start_harness(server=_LIMITS) as harness, AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await stack.enter_async_context(_wire(harness))
            writer.write(_head(kind, b"content-length: 99000") + body[:480])
        await _held(harness, 3 * 480)

        answer = await harness.http.post(
            "/v1/images/edits", content=body, headers={"content-type": kind.decode()}
        )

        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("POST", "/v1/chat/completions", 404, "unknown_url", id="other-endpoint"),
        pytest.param("GET", "/v1/images/edits", 405, "method_not_allowed", id="wrong-method"),
        pytest.param("GET", "/v1/images/generations", 405, "method_not_allowed", id="generations"),
        pytest.param("GET", "/v1/images/edits/edit_none", 404, "not_found", id="unknown-edit"),
    ],
)
async def test_unknown(method: str, path: str, status: int, code: str) -> None:
    """Unknown paths, methods and edits are told in OpenAI's envelope, with a request id."""
    async with start_harness() as harness:
        answer = await harness.http.request(method, path)

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code)
        assert set(error) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]
        assert answer.headers["openai-processing-ms"].isdigit()
