"""The HAProxy example under config/, run by a real HAProxy in front of real gateways."""

import asyncio
import os
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import httpx
import openai
import pytest

from gateway.config.reference import config_keys
from gateway.sandbox import Constant
from gateway.server import _settings
from tests.haproxy import EXAMPLE, HAProxy, haproxy
from tests.harness import KEY, PLAIN, Harness, eventually, origin, origin_of, photo, start_harness
from tests.process import GatewayProcess, tables
from tests.process import region as region_in_thread
from tests.programs import needs

_SLOW = replace(PLAIN, latency=Constant(4.0))
_HEADERS = {"authorization": f"Bearer {KEY}"}

pytestmark = [pytest.mark.anyio, pytest.mark.slow, needs("haproxy")]


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since HAProxy has no others."""
    return "asyncio"


def _client(proxy: HAProxy) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=KEY, base_url=f"{proxy.url}/v1", timeout=60, max_retries=8)


async def _edit(client: openai.AsyncOpenAI, prompt: str, **fields: Any) -> bytes:
    answer = await client.images.edit(**{"image": photo(), "prompt": prompt, **fields})
    (image,) = answer.data or []
    return b64decode(image.b64_json or "")


@asynccontextmanager
async def _behind(
    folder: Path, config: Any = PLAIN, changes: dict[str, str] | None = None, **more: Any
) -> AsyncIterator[tuple[Harness, HAProxy]]:
    async with start_harness(config, **more) as harness:
        with haproxy(folder, harness.url, changes=changes or {}) as proxy:
            yield harness, proxy


async def test_an_edit_of_ten_megabytes(tmp_path: Path) -> None:
    """An SDK's edit of two large pictures passes, and its answer comes back whole."""
    large = [photo(shade) + os.urandom(5_000_000) for shade in (1, 2)]  # behind the picture's end
    async with _behind(tmp_path) as (harness, proxy), _client(proxy) as client:
        await _edit(client, "make it blue", image=large)

        assert (await harness.books())["images_billed"] == 1
        await eventually(lambda: _logged(proxy, 1))
    assert proxy.requests() == [("200", "POST", "/v1/images/edits")]


async def _logged(proxy: HAProxy, number: int) -> bool:
    return len(proxy.requests()) >= number


@pytest.mark.parametrize(
    ("timeout", "statuses"),
    [
        pytest.param({"timeout client 120s": "timeout client 1s"}, {"200"}, id="client"),
        pytest.param({"timeout server 600s": "timeout server 2s"}, {"504", "200"}, id="server"),
    ],
)
async def test_a_long_wait(tmp_path: Path, timeout: dict[str, str], statuses: set[str]) -> None:
    """Only the server's timeout ends a wait, and then the SDK's retry joins: paid for once."""
    async with _behind(tmp_path, _SLOW, timeout) as (harness, proxy), _client(proxy) as client:
        picture = await _edit(client, "make it blue")

        assert origin_of(picture) == origin("make it blue", photo())
        assert (await harness.books())["images_billed"] == 1
        await eventually(lambda: _logged(proxy, len(statuses)))
    assert proxy.statuses() == statuses


async def test_a_stream_is_not_held_back(tmp_path: Path) -> None:
    """A heartbeat reaches the client while the task still runs."""
    behind = _behind(tmp_path, _SLOW, server={"heartbeat_seconds": 0.5})
    async with (
        behind as (harness, proxy),
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "POST",
            f"{proxy.url}/v1/images/edits",
            headers=_HEADERS,
            data={"prompt": "make it blue", "stream": "true"},
            files={"image": ("photo.png", photo(), "image/png")},
        ) as answer,
    ):
        pieces = answer.aiter_text()
        first = await anext(pieces)
        running = (await harness.books())["tasks"][0]["status"]
        rest = "".join([piece async for piece in pieces])

    assert first.startswith(":")
    assert running in {"PENDING", "RUNNING"}
    assert "image_edit.completed" in rest


async def test_a_client_that_leaves_is_noticed(tmp_path: Path) -> None:
    """The gateway counts a client as gone while the task still runs."""
    behind = _behind(tmp_path, replace(PLAIN, latency=Constant(60.0)))
    async with behind as (harness, proxy), _client(proxy) as client:
        editing = asyncio.get_running_loop().create_task(_edit(client, "make it blue"))
        await harness.until("RUNNING")
        editing.cancel()

        async def noticed() -> bool:
            page = (await harness.http.get("/metrics")).text
            return any('code="499"' in line and "tenant" in line for line in page.splitlines())

        await eventually(noticed)
        assert (await harness.books())["tasks"][0]["status"] == "RUNNING"


async def test_what_stays_inside(tmp_path: Path) -> None:
    """The metrics are not shown, and the signature of a picture's URL is not logged."""
    async with _behind(tmp_path) as (_, proxy), httpx.AsyncClient() as client:
        metrics = await client.get(f"{proxy.url}/metrics")
        health = await client.get(f"{proxy.url}/healthz")
        await client.get(f"{proxy.url}/v1/images/results/NAME?expires=1&signature=CANARY")
        await eventually(lambda: _logged(proxy, 3))

    assert (metrics.status_code, health.status_code) == (404, 200)
    assert "/v1/images/results/NAME" in proxy.state()
    assert "CANARY" not in proxy.state()


async def test_a_node_drains_and_cuts_nobody(tmp_path: Path) -> None:
    """One of two gateways is stopped under its clients: each gets its picture, paid for once."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with region_in_thread(6.0) as region:
        async with AsyncExitStack() as stack:
            gateways = [
                stack.enter_context(GatewayProcess(folder, tables(folder, region)))
                for folder in folders
            ]
            proxy = stack.enter_context(haproxy(tmp_path, *(it.url for it in gateways)))
            client = await stack.enter_async_context(_client(proxy))
            http = await stack.enter_async_context(httpx.AsyncClient())
            group = await stack.enter_async_context(asyncio.TaskGroup())
            before = [group.create_task(_edit(client, f"before {number}")) for number in range(4)]

            async def all_run() -> bool:
                books = (await http.get(f"{region}/_sandbox/books")).json()
                return [task["status"] for task in books["tasks"]] == ["RUNNING"] * 4

            await eventually(all_run)
            gateways[0].send(SIGTERM)
            await eventually(lambda: _is_down(proxy))
            after = [await _edit(client, "after"), *await asyncio.gather(*before)]
            books = (await http.get(f"{region}/_sandbox/books")).json()
            assert await asyncio.to_thread(gateways[0].end) == 0
            gateways[1].terminate()

    assert [origin_of(picture) for picture in after] == [
        origin(prompt, photo()) for prompt in ("after", *(f"before {it}" for it in range(4)))
    ]
    assert (books["tasks_made"], books["images_billed"]) == (5, 5)
    # An edit may come to the first one before the checks have seen that it drains.
    assert proxy.statuses() <= {"200", "503"}
    assert not gateways[0].logged("turned_away")


async def _is_down(proxy: HAProxy) -> bool:
    return "Server wan_gateway/s0 is DOWN" in proxy.state()


def test_timeouts_fit_the_gateway() -> None:
    """HAProxy waits longer than the gateway lets anyone wait, and lets go of idle ones first."""
    seconds = {
        words[1]: float(words[2].rstrip("s"))
        for words in map(str.split, EXAMPLE.read_text("utf-8").splitlines())
        if words[:1] == ["timeout"]
    }
    longest = next(
        float(key.default) for key in config_keys() if key.path == "server.max_wait_seconds"
    )

    assert seconds["server"] > longest
    assert seconds["http-keep-alive"] < _settings(lambda *_: None).timeout_keep_alive
