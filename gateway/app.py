"""
The composition root: ``build`` makes every object once and hands it its collaborators.

It reads from top to bottom, and no I/O happens in it: entering the Gateway opens what needs
opening, and leaving it closes that.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware

from gateway.cluster.ports import ClusterMember, EditHost
from gateway.config.explain import explain
from gateway.config.results import place_of
from gateway.config.schema import Config
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.models import Operation
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import AccessRecord, log_fields, safe_traceback
from gateway.downstream.auth import Keyring
from gateway.downstream.body import BodyLimits
from gateway.downstream.cors import Cors
from gateway.downstream.edits import Edits
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Ops, Readiness
from gateway.downstream.pacer import Pacer
from gateway.downstream.ports import AccessLog, DashboardHooks
from gateway.downstream.request_reader import RequestReader
from gateway.downstream.responses import exception_handlers
from gateway.downstream.result_files import ResultFiles, ResultLinks
from gateway.downstream.routes import Models, metrics_routes, routes
from gateway.edits.ports import Ports
from gateway.edits.service import EditService
from gateway.imaging.inspect import pixels_of
from gateway.imaging.workers import Imaging
from gateway.ledger.errors import LedgerError
from gateway.ledger.health import LedgerHealth
from gateway.ledger.open import open_stores
from gateway.observe.edit_log import log_ended_edit
from gateway.observe.logs import log_line
from gateway.observe.metrics import Metrics, configured_names
from gateway.observe.sampling import measure_loop_lag, sample
from gateway.results.keeper import ResultKeeper
from gateway.results.names import owner_of
from gateway.results.open import open_store
from gateway.results.signatures import ResultSigner
from gateway.results.store import reason_of
from gateway.upstream.clients import Clients, Transports
from gateway.upstream.dashscope import DashScopeApi

_LEASE_SECONDS = 10.0

Task = Callable[[], Coroutine[Any, Any, Any]]
"""Runs in the background for as long as the gateway is open."""


class Gateway:
    """
    An async context manager: open inside ``async with``, which is also the app's lifespan.

    Args:
        app: Serves clients.
        metrics_app: Serves /metrics where it has a port of its own.
        clock: Time.
        service: Has the edits.
        cluster: This node's part in a cluster, if it is in one.
        readiness: Read by /readyz and by every new edit.
        metrics: Counts.
        dashboard: If it is on.
        prepare: Tries whether it can be opened at once; returns why not, or nothing.
        ledger_lost: Whether another gateway has taken the ledger, so that this one has to end.
        resources: Entered in this order and left in the reverse one.
        background: Started once the resources are open, cancelled before they are closed.
    """

    def __init__(
        self,
        *,
        app: Starlette,
        metrics_app: Starlette | None,
        clock: Clock,
        service: EditHost,
        cluster: ClusterMember | None,
        readiness: Readiness,
        metrics: Metrics,
        dashboard: DashboardHooks | None,
        prepare: Callable[[], Awaitable[str]],
        ledger_lost: Callable[[], bool],
        resources: Sequence[AbstractAsyncContextManager[object]],
        background: Sequence[Task],
    ) -> None:
        self.app = app
        self.metrics_app = metrics_app
        self.clock = clock
        self.service = service
        self._cluster = cluster
        self.readiness = readiness
        self.metrics = metrics
        self.dashboard = dashboard
        self.prepare = prepare
        self.ledger_lost = ledger_lost
        self._resources = resources
        self._background = background
        self._opened = AsyncExitStack()
        app.router.lifespan_context = self._lifespan

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for resource in self._resources:
                await stack.enter_async_context(resource)
            await stack.enter_async_context(_running(self._background))
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opened.__aexit__(kind, exc, traceback)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self:
            yield

    @property
    def busy(self) -> int:
        """How many clients are connected to edits, and how many submits must not be cut."""
        return self.service.busy if self._cluster is None else self._cluster.busy

    def drain(self, seconds: float) -> None:
        """
        Refuse new edits from now on; those that run may go on for *seconds*.

        In a cluster the other nodes take the new edits, and go on with those that run.
        """
        self.readiness.leaving = True
        if self._cluster is None:
            self.service.drain(seconds)
            self.readiness.draining = True
        else:
            self.readiness.draining = self._cluster.drain(seconds)
        self.metrics.draining(True)
        self.metrics.ready(False)

    def turn_away(self) -> None:
        """Answer the clients that still wait: 503, and how to fetch their result later."""
        self.service.turn_away()
        if self._cluster is not None:
            self._cluster.turn_away()
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
    Build the gateway that *config* describes.

    Args:
        config: Checked.
        clock: Time; default: the system's.
        transports: How bytes travel to DashScope; default: the network.
    """
    clock = clock or SystemClock()
    server = config.server

    # What everything reports to
    registry = CollectorRegistry()
    metrics = Metrics(
        registry,
        configured_names(
            config.tenants.values(),
            config.models.by_name,
            config.prices,
            config.upstreams.values(),
        ),
        config_hash=_config_hash(config),
    )
    metrics.ready(True)
    metrics.draining(False)
    metrics.inflight_limit(server.max_bytes_in_flight)
    tracer = _tracer(config, clock)

    # The edits, and what they work with
    clients = Clients(transports)
    imaging = Imaging()
    in_file = config.state.url is None and config.state.path != "memory"
    ledger_health = LedgerHealth(Path(config.state.path) if in_file else None, clock)
    stores = open_stores(
        config.state.path,
        config.state.sync,
        clock,
        url=config.state.url,
        node=config.cluster.node if config.cluster else None,
        lease_seconds=config.cluster.lease_seconds if config.cluster else _LEASE_SECONDS,
        home_of={t.name: t.upstreams[0].account.name for t in config.tenants.values()},
        on_failure=partial(_report_ledger_failure, metrics, ledger_health),
    )
    budget = MemoryBudget(
        server.max_bytes_in_flight, metrics.inflight_bytes, shared=len(config.tenants) > 1
    )
    keeper = _result_keeper(config, clock, metrics)
    ports = Ports(
        dashscope=DashScopeApi(clients, clock, metrics, config.models, server.inline_bytes),
        ledger=stores.ledger,
        result_urls=stores.result_urls,
        promises=stores.promises,
        mask_sources=stores.mask_sources,
        finisher=imaging,
        clock=clock,
        models=config.models,
        observer=metrics,
        notify=_warn,
        ended=partial(log_ended_edit, config.prices),
        submits_end_at=stores.submits_end_at,
        may_submit=stores.may_submit,
        memory_of=budget.room,
        results=keeper,
    )
    make_service = partial(
        EditService, on_bug=_log_bug, spool=stores.spool, tracer=tracer, abandon=config.abandon
    )
    keyring = Keyring(
        config.tenants,
        config.tenant_by_key,
        config.tenants[config.open_tenant] if config.open_tenant else None,
        server.cors_origins,
    )
    limits = BodyLimits(
        max_body_bytes=server.max_body_bytes,
        body_seconds=server.body_seconds,
        idle_body_seconds=server.idle_body_seconds,
    )
    cluster: ClusterMember | None = None
    if config.cluster is not None:  # otherwise it is not even imported
        cluster = import_module("gateway.cluster.assembly").join_cluster(
            config,
            stores.database,
            ports=ports,
            make_service=make_service,
            keyring=keyring,
            limits=limits,
            budget=budget,
            metrics=metrics,
            notify=_note,
            on_bug=_log_bug,
        )
        service: EditHost = cluster.service
        counts = cluster.counts
    else:
        service = make_service(
            tenants=config.tenants.values(), upstreams=config.upstreams.values(), ports=ports
        )
        counts = stores.ledger.counts

    # What clients and operators reach over HTTP
    readiness = Readiness(ledger_is_failing=lambda: ledger_health.is_failing)
    dashboard: DashboardHooks | None = None
    if config.dashboard.on:  # otherwise it is not even imported
        dashboard = import_module("gateway.downstream.dashboard").open_dashboard(
            token=config.dashboard.token,
            config=explain(config),
            service=service,
            log=_write_record,
            budget=budget,
            readiness=readiness,
            shrink=imaging.thumbnail if config.dashboard.thumbnails else None,
            clock=clock,
        )
    reader = RequestReader(
        imaging=imaging,
        pacer=Pacer(clock),
        limits=limits,
        operation=Operation.EDIT,
        max_wait_seconds=server.max_wait_seconds,
        clock=clock,
        observer=metrics,
        tracer=tracer,
        keeps=keeper is not None,
    )
    links, files = _result_endpoints(config, keeper, keyring, clock)
    edits = Edits(
        keyring=keyring,
        readiness=readiness,
        reader=reader,
        service=service,
        budget=budget,
        measure=pixels_of,
        heartbeat_seconds=server.heartbeat_seconds,
        clock=clock,
        observer=metrics,
        prices=config.prices if server.cost_header else {},
        on_created=dashboard.on_created if dashboard else None,
        links=links,
    )
    generations = replace(edits, reader=replace(reader, operation=Operation.GENERATE))
    ops = Ops(readiness, registry, config.metrics_token, shows_tenants=config.shows_tenants)

    def access_log(log: AccessLog) -> Middleware:
        return Middleware(AccessLogMiddleware, clock=clock, observer=metrics, log=log)

    app = Starlette(
        routes=routes(
            cluster.guard_all(edits) if cluster else edits,
            cluster.guard_all(generations) if cluster else generations,
            Models(keyring),
            ops,
            metrics,
            with_metrics=not config.metrics.port,
            results=files,
            more=dashboard.routes(metrics) if dashboard else (),
        ),
        exception_handlers=exception_handlers(),
        middleware=[
            # Outermost, so that a page's script may read even the response to a bug.
            *([Middleware(Cors, origins=server.cors_origins)] if server.cors_origins else []),
            access_log(dashboard.write_record if dashboard else _write_record),
            *([cluster.middleware] if cluster else []),
        ],
    )
    metrics_app = None
    if config.metrics.port:
        metrics_app = Starlette(
            routes=metrics_routes(ops, metrics),
            exception_handlers=exception_handlers(),
            middleware=[access_log(_write_record)],
        )
    for served in (app, metrics_app):
        if served is not None:
            served.router.redirect_slashes = False

    return Gateway(
        app=app,
        metrics_app=metrics_app,
        clock=clock,
        service=service,
        cluster=cluster,
        readiness=readiness,
        metrics=metrics,
        dashboard=dashboard,
        prepare=stores.prepare,
        ledger_lost=stores.is_lost if cluster is None else lambda: cluster.replaced,
        resources=[
            imaging,
            clients,
            stores.database,
            stores.spool,
            tracer,
            *([stores.ledger, service] if cluster is None else cluster.resources),
        ],
        background=[
            partial(measure_loop_lag, clock, metrics),
            partial(
                sample,
                clock,
                metrics,
                recoverable=lambda: (service.recoverable, service.oldest_recoverable),
                oldest_waits=service.oldest_waits,
                ledger_counts=counts,
            ),
            *(cluster.background if cluster else ()),
            ledger_health.watch,
            clients.warm_up,
            *([keeper.run] if keeper else ()),
            *(dashboard.background if dashboard else ()),
        ],
    )


