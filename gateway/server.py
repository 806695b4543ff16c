"""uvicorn around the app: drain first, then stop; delivered means handed to the socket (P16)."""

from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.app import Gateway, build
from gateway.config.schema import Config

_LAST_ANSWERS_SECONDS = 5


class _Protocol(HttpToolsProtocol):
    """
    uvicorn waits for its write buffer to drain before each send, if it is over a mark.

    With the mark at 0 a send returns only when all that was sent before was handed to the
    socket, which is what "delivered" means.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)


class Server(uvicorn.Server):
    """
    A server that lets two-minute edits end.

    The first SIGTERM or SIGINT turns readiness to 503 and refuses new edits while the
    listener stays open; when the running edits have ended, or ``drain_seconds`` are over,
    their customers are sent home with the way back, and the process ends. A second signal
    ends it now: what is unfinished is in the ledger.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._drain_seconds = drain_seconds
        self._drain_until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Drain at the first signal, stop at the second, drop the connections at the third."""
        now = self._gateway.clock.now()
        if self._drain_until is None:
            self._drain_until = now + self._drain_seconds
            self._gateway.drain()
        elif now < self._drain_until:
            self._drain_until = now
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._drain_until is not None and not self.should_exit:
            over = self._gateway.clock.now() >= self._drain_until
            if over or not self._gateway.busy:
                self._gateway.turn_away()
                self.should_exit = True
        return bool(await super().on_tick(counter))


def server(gateway: Gateway, config: Config, **more: Any) -> Server:
    """Return a server that is ready to run; *more* goes to uvicorn.Config."""
    settings: dict[str, Any] = {
        "host": config.server.host,
        "port": config.server.port,
        "http": _Protocol,
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": _LAST_ANSWERS_SECONDS,
        "h11_max_incomplete_event_size": 65536,
        **more,
    }
    uvicorn_config = uvicorn.Config(cast("Any", gateway.app), **settings)
    return Server(uvicorn_config, gateway, drain_seconds=config.server.drain_seconds)


def run(config: Config) -> int:
    """Serve until a signal; return the exit code."""
    running = server(build(config), config)
    running.run()
    return 0 if running.started else 1
