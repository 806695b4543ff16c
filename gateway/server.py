"""Serve the gateway with uvicorn, and drain it before it stops (D55) (P16)."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
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
from gateway.downstream.ops import not_ready
from gateway.edits.takeover import OrphanedEditsError
from gateway.ledger.errors import LedgerError
from gateway.observe.log_writer import LogWriter
from gateway.observe.logs import configure_logs
from gateway.observe.process_file import ProcessFile, process_file_of
from gateway.reload import Reloader

_LAST_RESPONSES_SECONDS = 5
_LEDGER_SECONDS = 1.0  # between two tries to reach it
_BACKLOG = 2048
_RELOAD = signal.SIGHUP
_IGNORED = (_RELOAD, signal.SIGUSR1, signal.SIGUSR2)
"""They would end the process. SIGHUP reloads the config; tools that rotate logs send the others."""


class SideServer(uvicorn.Server):
    """Serves another port, or the same one before the gateway; the main one handles signals."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, event: str) -> None:
        super().__init__(config)
        self._listener = listener
        self._event = event

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # handles none
        return nullcontext()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        log = structlog.get_logger("gateway.server")
        async with asyncio.TaskGroup() as group:
            group.create_task(self.serve([self._listener]))
            log.info(self._event, url=url_of(self._listener))
            try:
                yield
            finally:
                self.should_exit = True


class Server(uvicorn.Server):
    """
    A server that lets edits of several minutes end before it stops.

    The first SIGTERM or SIGINT turns readiness to 503 and refuses new edits, while the
    listener stays open. When no client waits for an edit any more, or ``drain_seconds`` are
    over, the clients that are left get a 503 that says how to fetch their result, and
    the process ends. A second signal ends the wait at once; a third closes connections that
    still receive a response. What is unfinished is in the ledger. The exit code is 0 each time.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        *,
        load: Callable[[], Config] | None,
        process_file: ProcessFile,
        drain_seconds: float,
        metrics_server: SideServer | None = None,
    ) -> None:
        super().__init__(config)
        self._process_file = process_file
        self._reloader = load and Reloader(load, gateway, process_file, self._reloaded)
        self._metrics_server = metrics_server
        self._gateway = gateway
        self._drain_seconds = drain_seconds
        self._drain_until: float | None = None
        self._signals = 0
        self._ignored: deque[int] = deque()
        """Those that came since the last tick: a signal handler must not take the log's lock."""
        self._log = structlog.get_logger("gateway.server")

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Serve until a signal stops it.

        The gateway is opened here and not in uvicorn's lifespan, which would turn a ledger
        that cannot be opened into a traceback, and would go on when the edits have crashed.

        Raises:
            LedgerError: the ledger cannot be used; nothing was served.
        """
        with self.capture_signals():
            # The metrics can be scraped until the end of the drain, so they stop last.
            metrics = self._metrics_server.running() if self._metrics_server else nullcontext()
            if await self._is_ledger_ready(sockets or []):
                async with self._gateway, metrics, self._reloading():
                    await super().serve(sockets)
        self._log.info("stopped")

    @asynccontextmanager
    async def _reloading(self) -> AsyncIterator[None]:
        """Reload the config whenever a signal asks for it, within the block."""
        if self._reloader is None:
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(self._process_file)
            except OSError as error:  # SIGHUP works without it
                reason = error.strerror
                self._log.warning(
                    "no_process_file", file=str(self._process_file.path), reason=reason
                )
            async with asyncio.TaskGroup() as group:
                reloads = group.create_task(self._reloader.run())
                yield
                reloads.cancel()

    def _reloaded(self, config: Config) -> None:
        self._drain_seconds = config.server.drain_seconds

    async def _is_ledger_ready(self, sockets: list[socket.socket]) -> bool:
        """
        Wait for a ledger that is away, and answer meanwhile; return False after a signal.

        Raises:
            LedgerError: it cannot be used.
        """
        reason = await self._gateway.prepare()
        if not reason:
            return True
        settings = _settings(not_ready, timeout_graceful_shutdown=1)
        refused: LedgerError | None = None  # a task group would wrap it
        async with AsyncExitStack() as stack:
            for listener in sockets:
                # A copy, since a server closes its listener.
                waiting = SideServer(settings, listener.dup(), "waiting")
                await stack.enter_async_context(waiting.running())
            try:
                reason = await self._wait_for_ledger(reason)
            except LedgerError as error:
                refused = error
        if refused is not None:
            raise refused
        return not reason

    async def _wait_for_ledger(self, reason: str) -> str:
        """Return why the ledger is still away after a signal, or an empty text."""
        logged = ""
        while reason and not self._signals:
            if reason != logged:
                self._log.warning("ledger_away", reason=reason)
            logged = reason
            await self._gateway.clock.sleep(_LEDGER_SECONDS)
            reason = await self._gateway.prepare()
        return reason

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            self._log.info("listening", url=url_of(listener))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Also handle the signals that must not end the process."""
        with super().capture_signals():
            before = handle_ignored(lambda number, _: self._ignored.append(number))
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """
        Count the signal; the next tick, at most a tenth of a second later, acts on it.

        A signal handler may interrupt code that holds a lock of the metrics or the log, so it
        takes none itself.
        """
        self._signals += 1
        self.force_exit = self._signals > 2

    async def on_tick(self, counter: int) -> bool:
        while self._ignored:
            number = self._ignored.popleft()
            if number == _RELOAD and self._reloader is not None:
                self._reloader.request()
            else:
                self._log.warning("signal_ignored", signal=signal.Signals(number).name)
        if (self._signals or self._gateway.ledger_lost()) and not self.should_exit:
            self._wind_down(self._gateway.clock.now())
        return bool(await super().on_tick(counter))

    def _wind_down(self, now: float) -> None:
        """Do the next step of the end: drain, wait, answer who still waits, exit."""
        edits = self._gateway.busy
        if self._drain_until is None:
            self._drain_until = now + self._drain_seconds
            if self._gateway.ledger_lost():
                self._log.error("ledger_lost", reason="another gateway has taken the ledger")
            self._gateway.drain(self._drain_seconds)
            self._log.info("draining", edits=edits, seconds=self._drain_seconds)
        if edits and self._signals <= 1 and now < self._drain_until:
            return
        if edits:
            self._log.warning("turned_away", edits=edits)
        self._gateway.turn_away()
        self.should_exit = True


