"""The openai package reads streams: long waits, errors before and after the first byte, a cut."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types import ImageEditCompletedEvent

from gateway.sandbox import Constant, SandboxConfig
from tests.harness import (
    KEY,
    PLAIN,
    Harness,
    hashed,
    origin,
    origin_of,
    photo,
    start_harness,
    start_threaded_harness,
)

pytestmark = pytest.mark.anyio

LONG = replace(PLAIN, latency=Constant(12.0))


@asynccontextmanager
async def _sdk(harness: Harness, url: str = "", **more: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"{url or harness.url}/v1"
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url, **more) as client:
        yield client


async def _events(client: openai.AsyncOpenAI, **more: Any) -> list[ImageEditCompletedEvent]:
    """Read a stream to its end."""
    fields: dict[str, Any] = {"image": photo(), "prompt": "make it blue", **more}
    stream = await client.images.edit(stream=True, **fields)
    events = [event async for event in stream]
    assert all(isinstance(event, ImageEditCompletedEvent) for event in events)
    return events


def _owner(event: ImageEditCompletedEvent) -> tuple[str, str]:
    return origin_of(b64decode(event.b64_json))


def test_the_sync_client() -> None:
    """A for loop reads an event for each picture, with every field that its class has."""
    with (
        start_threaded_harness(PLAIN) as shared_gateway,
        openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=0) as client,
    ):
        stream = client.images.edit(
            image=photo(), prompt="two", n=2, size="768x768", stream=True, partial_images=2
        )
        headers = stream.response.headers
        events = list(stream)

    assert headers["content-type"] == "text/event-stream"
    assert headers["x-wan-ignored-params"] == "partial_images"
    for event in events:
        assert isinstance(event, ImageEditCompletedEvent)
        assert origin_of(b64decode(event.b64_json)) == origin("two", photo())
        assert event.created_at > 1_700_000_000
        assert (event.size, event.output_format) == ("768x768", "png")
        assert (event.quality, event.background) == ("auto", "auto")
        assert (event.usage.total_tokens, event.usage.input_tokens_details.image_tokens) == (0, 0)
    assert len(events) == 2


async def test_a_wait_longer_than_its_patience() -> None:
    """With timeout=5 a task of 12 s is one request: each heartbeat begins its patience again."""
    async with start_harness(LONG) as harness, _sdk(harness, timeout=5) as sdk:
        (event,) = await _events(sdk)

        books = await harness.books()
        assert _owner(event) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert 'client_retries_total{attempt="1"} 0.0' in await _metrics(harness)


@pytest.mark.parametrize(
    ("requested", "cls", "code"),
    [
        pytest.param({"n": 11}, openai.BadRequestError, "invalid_value", id="field"),
        pytest.param(
            {"response_format": "url"}, openai.BadRequestError, "invalid_value", id="urls"
        ),
        pytest.param(
            {"image": b"none"}, openai.BadRequestError, "invalid_image_file", id="picture"
        ),
        pytest.param(
            {"prompt": "[sandbox:refuse DataInspectionFailed]"},
            openai.BadRequestError,
            "moderation_blocked",
            id="refused-at-submit",
        ),
    ],
)
async def test_errors_before_the_first_byte(
    requested: dict[str, Any], cls: type[openai.APIStatusError], code: str
) -> None:
    """What is known at once has its status, and so its class."""
    async with start_harness() as harness, _sdk(harness, max_retries=0) as sdk:
        with pytest.raises(cls) as caught:
            await _events(sdk, **requested)

    assert caught.value.code == code


async def test_a_full_line() -> None:
    """A full line is a RateLimitError at once, with the time of a next try."""
    tenant = {"region": "beijing", "keys": [hashed(KEY)], "max_waiting": 0}
    async with (
        start_harness(LONG, tenants={"acme": tenant}) as harness,
        _sdk(harness, max_retries=0) as sdk,
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            await _events(sdk)

    assert 0 < float(caught.value.response.headers["retry-after-ms"]) <= 60_000


async def test_an_error_after_the_first_byte() -> None:
    """A task that fails late is an APIError with its code, and the SDK does not try again."""
    async with start_harness(LONG) as harness, _sdk(harness) as sdk:
        with pytest.raises(openai.APIError) as caught:
            await _events(sdk, prompt="[sandbox:fail InternalError.Timeout]")

        assert (caught.value.code, caught.value.type) == ("upstream_failed", "server_error")
        assert "upstream failed" in caught.value.message
        assert (await harness.books())["tasks_made"] == 1
        assert 'http_late_errors_total{code="500",tenant="acme"} 1.0' in await _metrics(harness)


async def test_the_servers_deadline() -> None:
    """Only the server's cap ends the wait; the error names the edit, and asking again joins."""
    async with (
        start_harness(LONG, server={"max_wait_seconds": 9}) as harness,
        _sdk(harness, timeout=6) as sdk,
    ):
        with pytest.raises(openai.APIError) as caught:
            await _events(sdk)
        (event,) = await _events(sdk)

        assert caught.value.code == "still_running"
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["edit_id"].startswith("edit_")
        assert _owner(event) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1


