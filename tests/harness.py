"""The whole app for tests: simulated regions, and the gateway before them, on real sockets."""

import asyncio
import ssl
import threading
from base64 import b64decode
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from types import MappingProxyType
from typing import Any, TypeVar

import httpx
import uvicorn
from PIL import Image

from gateway.app import Gateway
from gateway.app import build as build_gateway
from gateway.config import Config
from gateway.config.build import build as build_config
from gateway.domain.clock import Clock
from gateway.sandbox import (
    Constant,
    Fault,
    SandboxConfig,
    bind,
    create_sandbox,
    read_labels,
    sandbox_server,
)
from gateway.sandbox.faults import write_fault
from gateway.server import Server, server
from gateway.upstream.clients import Purpose, Transports
from gateway.upstream.transport import AiohttpTransport
from tests.fast_time import FastLoop
from tests.warp import WarpClock

_T = TypeVar("_T")

KEY = "wk-acme"
UPSTREAM_KEY = "sk-sandbox"
_PATIENCE = 60.0
"""Real seconds for what a busy machine takes a moment for."""
PLAIN = SandboxConfig(latency=Constant(0.3), picture="plain", plain_bytes=30_000)
"""A region whose pictures cost no CPU, and still say whose they are."""


@cache
def photo(shade: int = 0, kind: str = "PNG") -> bytes:
    """A picture that DashScope takes as it is; another one for each *shade*."""
    file = BytesIO()
    picture = Image.new("RGB", (400, 400), (shade, 128, 128))
    picture.paste((200, 80, shade), (40, 40, 200, 300))
    picture.save(file, kind)
    return file.getvalue()


def digest(data: bytes | str) -> str:
    return sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def hashed(key: str) -> str:
    """A client's key as a config holds it."""
    return f"sha256:{digest(key)}"


def tables(urls: Mapping[str, str], **more: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a config with an upstream per region, and a tenant of the first one."""
    values: dict[str, Any] = {
        "server": {"port": 0},
        "state": {"path": "memory"},
        "regions": {name: {"base_url": f"{url}/api/v1"} for name, url in urls.items()},
        "upstreams": {f"{name}-main": {"region": name, "key": "env:KEY"} for name in urls},
        "tenants": {"acme": {"region": next(iter(urls)), "keys": [hashed(KEY)]}},
    }
    return values | {
        name: {**values.get(name, {}), **tables} if name in {"server", "state"} else tables
        for name, tables in more.items()
    }


def direct(_: Purpose) -> httpx.AsyncBaseTransport:
    """Reach the regions, which are on loopback, past any proxy of the environment."""
    return AiohttpTransport(
        keep_alive=1.5, ssl_context=httpx.create_ssl_context, proxy_of=lambda _: None
    )


async def eventually(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes; a minute in real time at the longest, however hurried."""
    async with asyncio.timeout(480):
        while True:
            if await question():
                return
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Harness:
    """A gateway that serves at *url*, its regions, and a client's hand."""

    url: str
    gateway: Gateway
    server: Server
    regions: Mapping[str, str]
    http: httpx.AsyncClient
    """Holds the key of the tenant acme."""

    async def edit(
        self,
        prompt: str = "make it sepia",
        *,
        picture: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        """POST an edit as a form."""
        return await self.http.post(
            "/v1/images/edits",
            data={"prompt": prompt, "size": "768x768", **fields},
            files={"image": ("a.png", picture or photo(), "image/png")},
            headers=headers,
        )

    async def books(self, region: str = "beijing") -> dict[str, Any]:
        """What the region booked: tasks made, images billed, calls counted."""
        answer = await self.http.get(f"{self.regions[region]}/_sandbox/books", headers=_NO_KEY)
        books: dict[str, Any] = answer.json()
        return books

    async def set_faults(self, *faults: Fault, region: str = "beijing") -> None:
        """Replace the region's faults; none lets everything pass."""
        await self._send_faults("PUT", faults, region)

    async def add_faults(self, *faults: Fault, region: str = "beijing") -> None:
        """Add faults to those of the region."""
        await self._send_faults("POST", faults, region)

    async def until(self, status: str, prompt: str = "", region: str = "beijing") -> None:
        """Wait until a task of such a prompt has *status* in the books."""

        async def seen() -> bool:
            rows = (await self.books(region))["tasks"]
            return any(row["status"] == status and prompt in row["prompt"] for row in rows)

        await eventually(seen)

    async def _send_faults(self, method: str, faults: Iterable[Fault], region: str) -> None:
        url = f"{self.regions[region]}/_sandbox/faults"
        content = [write_fault(fault) for fault in faults]
        answer = await self.http.request(method, url, json=content, headers=_NO_KEY)
        answer.raise_for_status()


# In hurried time a region gives up an idle connection in the moment in which it is used again.
_NO_KEY = {"authorization": "", "connection": "close"}


def pictures_of(answer: httpx.Response) -> list[bytes]:
    """The pictures of a 200."""
    assert answer.status_code == 200, answer.text[:500]
    return [b64decode(image["b64_json"]) for image in answer.json()["data"]]


def origin_of(picture: bytes) -> tuple[str, str]:
    """The SHA-256 of the prompt and of the picture that a result was made from."""
    labels = read_labels(picture)
    return labels["sandbox-prompt-sha256"], labels["sandbox-input-sha256"]


def origin(prompt: str, picture: bytes) -> tuple[str, str]:
    """What `origin_of` says of the edit of *picture* by *prompt*."""
    return digest(prompt), digest(picture)


@asynccontextmanager
async def region(config: SandboxConfig, clock: Clock) -> AsyncIterator[str]:
    """
    Serve a region by *clock*, and yield its URL.

    It sends no Date header: uvicorn's would tell the machine's time, not that of *clock*.
    """
    with bind() as listener:
        host, port = listener.getsockname()[:2]
        serving = sandbox_server(create_sandbox(config, clock=clock))
        serving.config.date_header = False
        async with _beside(serving.serve(sockets=[listener]), serving):
            await serving.listening.wait()
            yield f"http://{host}:{port}"


@asynccontextmanager
async def serving_gateway(
    config: Config, clock: Clock, transports: Transports = direct
) -> AsyncIterator[tuple[Gateway, Server, str]]:
    """Serve the gateway, and stop it as its process would be stopped."""
    gateway = build_gateway(config, clock=clock, transports=transports)
    running = server(gateway, config)

    async def started() -> bool:
        return running.started

    with bind() as listener:
        host, port = listener.getsockname()[:2]
        async with _beside(running.serve(sockets=[listener]), running):
            await eventually(started)
            try:
                yield gateway, running, f"http://{host}:{port}"
            finally:
                gateway.turn_away()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], serving: uvicorn.Server) -> AsyncIterator[None]:
    # No TaskGroup: it would wrap what the block raises.
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        serving.should_exit = True
        await task


