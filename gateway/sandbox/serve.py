"""
Serve regions on real sockets, with a uvicorn that can cut a connection.

`running` serves an app in the caller's event loop while its block lasts, and installs no signal
handlers; `serve_sandboxes` runs until SIGINT or SIGTERM.
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
    """uvicorn's HTTP protocol, which lets the app cut its connection (see `injection`)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CUT] = self._cut

    def _cut(self, reset: bool) -> None:  # noqa: FBT001 - called across the ASGI scope
        if reset:
            # With a linger time of 0 the close sends a RST.
            peer = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Not abort(): the bytes sent so far must arrive.
        self.transport.close()


class SandboxServer(uvicorn.Server):
    """A uvicorn server without signal handlers, with an event that is set once it listens."""

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
        # uvicorn leaves connections open whose call still hangs.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def sandbox_server(app: ASGIApp, *, access_log: bool = False) -> SandboxServer:
    """
    Create a server for *app*; run it with ``await server.serve(sockets=[...])``.

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
    """Listen on an address; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=_BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Return ``http://host:port`` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


@asynccontextmanager
async def running(app: ASGIApp, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """
    Serve *app* while the block lasts.

    Args:
        app: A region, or anything it is mounted in.
        listener: A bound socket, which is closed afterwards; None takes a free port of 127.0.0.1.

    Yields:
        Its URL without a path, once it listens.
    """
    with listener or bind() as bound:
        server = sandbox_server(app)
        # A TaskGroup would wrap what the block raises, and cancel the server in its shutdown.
        served = asyncio.get_running_loop().create_task(server.serve(sockets=[bound]))
        try:
            await server.listening.wait()
            yield url_of(bound)
        finally:
            server.should_exit = True
            await served


@asynccontextmanager
async def running_regions(
    apps: Mapping[str, ASGIApp], listeners: Mapping[str, socket.socket] | None = None
) -> AsyncIterator[dict[str, str]]:
    """Serve several regions, each on its own port; yields their URLs by name."""
    listeners = listeners or {}
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(running(app, listeners.get(name)))
            for name, app in apps.items()
        }


async def serve_sandboxes(apps: Sequence[tuple[ASGIApp, socket.socket]]) -> None:
    """Serve each app on its socket until SIGINT or SIGTERM; other signals are logged."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, _LOG.warning, "%s is ignored", number.name)
    async with AsyncExitStack() as stack:
        for app, listener in apps:
            await stack.enter_async_context(running(app, listener))
        await stop.wait()