async def test_a_customer_who_leaves() -> None:
    """Whoever leaves a stream in the middle has its picture by asking again; it is paid once."""
    async with start_harness(LONG) as harness, _sdk(harness, timeout=5) as sdk:
        stream = await sdk.images.edit(image=photo(), prompt="make it blue", stream=True)
        await stream.close()
        (event,) = await _events(sdk)

        assert _owner(event) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1


@pytest.mark.parametrize(
    "bytes_through",
    [pytest.param(600, id="between-heartbeats"), pytest.param(20_000, id="in-the-picture")],
)
async def test_a_cut(bytes_through: int) -> None:
    """A network that cuts is an APIConnectionError; nothing counts as delivered, nor is lost."""
    big = replace(LONG, plain_bytes=3_000_000)
    async with start_harness(big) as harness, _cutting(harness.url, bytes_through) as url:
        async with _sdk(harness, url, timeout=5) as sdk:
            with pytest.raises(openai.APIConnectionError):
                await _events(sdk)
        async with _sdk(harness, timeout=5) as sdk:
            (event,) = await _events(sdk)

        assert _owner(event) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1


async def test_blanks() -> None:
    """With keep_alive = "whitespace" a call without a stream outlives its own patience too."""
    async with _harness_without_pictures(LONG) as harness, _sdk(harness, timeout=5) as sdk:
        answer = await sdk.images.edit(image=photo(), prompt="make it blue")

        (image,) = answer.data or []
        assert origin_of(b64decode(image.b64_json or "")) == origin("make it blue", photo())
        assert (await harness.books())["counts"]["submit.received"] == 1
        assert 'client_retries_total{attempt="1"} 0.0' in await _metrics(harness)


async def test_an_error_after_blanks() -> None:
    """The documented price: an error comes as an answer without data, and nobody retries."""
    async with _harness_without_pictures(LONG) as harness, _sdk(harness, timeout=5) as sdk:
        prompt = "[sandbox:fail InternalError.Timeout]"
        answer = await sdk.images.edit(image=photo(), prompt=prompt)

        assert answer.data is None
        assert answer.model_extra is not None
        assert answer.model_extra["error"]["code"] == "upstream_failed"
        assert 'http_late_errors_total{code="500",tenant="acme"} 1.0' in await _metrics(harness)


@asynccontextmanager
async def _harness_without_pictures(config: SandboxConfig) -> AsyncIterator[Harness]:
    tenant = {"region": "beijing", "keys": [hashed(KEY)], "keep_alive": "whitespace"}
    async with start_harness(config, tenants={"acme": tenant}) as harness:
        yield harness


async def _metrics(harness: Harness) -> str:
    return (await harness.http.get("/metrics")).text


@asynccontextmanager
async def _cutting(url: str, through: int) -> AsyncIterator[str]:
    """A proxy that cuts each connection after *through* bytes of answers."""
    host, _, port = url.removeprefix("http://").partition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: float) -> None:
        passed = 0
        while passed < most and (piece := await reader.read(65536)):
            writer.write(piece[: int(min(len(piece), most - passed))])
            passed += len(piece)
            await writer.drain()
        if passed >= most:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        upload = asyncio.get_running_loop().create_task(pump(reader, far_writer, float("inf")))
        try:
            await pump(far_reader, writer, through)
        finally:
            far_writer.transport.abort()
            await asyncio.wait([upload])

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
