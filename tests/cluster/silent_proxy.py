"""A connection to the database that can go silent without closing, as a broken network does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class SilentProxy:
    """A TCP proxy before a server; what *holds* says goes nowhere until it says otherwise."""

    url: str
    """Of the database, through this proxy."""
    holds: Callable[[bytes], bool] = lambda _: False
    """Called with what a client sends; once it says so, that connection passes nothing more."""
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Pass nothing more over any connection, and close none."""
        self.holds = lambda _: True

    def heal(self) -> None:
        """Pass everything again; connections that were silent break now."""
        self.holds = lambda _: False
        for task in self._open:
            task.cancel()


@asynccontextmanager
async def silent_proxy(database: str) -> AsyncIterator[SilentProxy]:
    """Serve a proxy before *database*."""
    server_at = urlsplit(database)
    assert server_at.hostname is not None
    host, port = server_at.hostname, server_at.port

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy._open.add(task)
        far_reader, far_writer = await asyncio.open_connection(host, port)
        silent = asyncio.Event()

        async def outward() -> None:
            while data := await reader.read(65536):
                if silent.is_set() or proxy.holds(data):
                    silent.set()
                    continue
                far_writer.write(data)
            far_writer.close()

        async def inward() -> None:
            while data := await far_reader.read(65536):
                if not silent.is_set():
                    writer.write(data)
            writer.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(outward())
                group.create_task(inward())
        except (asyncio.CancelledError, ExceptionGroup):
            pass  # the proxy heals or ends, or a side is gone
        finally:
            proxy._open.discard(task)
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    listens_on = server.sockets[0].getsockname()[1]
    proxy = SilentProxy(
        server_at._replace(netloc=f"{server_at.username}@127.0.0.1:{listens_on}").geturl()
    )
    try:
        yield proxy
    finally:
        server.close()
        proxy.heal()
