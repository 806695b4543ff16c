"""What the tests of this room share: a hand-held clock, a tally, and a server that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.intent import Intent
from gateway.domain.tenant import Account, Region, Upstream

EDIT = Edit(model="wan2.5-i2i-preview", prompt="add a hat")
PART = Part(index=0, n=1)
PICTURES = (Picture(content=b"\x89PNG" * 1000, media_type="image/png"),)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40 + b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass
class HandClock:
    """Time stands still until somebody sleeps."""

    time: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return 1_758_636_850.0 + self.time - 1000.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


def intent(clock: Clock | None = None) -> Intent:
    """Return one that does not expire, or does by *clock*."""
    return Intent(clock or HandClock())


@dataclass
class RecordedCalls:
    """Remembers every call and every retry that it is told of."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    retries: list[tuple[str, str, str]] = field(default_factory=list)

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None:
        self.calls.append((region, operation, code))

    def upstream_retried(self, region: str, operation: str, reason: str) -> None:
        self.retries.append((region, operation, reason))


def upstream(
    base_url: str = "http://upstream.test/api/v1",
    *,
    region: str = "beijing",
    key: str = "sk-canary-0123456789",
    hosts: tuple[str, ...] = ("*.aliyuncs.com", "127.0.0.1:*"),
) -> Upstream:
    place = Region(name=region, base_url=base_url, result_hosts=hosts)
    return Upstream(name=f"{region}-main", region=place, account=Account("acme", region), key=key)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class LoopbackServer:
    """Where a loopback server listens, and what it has heard so far."""

    port: int = 0
    connections: int = 0
    bytes: bytearray = field(default_factory=bytearray)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def listening(serve: Callable[[LoopbackServer], Serve]) -> AsyncIterator[LoopbackServer]:
    """Run *serve* for each connection to a fresh port; all are cut at the end."""
    received = LoopbackServer()
    running: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.connections += 1
        running.add(asyncio.current_task())
        try:
            await serve(received)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    received.port = server.sockets[0].getsockname()[1]
    try:
        yield received
    finally:
        server.close()
        for task in running:
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)


async def read_request(received: LoopbackServer, reader: asyncio.StreamReader) -> bytes:
    """Read one whole request, head and body, and return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    received.bytes += head
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            received.bytes += await reader.readexactly(int(line.partition(b":")[2]))
    return head
