"""uvicorn around the app: drain first, then stop; delivered means handed to the socket (P16)."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from types import FrameType
from typing import Any

import structlog
import uvicorn

from gateway.app import Gateway, build
from gateway.config.explain import warnings
from gateway.config.schema import Config
from gateway.config.table import ConfigError
from gateway.downstream.access_record import safe_traceback
from gateway.downstream.connection import Connection
from gateway.edits.takeover import OrphanedEditsError
from gateway.ledger.errors import LedgerError
from gateway.observe.log_writer import LogWriter
from gateway.observe.logs import configure_logs

_LAST_ANSWERS_SECONDS = 5
_BACKLOG = 2048
_IGNORED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""By default they end a process; tools that rotate logs or reload configs send them."""


class Beside(uvicorn.Server):
    """Serves the metrics' own port for the length of a block; signals are another's."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # none
        return nullcontext()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log = structlog.get_logger("gateway.server")
        async with asyncio.TaskGroup() as group:
            group.create_task(self.serve([self._listener]))
            log.info("metrics_listening", url=url_of(self._listener))
            try:
                yield
            finally:
                self.should_exit = True


class Server(uvicorn.Server):
    """
    A server that lets two-minute edits end.

    The first SIGTERM or SIGINT turns readiness to 503 and refuses new edits while the
    listener stays open; when the running edits have ended, or ``drain_seconds`` are over,
    their clients are sent home with the way back, and the process ends. A second signal
    sends them home at once, a third cuts whoever still reads. What is unfinished is in the
    ledger. All of these ends are good ones: exit code 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        *,
        drain_seconds: float,
        beside: Beside | None = None,
    ) -> None:
        super().__init__(config)
        self._beside = beside
        self._gateway = gateway
        self._drain_seconds = drain_seconds
        self._drain_until: float | None = None
        self._signals = 0
        self._noted: deque[int] = deque()
        """Signals that came and shall be told, since a handler takes no lock."""
        self._log = structlog.get_logger("gateway.server")

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Serve until told to stop.

        The app's lifespan is held here: uvicorn's own would turn a ledger that cannot be
        opened into a traceback, and would serve on beside edits that has crashed.

        Raises:
            LedgerError: the ledger cannot be used; nothing was served.
        """
        app = self._gateway.app
        with self.capture_signals():
            # What is counted is told to the end of the drain, so the metrics stop last.
            beside = self._beside.running() if self._beside else nullcontext()
            async with app.router.lifespan_context(app), beside:
                await super().serve(sockets)
        self._log.info("stopped")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            self._log.info("listening", url=url_of(listener))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Note the signals that must not end the process, beside those that do."""
        with super().capture_signals():
            before = on_ignored(lambda number, _: self._noted.append(number))
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """
        Count; the next tick, a tenth of a second away, acts.

        A signal handler may stand in the middle of anything, with a lock of the metrics or
        of the log in hand, so it takes none itself.
        """
        self._signals += 1
        self.force_exit = self._signals > 2

    async def on_tick(self, counter: int) -> bool:
        while self._noted:
            name = signal.Signals(self._noted.popleft()).name
            self._log.warning("signal_ignored", signal=name)
        if self._signals and not self.should_exit:
            self._wind_down(self._gateway.clock.now())
        return bool(await super().on_tick(counter))

    def _wind_down(self, now: float) -> None:
        edits = self._gateway.busy
        if self._drain_until is None:
            self._drain_until = now + self._drain_seconds
            self._gateway.drain(self._drain_seconds)
            self._log.info("draining", edits=edits, seconds=self._drain_seconds)
        if not edits or self._signals > 1 or now >= self._drain_until:
            if edits:
                self._log.warning("turned_away", edits=edits)
            self._gateway.turn_away()
            self.should_exit = True


