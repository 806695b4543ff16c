"""
What clients and operators reach over HTTP, made of each config that is loaded (D116).

A request is answered by the generation that was in force when it arrived, to its end. What
outlives a generation is handed in: the edits, the budgets, the metrics.
"""

from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from gateway.cluster.ports import ClusterMember, EditHost
from gateway.config.explain import explain
from gateway.config.schema import Config
from gateway.domain.clock import Clock
from gateway.domain.models import Operation
from gateway.domain.trace import Tracer
from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import AccessRecord, log_fields
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
from gateway.downstream.routes import EditEndpoints, Models, metrics_routes, routes
from gateway.imaging.inspect import pixels_of
from gateway.imaging.workers import Imaging
from gateway.observe.logs import log_line
from gateway.observe.metrics import Metrics
from gateway.results.keeper import ResultKeeper
from gateway.results.names import owner_of
from gateway.results.signatures import ResultSigner


@dataclass(frozen=True, slots=True)
class Lasting:
    """What every generation works with."""

    clock: Clock
    pacer: Pacer
    registry: CollectorRegistry
    metrics: Metrics
    tracer: Tracer
    imaging: Imaging
    budget: MemoryBudget
    keeper: ResultKeeper | None
    service: EditHost
    cluster: ClusterMember | None
    readiness: Readiness
    dashboard: DashboardHooks | None


@dataclass(frozen=True, slots=True)
class Generation:
    """The apps of one config."""

    app: Starlette
    metrics_app: Starlette | None
    """Serves /metrics where it has a port of its own."""


class LiveApp(Starlette):
    """
    Passes each request to the app that is in force when it arrives.

    Its lifespan is its own: it outlives those apps.
    """

    def __init__(self, current: Starlette) -> None:
        super().__init__()
        self.current = current

    @property
    def routes(self) -> list[BaseRoute]:
        return self.current.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await self.current(scope, receive, send)


def make_generation(config: Config, lasting: Lasting) -> Generation:
    """Return the apps of *config*; nothing of *lasting* changes."""
    clock = lasting.clock
    metrics = lasting.metrics
    keyring = keyring_of(config)
    dashboard = lasting.dashboard
    if dashboard is not None:
        dashboard = dashboard.of_config(config.dashboard.token, explain(config))
    links, files = _result_endpoints(config, lasting.keeper, keyring, clock)
    edits = _edits(config, lasting, keyring, dashboard, links)
    generations = replace(edits, reader=replace(edits.reader, operation=Operation.GENERATE))
    cluster = lasting.cluster
    guard = cluster.guard_of(config, keyring, edits.reader.limits) if cluster else _unguarded
    ops = Ops(
        lasting.readiness,
        lasting.registry,
        config.metrics_token,
        shows_tenants=config.shows_tenants,
    )

    def access_log(log: AccessLog) -> Middleware:
        return Middleware(AccessLogMiddleware, clock=clock, observer=metrics, log=log)

    origins = config.server.cors_origins
    app = Starlette(
        routes=routes(
            guard(edits),
            guard(generations),
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
            *([Middleware(Cors, origins=origins)] if origins else []),
            access_log(dashboard.write_record if dashboard else write_record),
            *([cluster.middleware] if cluster else []),
        ],
    )
    metrics_app = None
    if config.metrics.port:
        metrics_app = Starlette(
            routes=metrics_routes(ops, metrics),
            exception_handlers=exception_handlers(),
            middleware=[access_log(write_record)],
        )
    for served in (app, metrics_app):
        if served is not None:
            served.router.redirect_slashes = False
    return Generation(app, metrics_app)


def _unguarded(edits: EditEndpoints) -> EditEndpoints:
    return edits


def keyring_of(config: Config) -> Keyring:
    """Return who may call."""
    return Keyring(
        config.tenants,
        config.tenant_by_key,
        config.tenants[config.open_tenant] if config.open_tenant else None,
        config.server.cors_origins,
    )


def body_limits_of(config: Config) -> BodyLimits:
    """Return what a request's body may take."""
    server = config.server
    return BodyLimits(
        max_body_bytes=server.max_body_bytes,
        body_seconds=server.body_seconds,
        idle_body_seconds=server.idle_body_seconds,
    )


def _edits(
    config: Config,
    lasting: Lasting,
    keyring: Keyring,
    dashboard: DashboardHooks | None,
    links: ResultLinks | None,
) -> Edits:
    server = config.server
    reader = RequestReader(
        imaging=lasting.imaging,
        pacer=lasting.pacer,
        limits=body_limits_of(config),
        operation=Operation.EDIT,
        max_wait_seconds=server.max_wait_seconds,
        clock=lasting.clock,
        observer=lasting.metrics,
        tracer=lasting.tracer,
        keeps=lasting.keeper is not None,
    )
    return Edits(
        keyring=keyring,
        readiness=lasting.readiness,
        reader=reader,
        service=lasting.service,
        budget=lasting.budget,
        measure=pixels_of,
        heartbeat_seconds=server.heartbeat_seconds,
        clock=lasting.clock,
        observer=lasting.metrics,
        prices=config.prices if server.cost_header else {},
        on_created=dashboard.on_created if dashboard else None,
        links=links,
    )


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


def write_record(record: AccessRecord) -> None:
    """Write the log line of a request."""
    log_line(log_fields(record))
