"""The composition root: every object is made once, here, and handed to whoever needs it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from gateway.config.explain import explain
from gateway.config.schema import Config
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.models import MODELS, Operation
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import AccessRecord, fields_of, safe_traceback
from gateway.downstream.auth import Keyring
from gateway.downstream.body import Limits
from gateway.downstream.cors import Cors
from gateway.downstream.edits import Edits
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Ops, Readiness
from gateway.downstream.ports import Dashboard
from gateway.downstream.request_reader import RequestReader
from gateway.downstream.responses import exception_handlers
from gateway.downstream.routes import Models, metrics_routes, routes
from gateway.edits.ports import Ports
from gateway.edits.service import EditService
from gateway.imaging.inspect import pixels_of
from gateway.imaging.workers import Imaging
from gateway.ledger.errors import LedgerError
from gateway.ledger.open import Stores, open_stores
from gateway.observe.logs import log_line
from gateway.observe.metrics import Metrics, configured_names
from gateway.observe.sampling import measure_loop_lag, sample
from gateway.upstream.clients import Clients, Transports
from gateway.upstream.dashscope import DashScopeApi

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The app and the three levers that the server pulls around it."""

    app: Starlette
    clock: Clock
    service: EditService
    readiness: Readiness
    metrics: Metrics
    metrics_app: Starlette | None = None
    """What answers on a port of the metrics' own; its lifespan is that of *app*."""
    dashboard: Dashboard | None = None
    """If it is on."""

    @property
    def busy(self) -> int:
        """How many clients are connected to edits."""
        return self.service.busy

    def drain(self, seconds: float) -> None:
        """Refuse new edits from now on; the running ones go on, for so long."""
        self.readiness.draining = True
        self.service.drain(seconds)
        self.metrics.draining(True)
        self.metrics.ready(False)

    def turn_away(self) -> None:
        """Send the clients that are left home, with the way back to their edits."""
        self.service.turn_away()
        if self.dashboard is not None:
            self.dashboard.close()


def create_app(
    config: Config, *, clock: Clock | None = None, transports: Transports | None = None
) -> Starlette:
    """Return only the app of ``build``."""
    return build(config, clock=clock, transports=transports).app


def build(
    config: Config, *, clock: Clock | None = None, transports: Transports | None = None
) -> Gateway:
    """
    Build the gateway. No I/O happens before the app's lifespan begins.

    A test hands in its own *clock*, and *transports*: how bytes travel upstream.
    """
    clock = clock or SystemClock()
    registry = CollectorRegistry()
    metrics = _metrics(registry, config)
    clients = Clients(transports)
    imaging = Imaging()
    readiness = Readiness()
    state = config.state
    stores = open_stores(state.path, state.sync, clock, on_failure=_write_ledger_failure)
    tracer = _tracer(config, clock)
    most = config.server.max_bytes_in_flight
    several = len(config.tenants) > 1
    budget = MemoryBudget(most, metrics.inflight_bytes, shared=several)
    ports = _ports(config, clients, stores, imaging, clock, metrics)
    service = EditService(
        tenants=config.tenants.values(),
        upstreams=config.upstreams.values(),
        ports=replace(ports, room_of=budget.room),
        on_bug=_write_bug,
        spool=stores.spool,
        tracer=tracer,
        abandon=config.abandon,
    )
    dashboard = _dashboard(config, service, budget, readiness, imaging, clock)
    reception = _reception(config, imaging, clock, metrics, tracer)
    door_desk = dashboard.service if dashboard else service
    beat = config.server.heartbeat_seconds
    edits = Edits(
        _keyring(config), readiness, reception, door_desk, budget, pixels_of, beat, clock, metrics
    )
    ops = Ops(readiness, registry, config.metrics_token, shows_tenants=config.shows_tenants)
    apart = _metrics_app(ops, clock, metrics) if config.metrics.port else None
    app = _app(
        _pages(config, edits, ops, metrics, dashboard),
        _middleware(config, clock, metrics, dashboard),
        _lifespan(imaging, clients, stores, tracer, service, clock, metrics, dashboard),
    )
    return Gateway(app, clock, service, readiness, metrics, apart, dashboard)


def _metrics_app(ops: Ops, clock: Clock, metrics: Metrics) -> Starlette:
    log = Middleware(AccessLogMiddleware, clock=clock, observer=metrics, log=_Lines())
    return _app(metrics_routes(ops, metrics), [log])