def on_ignored(handler: Any) -> dict[int, Any]:
    """Have *handler* called for IGNORED signals, and return what was called before."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # where Python lets nobody handle signals
    return {number: signal.signal(number, handler) for number in _IGNORED}


def server(
    gateway: Gateway, config: Config, *, metrics: socket.socket | None = None, **more: Any
) -> Server:
    """
    Return a server that is ready to run.

    Args:
        gateway: What it serves.
        config: Says where and how long.
        metrics: The listener of the metrics' own port, if they have one.
        more: For uvicorn.Config.
    """
    settings = _settings(
        gateway.app,
        host=config.server.host,
        port=config.server.port,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        **more,
    )
    beside = None
    if metrics is not None:
        beside = Beside(_settings(gateway.metrics_app, timeout_graceful_shutdown=1), metrics)
    return Server(settings, gateway, drain_seconds=config.server.drain_seconds, beside=beside)


def _settings(app: Any, **more: Any) -> uvicorn.Config:
    settings: dict[str, Any] = {
        "http": Connection,
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "off",  # see Server.serve
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "backlog": _BACKLOG,
        **more,
    }
    return uvicorn.Config(app, **settings)


def run(config: Config, make: Callable[[Config], Gateway] = build) -> int:
    """
    Serve until a signal.

    Args:
        config: Checked.
        make: Builds the gateway; a test hands in its own.

    Returns:
        The exit code: 0 after a signal, 1 after a crash, which the log tells.

    Raises:
        ConfigError: an address cannot be listened on, the ledger cannot be used, or the config
            would orphan open edits.
    """
    on_ignored(signal.SIG_IGN)  # until there is a server, which tells of them
    with LogWriter(sys.stdout) as log:
        configure_logs(config.log.level, config.log.format, log)
        log_stray_errors()
        return _run(config, make, log)


def _run(config: Config, make: Callable[[Config], Gateway], log: LogWriter) -> int:
    for warning in warnings(config):
        structlog.get_logger("gateway.config").warning("config", mind=warning)
    gateway = make(config)
    log.count_drops(gateway.metrics.log_lines_dropped)
    with listen(config) as listener, listen_for_metrics(config) as metrics:
        try:
            server(gateway, config, metrics=metrics).run(sockets=[listener])
        except LedgerError as error:
            raise ConfigError(f"{config.source}: state.path: {error}") from None
        except OrphanedEditsError as error:
            raise ConfigError(f"{config.source}: {error}") from None
        except Exception as error:  # noqa: BLE001 - told by its places: its words may quote a prompt
            # Better to end and be started again than to take edits that nobody carries.
            structlog.get_logger("gateway.server").critical("crashed", bug=safe_traceback(error))
            return 1
    return 0


def log_stray_errors() -> None:
    """Log what Python would write to standard error, which may be a pipe that nobody reads."""
    log = structlog.get_logger("gateway.server")
    logging.captureWarnings(capture=True)

    def in_thread(thrown: threading.ExceptHookArgs) -> None:
        if thrown.exc_value is not None:
            log.error("bug_in_thread", bug=safe_traceback(thrown.exc_value))

    def unraisable(thrown: "sys.UnraisableHookArgs") -> None:
        if thrown.exc_value is not None:
            log.error("unraisable", bug=safe_traceback(thrown.exc_value))

    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def listen(config: Config) -> socket.socket:
    """
    Open ``[server] host`` and ``port``, so that a taken port is known before anything else.

    Raises:
        ConfigError: it cannot be listened on.
    """
    server = config.server
    remedy = "give another by --port (0: a free one) or by server.port in the config"
    return _listen(f"{config.source}: server.port", server.host, server.port, remedy)


def listen_for_metrics(config: Config) -> AbstractContextManager[socket.socket | None]:
    """
    Open ``[metrics] host`` and ``port``, if there is one.

    Raises:
        ConfigError: it cannot be listened on.
    """
    metrics = config.metrics
    if not metrics.port:
        return nullcontext()
    host = metrics.host or config.server.host
    remedy = "give another by metrics.port in the config, or 0 for that of server"
    return _listen(f"{config.source}: metrics.port", host, metrics.port, remedy)


def _listen(key: str, host: str, port: int, remedy: str) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # A name such as localhost has both: whoever finds nobody at ::1 tries 127.0.0.1 next.
        family, _, _, _, address = min(found, key=lambda it: it[0] is not socket.AF_INET)
        return socket.create_server(
            address,
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=family is socket.AF_INET6 and socket.has_dualstack_ipv6(),
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{key}: {host}:{port} cannot be listened on ({_why(error)}); {remedy}"
        ) from None


def _why(error: OSError | UnicodeError) -> str:
    # create_server adds the address to what the system says; a name's fault has no errno.
    if isinstance(error, UnicodeError | socket.gaierror):
        return str(error.args[-1])
    return os.strerror(error.errno or 0)


def url_of(listener: socket.socket) -> str:
    """Return ``http://HOST:PORT`` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
