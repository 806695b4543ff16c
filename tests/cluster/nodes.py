"""Nodes of a cluster on real sockets: front doors before scripted handlers, scripted owners."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.cluster.body_buffer import BodyBuffers
from gateway.cluster.front_door import FrontDoor
from gateway.cluster.node_request import NodeRequests
from gateway.cluster.owners import Here, Owner, Peer
from gateway.cluster.peers import PeerClient
from gateway.domain.clock import SystemClock
from gateway.domain.tenant import Tenant
from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import BodyLimits
from gateway.downstream.connection import Connection
from gateway.downstream.cors import Cors
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.responses import exception_handlers
from gateway.downstream.routes import Endpoint, MethodRouter
from tests.downstream.harness import Recorder

KEY = "wk-acme"
SECRET = "a-secret-of-the-nodes"
SHARD = "main"
EDITS = "/v1/images/edits"


class FakeOwners:
    """Says who owns the one shard, as a test decides."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._changed = asyncio.Event()
        self.waiting = 0
        """How many wait for another owner."""

    def owner_of(self, shard: str) -> Owner:
        assert shard == SHARD
        return self._owner

    async def changed(self, shard: str, since: Owner) -> Owner:
        self.waiting += 1
        try:
            while (owner := self.owner_of(shard)) == since:
                await self._changed.wait()
            return owner
        finally:
            self.waiting -= 1

    def set(self, owner: Owner) -> None:
        self._owner = owner
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass
class Called:
    """One request as a handler saw it."""

    headers: Mapping[str, str]
    body: bytes
    record: AccessRecord
    left: asyncio.Event


@dataclass
class RecordingHandler:
    """Stands for the gateway behind a front door: reads the body and does as its script says."""

    script: Callable[[Called, Send], Awaitable[None]]
    calls: list[Called] = field(default_factory=list)

    async def endpoint(self, request: Request) -> ASGIApp:
        body = await request.body()
        call = Called(request.headers, body, record_of(request.scope), asyncio.Event())
        self.calls.append(call)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                call.left.set()

            watching = asyncio.get_running_loop().create_task(watch())
            try:
                await self.script(call, send)
            finally:
                watching.cancel()

        return app


@dataclass
class NodeHarness:
    """A front door that listens."""

    name: str
    owners: FakeOwners
    handler: RecordingHandler
    door: FrontDoor
    seen: Recorder
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def as_peer(self) -> Peer:
        return Peer(self.name, self.url)

    def client(self, **kwargs: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {KEY}", **kwargs.pop("headers", {})}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30.0, trust_env=False, **kwargs
        )


@asynccontextmanager
async def node(
    name: str = "a",
    owner: Owner | None = None,
    script: Callable[[Called, Send], Awaitable[None]] | None = None,
    *,
    folder: Path | None = None,
    memory: int = 2**20,
    origins: tuple[str, ...] = (),
    tenant: Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    **changes: Any,
) -> AsyncIterator[NodeHarness]:
    """Serve a node whose front door goes by the owners that the test sets."""
    acme = Tenant("acme", "beijing", (), **(tenant or {}))
    seen = Recorder()
    clock = SystemClock()
    handler = RecordingHandler(script or replies(200, b'{"data":[]}'))
    async with PeerClient() as peers:
        door = FrontDoor(
            **{
                "node": name,
                "secret": SECRET,
                "owners": FakeOwners(owner or Here()),
                "shard_by_tenant": {"acme": SHARD},
                "keyring": Keyring({"acme": acme}, {sha256(KEY.encode()).digest(): "acme"}),
                "limits": BodyLimits(
                    max_body_bytes=2**27, body_seconds=60.0, idle_body_seconds=5.0
                ),
                "budget": MemoryBudget(2**28, seen.inflight_bytes),
                "buffers": BodyBuffers(folder, memory),
                "peers": peers,
                "max_wait_seconds": 20.0,
                "heartbeat_seconds": 5.0,
                "clock": clock,
                "observer": seen,
                **changes,
            }
        )
        guarded = door.guard(endpoint or handler.endpoint)
        edits = MethodRouter("/v1/images/edits", {"POST": guarded}, seen)
        by_id = {"GET": guarded, "HEAD": guarded, "DELETE": guarded}
        edit = MethodRouter("/v1/images/edits/{edit_id}", by_id, seen)
        cors = [Middleware(Cors, origins=origins)] if origins else []
        app = Starlette(
            routes=[Route(EDITS, edits), Route(EDITS + "/{edit_id}", edit)],
            middleware=[
                *cors,
                Middleware(AccessLogMiddleware, clock=clock, observer=seen, log=seen.write),
                Middleware(NodeRequests, secret=SECRET),
            ],
            exception_handlers=exception_handlers(),
        )
        owners: Any = door.owners
        async with _serving(app) as port:
            yield NodeHarness(name, owners, handler, door, seen, port)


@asynccontextmanager
async def _serving(app: ASGIApp) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=Connection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = NodeServer(config)
    task = asyncio.get_running_loop().create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


class NodeServer(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # none
        return nullcontext()


# ------------------------------------------------------------ what a handler does


def replies(
    status: int, body: bytes, kind: str = "application/json", **headers: str
) -> Callable[[Called, Send], Awaitable[None]]:
    """Return a script that answers at once, in one piece."""

    async def script(call: Called, send: Send) -> None:
        more = {"content-length": str(len(body)), **headers}
        await begin(send, status, kind, **more)
        await send({"type": "http.response.body", "body": body})

    return script


async def begin(send: Send, status: int, kind: str, **headers: str) -> None:
    """Send a head; ``_`` in a name stands for ``-``."""
    stated = {"content-type": kind, **{name.replace("_", "-"): it for name, it in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in stated.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def more(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def until(question: Callable[[], bool]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(20):
        while not question():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


# ------------------------------------------------------------ an owner by hand


@dataclass
class PassedRequest:
    """One request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("utf-8").split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in lines if line)

    @property
    def stated(self) -> dict[str, Any]:
        """What the front door said of it."""
        stated: dict[str, Any] = orjson.loads(self.headers["x-wan-node-request"])
        return stated


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedOwner:
    """A peer that reads each request and then writes bytes as its script says, in turn."""

    scripts: list[Script]
    port: int = 0
    requests: list[PassedRequest] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection was closed while its script waited for that."""

    @property
    def as_peer(self) -> Peer:
        return Peer("scripted", f"http://127.0.0.1:{self.port}")

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                received = PassedRequest(head, b"")
                length = int(received.headers.get("content-length", "0"))
                received.body = await reader.readexactly(length)
                self.requests.append(received)
                await self.scripts.pop(0)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[ScriptedOwner]:
    """Serve an owner that answers one request by each of *scripts*."""
    owner = ScriptedOwner(list(scripts))
    server = await asyncio.start_server(owner.connected, "127.0.0.1", 0, limit=2**20)
    owner.port = server.sockets[0].getsockname()[1]
    try:
        yield owner
    finally:
        server.close()


def writes(*pieces: bytes) -> Script:
    """Return a script that writes *pieces* one after the other and keeps the connection."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return script


def breaks(*pieces: bytes) -> Script:
    """Return a script that writes *pieces* and resets the connection, as a killed process does."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writes(*pieces)(reader, writer)
        writer.transport.abort()
        raise ConnectionError

    return script


def head(status: str, *lines: str) -> bytes:
    """Return the head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


NO_MORE = b"0\r\n\r\n"
