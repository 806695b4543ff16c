"""
Regions on real sockets: uvicorn, with the power to cut a connection.

`running` serves apps inside the caller's event loop for as long as its block lasts, and takes no
signal handlers; `serve_sandboxes` runs until SIGINT or SIGTERM.
"""

import asyncio
import logging
import signal
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.sandbox.injection import CUT

_BACKLOG = 2048
_LOG = logging.getLogger("gateway.sandbox")


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which tells the app how to cut the connection (see `wire`)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CUT] = self._cut

    def _cut(self, reset: bool) -> None:  # noqa: FBT001 - called across the ASGI scope
        if reset:
            # Lingering for no time makes the close a RST.
            peer = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Not abort: what was sent up to here shall arrive.
        self.transport.close()


class SandboxServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # uvicorn leaves the connections of calls that still hang open.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def sandbox_server(app: ASGIApp, *, access_log: bool = False) -> SandboxServer:
    """
    Configure a server for *app*; run it with ``await server.serve(sockets=[...])``.

    It stops after ``server.should_exit = True``, within about a second even if calls hang.
    """
    return SandboxServer(
        uvicorn.Config(
            app,
            http=CuttableProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=access_log,
            backlog=_BACKLOG,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def bind(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening address; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=_BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Give ``http://host:port`` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


@asynccontextmanager
async def running(app: ASGIApp, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """
    Serve *app* while the block lasts.

    Args:
        app: A region, or anything it is mounted in.
        listener: A bound socket, closed in the end; None takes a free port of 127.0.0.1.

    Yields:
        Its URL without a path, as soon as it answers.
    """
    with listener or bind() as place:
        server = sandbox_server(app)
        # No TaskGroup: it would wrap what the block raises, and cut the server off from its end.
        served = asyncio.get_running_loop().create_task(server.serve(sockets=[place]))
        try:
            await server.listening.wait()
            yield url_of(place)
        finally:
            server.should_exit = True
            await served


@asynccontextmanager
async def running_regions(
    apps: Mapping[str, ASGIApp], listeners: Mapping[str, socket.socket] | None = None
) -> AsyncIterator[dict[str, str]]:
    """Serve several regions, each on a port of its own; yields their URLs by name."""
    given = listeners or {}
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(running(app, given.get(name)))
            for name, app in apps.items()
        }


async def serve_sandboxes(places: Sequence[tuple[ASGIApp, socket.socket]]) -> None:
    """Serve each app on its socket until the process gets SIGINT or SIGTERM; others end nothing."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, _LOG.warning, "%s is ignored", number.name)
    async with AsyncExitStack() as stack:
        for app, listener in places:
            await stack.enter_async_context(running(app, listener))
        await stop.wait()