@asynccontextmanager
async def _running(background: Sequence[Task]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(task()) for task in background]
        yield
        for task in tasks:
            task.cancel()


def _result_keeper(config: Config, clock: Clock, metrics: Metrics) -> ResultKeeper | None:
    if config.results is None:
        return None

    def on_failure(operation: str, error: Exception) -> None:
        metrics.result_store_failed(operation)
        structlog.get_logger("gateway.results").error(
            "result_store_failed",
            operation=operation,
            reason=reason_of(error),
            remedy="See docs/runbook.md#wangatewayresultstorefailing.",
        )

    store = open_store(
        place_of(config.results),
        durable=config.state.sync == "full",
        clock=clock,
        on_failure=on_failure,
    )
    keep_seconds = config.results.keep_seconds
    return ResultKeeper(store, keep_seconds=keep_seconds, clock=clock, observer=metrics)


def _result_endpoints(
    config: Config, keeper: ResultKeeper | None, keyring: Keyring, clock: Clock
) -> tuple[ResultLinks | None, ResultFiles | None]:
    results = config.results
    if results is None or keeper is None:
        return None, None
    signer = ResultSigner(results.secret, results.previous_secret)
    owners = {owner_of(name): name for name in config.tenants}
    files = ResultFiles(keeper, signer, keyring, clock, tenant_by_owner=owners)
    return ResultLinks(signer, results.public_url), files