def handle_ignored(handler: Any) -> dict[int, Any]:
    """Have *handler* called for each ignored signal; return the handlers that it replaces."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python handles signals in the main thread only
    return {number: signal.signal(number, handler) for number in _IGNORED}


def server(
    gateway: Gateway,
    config: Config,
    *,
    load: Callable[[], Config] | None = None,
    metrics: socket.socket | None = None,
    **more: Any,
) -> Server:
    """
    Return a server that is ready to run.

    Args:
        gateway: Not opened yet.
        config: Has the address and the time to drain.
        load: Reads the config again at each SIGHUP; default: that is ignored.
        metrics: The listener of the metrics' port, if they have one of their own.
        more: For uvicorn.Config.
    """
    settings = _settings(
        gateway.app,
        host=config.server.host,
        port=config.server.port,
        timeout_graceful_shutdown=_LAST_RESPONSES_SECONDS,
        **more,
    )
    metrics_server = None
    if metrics is not None:
        metrics_settings = _settings(gateway.metrics_app, timeout_graceful_shutdown=1)
        metrics_server = SideServer(metrics_settings, metrics, "metrics_listening")
    return Server(
        settings,
        gateway,
        load=load,
        process_file=ProcessFile(process_file_of(config.state.file, config.source)),
        drain_seconds=config.server.drain_seconds,
        metrics_server=metrics_server,
    )


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


def run(
    config: Config,
    load: Callable[[], Config] | None = None,
    make: Callable[[Config], Gateway] = build,
) -> int:
    """
    Serve until a signal.

    Args:
        config: Checked.
        load: Reads it again at each SIGHUP; default: that is ignored.
        make: Builds the gateway; a test passes its own.

    Returns:
        The exit code: 0 after a signal; 1 after a crash, or after another gateway has taken the
        ledger, which is in the log.

    Raises:
        ConfigError: an address cannot be listened on, the ledger cannot be used, or the config
            would orphan open edits.
    """
    handle_ignored(signal.SIG_IGN)  # until there is a server, which logs them
    with LogWriter(sys.stdout) as log:
        node = config.cluster.node if config.cluster else ""
        configure_logs(config.log.level, config.log.format, log, node)
        log_stray_errors()
        return _run(config, load, make, log)


def _run(
    config: Config,
    load: Callable[[], Config] | None,
    make: Callable[[Config], Gateway],
    log: LogWriter,
) -> int:
    for warning in warnings(config):
        structlog.get_logger("gateway.config").warning("config", mind=warning)
    gateway = make(config)
    log.count_drops(gateway.metrics.log_lines_dropped)
    with listen(config) as listener, listen_for_metrics(config) as metrics:
        try:
            server(gateway, config, load=load, metrics=metrics).run(sockets=[listener])
        except LedgerError as error:
            raise ConfigError(f"{config.source}: {error.key}: {error}") from None
        except OrphanedEditsError as error:
            raise ConfigError(f"{config.source}: {error}") from None
        except Exception as error:  # noqa: BLE001 - logged without its message, which may quote a prompt
            # Better to end and be restarted than to accept edits that nothing runs.
            structlog.get_logger("gateway.server").critical("crashed", bug=safe_traceback(error))
            return 1
    return 1 if gateway.ledger_lost() else 0


def log_stray_errors() -> None:
    """Log what Python would write to standard error, which may be a pipe without a reader."""
    log = structlog.get_logger("gateway.server")
    logging.captureWarnings(capture=True)

    def in_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            log.error("bug_in_thread", bug=safe_traceback(hook.exc_value))

    def unraisable(hook: "sys.UnraisableHookArgs") -> None:
        if hook.exc_value is not None:
            log.error("unraisable", bug=safe_traceback(hook.exc_value))

    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def listen(config: Config) -> socket.socket:
    """
    Listen on ``[server] host`` and ``port``, before anything else is opened.

    Raises:
        ConfigError: it cannot be listened on.
    """
    server = config.server
    remedy = "choose another with --port (0: a free one) or server.port"
    return _listen(f"{config.source}: server.port", server.host, server.port, remedy)


def listen_for_metrics(config: Config) -> AbstractContextManager[socket.socket | None]:
    """
    Listen on ``[metrics] host`` and ``port``, if there is such a port.

    Raises:
        ConfigError: it cannot be listened on.
    """
    metrics = config.metrics
    if not metrics.port:
        return nullcontext()
    host = metrics.host or config.server.host
    remedy = "choose another with metrics.port, or 0 for server.port"
    return _listen(f"{config.source}: metrics.port", host, metrics.port, remedy)


def _listen(key: str, host: str, port: int, remedy: str) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # A name such as localhost has both: a client that fails at ::1 tries 127.0.0.1 next.
        family, _, _, _, address = min(addresses, key=lambda it: it[0] is not socket.AF_INET)
        return socket.create_server(
            address,
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=family is socket.AF_INET6 and socket.has_dualstack_ipv6(),
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{key}: cannot listen on {host}:{port} ({_reason(error)}); {remedy}"
        ) from None


def _reason(error: OSError | UnicodeError) -> str:
    # create_server adds the address to the system's message; an error of a name has no errno.
    if isinstance(error, UnicodeError | socket.gaierror):
        return str(error.args[-1])
    return os.strerror(error.errno or 0)


def url_of(listener: socket.socket) -> str:
    """Return ``http://HOST:PORT`` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