def _app(
    routes: Sequence[Route], middleware: Sequence[Middleware], lifespan: Lifespan | None = None
) -> Starlette:
    app = Starlette(
        routes=routes,
        exception_handlers=exception_handlers(),
        middleware=middleware,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _dashboard(
    config: Config,
    service: EditService,
    budget: MemoryBudget,
    readiness: Readiness,
    imaging: Imaging,
    clock: Clock,
) -> Dashboard | None:
    """Return the dashboard if it is on; without it nothing of it is made, nor imported."""
    if not config.dashboard.on:
        return None
    module = import_module("gateway.downstream.dashboard")
    shown: Dashboard = module.open_dashboard(
        token=config.dashboard.token,
        config=explain(config),
        service=service,
        log=_Lines(),
        budget=budget,
        readiness=readiness,
        shrink=imaging.thumbnail if config.dashboard.thumbnails else None,
        clock=clock,
    )
    return shown


def _middleware(
    config: Config, clock: Clock, metrics: Metrics, dashboard: Dashboard | None
) -> list[Middleware]:
    lines = dashboard.log if dashboard else _Lines()
    log = Middleware(AccessLogMiddleware, clock=clock, observer=metrics, log=lines)
    origins = config.server.cors_origins
    # Outermost: a page's script shall read even the answer to a bug.
    return [Middleware(Cors, origins=origins), log] if origins else [log]


def _lifespan(
    imaging: Imaging,
    clients: Clients,
    stores: Stores,
    tracer: Tracer,
    service: EditService,
    clock: Clock,
    metrics: Metrics,
    dashboard: Dashboard | None,
) -> Lifespan:
    """Return what opens everything in the order of need, and closes it the other way round."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(imaging.close)
            for part in (clients, stores.ledger, stores.spool, tracer, service):
                await stack.enter_async_context(part)
            works: list[Coroutine[Any, Any, None]] = [
                measure_loop_lag(clock, metrics),
                sample(
                    clock,
                    metrics,
                    recoverable=lambda: (service.recoverable, service.oldest_recoverable),
                    oldest_waits=service.oldest_waits,
                    ledger_counts=stores.ledger.counts,
                ),
                clients.warm_up(),
            ]
            if dashboard:
                works += [work() for work in dashboard.works]
            await stack.enter_async_context(_beside(*works))
            yield

    return lifespan


def _ports(
    config: Config,
    clients: Clients,
    stores: Stores,
    imaging: Imaging,
    clock: Clock,
    metrics: Metrics,
) -> Ports:
    """Return what gateway.edits is given."""
    return Ports(
        dashscope=DashScopeApi(clients, clock, metrics, config.server.inline_bytes),
        ledger=stores.ledger,
        result_urls=stores.result_urls,
        promises=stores.promises,
        mask_sources=stores.mask_sources,
        finisher=imaging,
        clock=clock,
        observer=metrics,
        tell=_tell,
    )


def _tell(event: str, /, **said: str | float) -> None:
    structlog.get_logger("gateway.upstream").warning(event, **said)


def _keyring(config: Config) -> Keyring:
    open_tenant = config.tenants[config.open_tenant] if config.open_tenant else None
    origins = config.server.cors_origins
    return Keyring(config.tenants, config.tenant_by_key, open_tenant, origins)


def _pages(
    config: Config, edits: Edits, ops: Ops, metrics: Metrics, dashboard: Dashboard | None
) -> list[Route]:
    # The same door with another offer: all that is behind it is shared.
    reception = replace(edits.reception, catalog=config.catalogs[Operation.GENERATE])
    generations = replace(edits, reception=reception)
    models = Models(edits.keyring, _names(config), tuple(config.catalogs.values()))
    return routes(
        edits,
        generations,
        models,
        ops,
        metrics,
        metrics_here=not config.metrics.port,
        more=dashboard.routes(metrics) if dashboard else (),
    )


def _reception(
    config: Config, imaging: Imaging, clock: Clock, metrics: Metrics, tracer: Tracer
) -> RequestReader:
    server = config.server
    return RequestReader(
        imaging=imaging,
        limits=Limits(
            max_body_bytes=server.max_body_bytes,
            body_seconds=server.body_seconds,
            idle_body_seconds=server.idle_body_seconds,
        ),
        catalog=config.catalogs[Operation.EDIT],
        max_wait_seconds=server.max_wait_seconds,
        clock=clock,
        observer=metrics,
        tracer=tracer,
    )


def _tracer(config: Config, clock: Clock) -> Tracer:
    """Return who writes traces; OpenTelemetry is imported only where somebody asked for it."""
    traces = config.traces
    if traces.endpoint is None:
        return NO_TRACER
    writer = import_module("gateway.observe.traces")
    tracer: Tracer = writer.tracer_to(traces.endpoint, config.traces_headers, traces.sample, clock)
    return tracer


def _metrics(registry: CollectorRegistry, config: Config) -> Metrics:
    """Return the metrics with what is known before the first request."""
    names = configured_names(
        config.tenants.values(), MODELS, config.prices, config.upstreams.values()
    )
    metrics = Metrics(registry, names, config_hash=_digest(config))
    metrics.ready(True)
    metrics.draining(False)
    metrics.inflight_limit(config.server.max_bytes_in_flight)
    return metrics


def _digest(config: Config) -> str:
    """Return a short name for what *config* says; upstream keys are no part of it."""
    said = f"{config}{sorted(config.tenant_by_key.items())}"
    return sha256(said.encode()).hexdigest()[:12]


class _Lines:
    """RequestLine → the log."""

    def log_line(self, record: AccessRecord) -> None:
        log_line(fields_of(record))


def _names(config: Config) -> list[str]:
    """Return every model name that a client may send, DashScope's own first."""
    names = {name for catalog in config.catalogs.values() for name in catalog.models}
    return [*MODELS, *sorted(names - MODELS.keys())]


def _write_bug(error: BaseException) -> None:
    # No exc_info: the words of an unforeseen error may quote a prompt.
    structlog.get_logger("gateway.edits").error("bug", bug=safe_traceback(error))


def _write_ledger_failure(error: Exception) -> None:
    if isinstance(error, LedgerError):
        return  # it stops the start, and whoever starts us tells it
    structlog.get_logger("gateway.ledger").error("ledger_write_failed", reason=str(error))


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run *works* beside the block, and end them with the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()