@asynccontextmanager
async def start_harness(
    *configs: SandboxConfig,
    transports: Transports = direct,
    environ: Mapping[str, str] = MappingProxyType({"KEY": UPSTREAM_KEY, "REFUSED": "sk-refused"}),
    **more: Mapping[str, Any],
) -> AsyncIterator[Harness]:
    """
    Hold regions and gateway up in this loop, whose time all of them go by.

    Args:
        configs: One for each region; a plain one without latency to speak of if none is given.
        transports: How bytes travel upstream.
        environ: Where the upstreams' keys are.
        more: Tables of the gateway's config in place of those of `tables`.
    """
    clock = WarpClock()
    async with AsyncExitStack() as stack:
        urls = {
            config.region: await stack.enter_async_context(region(config, clock))
            for config in configs or (PLAIN,)
        }
        config = build_config("test", tables(urls, **more), environ)
        gateway, running, url = await stack.enter_async_context(
            serving_gateway(config, clock, transports)
        )
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=url,
                headers={"authorization": f"Bearer {KEY}"},
                timeout=None,  # noqa: S113 - the gateway's deadlines are what is tested
                trust_env=False,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # no time lost on certificates
            )
        )
        yield Harness(url, gateway, running, urls, http)


@dataclass(frozen=True, slots=True)
class ThreadedHarness:
    """A `Harness` whose loop runs in another thread, for clients that block theirs."""

    harness: Harness
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.harness.url

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run *work* in the harness's loop, and return its result."""
        return self.start(work).result(_PATIENCE)

    def start(self, work: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Start *work* in the harness's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def tasks(self, prompt: str) -> list[dict[str, Any]]:
        """The first region's rows of the tasks with just this prompt."""
        return [row for row in self._rows() if row["prompt"] == prompt]

    def prompts(self) -> list[str]:
        """The prompts of all tasks that were made."""
        return [row["prompt"] for row in self._rows()]

    def add_faults(self, *faults: Fault) -> None:
        """Add faults to the first region; each names its prompt, since other tests share it."""
        self.run(self.harness.add_faults(*faults))

    def _rows(self) -> list[dict[str, Any]]:
        region = next(iter(self.harness.regions))
        rows: list[dict[str, Any]] = self.run(self.harness.books(region))["tasks"]
        return rows


@contextmanager
def start_threaded_harness(
    *configs: SandboxConfig,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = FastLoop,
    **more: Any,
) -> Iterator[ThreadedHarness]:
    """Run `start_harness` in a thread of its own, in fast time unless *new_loop* is another."""
    loop, started, over = new_loop(), Future[Harness](), asyncio.Event()

    async def serve() -> None:
        try:
            async with start_harness(*configs, **more) as harness:
                started.set_result(harness)
                await over.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ThreadedHarness(started.result(), loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