def _tracer(config: Config, clock: Clock) -> Tracer:
    traces = config.traces
    if traces.endpoint is None:
        return NO_TRACER  # and OpenTelemetry is not imported
    module = import_module("gateway.observe.traces")
    tracer: Tracer = module.tracer_to(traces.endpoint, config.traces_headers, traces.sample, clock)
    return tracer


def _config_hash(config: Config) -> str:
    """Return a short name of what *config* says; keys of upstreams are not part of it."""
    text = f"{config}{sorted(config.tenant_by_key.items())}"
    return sha256(text.encode()).hexdigest()[:12]


def _write_record(record: AccessRecord) -> None:
    log_line(log_fields(record))


def _warn(event: str, /, **fields: str | float) -> None:
    structlog.get_logger("gateway.upstream").warning(event, **fields)


def _note(event: str, /, **fields: str | float) -> None:
    structlog.get_logger("gateway.cluster").info(event, **fields)


def _log_bug(error: BaseException) -> None:
    # No exc_info: the message of an unforeseen error may quote a prompt.
    structlog.get_logger("gateway.edits").error("bug", bug=safe_traceback(error))


def _report_ledger_failure(metrics: Metrics, health: LedgerHealth, error: Exception) -> None:
    if isinstance(error, LedgerError):
        return  # it prevents the start, and the command prints it
    metrics.ledger_write_failed()
    health.failed()
    structlog.get_logger("gateway.ledger").error("ledger_write_failed", reason=str(error))
