"""
The composition root: ``build`` makes every object once and hands it its collaborators.

It reads from top to bottom, and no I/O happens in it: entering the Gateway opens what needs
opening, and leaving it closes that.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from gateway.cluster.ports import ClusterMember, EditHost
from gateway.config.changes import Changes, changes_between, refuse_fixed
from gateway.config.explain import explain
from gateway.config.results import place_of
from gateway.config.schema import Config
from gateway.config.table import ConfigError
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.models import Model, ModelTable
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.downstream.access_record import safe_traceback
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Readiness
from gateway.downstream.pacer import Pacer
from gateway.downstream.ports import DashboardHooks
from gateway.edits.account import AccountsChangedError
from gateway.edits.ports import Ports
from gateway.edits.service import EditService
from gateway.generation import (
    Lasting,
    LiveApp,
    body_limits_of,
    keyring_of,
    make_generation,
    write_record,
)
from gateway.imaging.workers import Imaging
from gateway.ledger.errors import LedgerError
from gateway.ledger.health import LedgerHealth
from gateway.ledger.open import open_stores
from gateway.observe.edit_log import log_ended_edit
from gateway.observe.metrics import ConfiguredNames, Metrics, configured_names
from gateway.observe.sampling import measure_loop_lag, sample
from gateway.results.keeper import ResultKeeper
from gateway.results.open import open_store
from gateway.results.store import reason_of
from gateway.upstream.clients import Clients, Transports
from gateway.upstream.dashscope import DashScopeApi

_LEASE_SECONDS = 10.0

Task = Callable[[], Coroutine[Any, Any, Any]]
"""Runs in the background for as long as the gateway is open."""

PlanReload = Callable[[Config], Callable[[], None]]


class Gateway:
    """
    An async context manager: open inside ``async with``, which is also the app's lifespan.

    Args:
        config: In force until ``reload``.
        lasting: What outlives a reload.
        models: Those of *config*, and of earlier ones.
        dashscope: Makes the calls upstream.
        home_of: For each tenant, of earlier configs too, the account of its first upstream.
        plan_reload: Returns what makes the edits go by another config, or raises
            AccountsChangedError.
        prepare: Tries whether it can be opened at once; returns why not, or nothing.
        ledger_lost: Whether another gateway has taken the ledger, so that this one has to end.
        resources: Entered in this order and left in the reverse one.
        background: Started once the resources are open, cancelled before they are closed.
    """

    def __init__(
        self,
        *,
        config: Config,
        lasting: Lasting,
        models: dict[str, Model],
        dashscope: DashScopeApi,
        home_of: dict[str, str],
        plan_reload: PlanReload,
        prepare: Callable[[], Awaitable[str]],
        ledger_lost: Callable[[], bool],
        resources: Sequence[AbstractAsyncContextManager[object]],
        background: Sequence[Task],
    ) -> None:
        generation = make_generation(config, lasting)
        self.app = LiveApp(generation.app)
        self.metrics_app = LiveApp(generation.metrics_app) if generation.metrics_app else None
        self.clock = lasting.clock
        self.service = lasting.service
        self.readiness = lasting.readiness
        self.metrics = lasting.metrics
        self.registry = lasting.registry
        self.dashboard = lasting.dashboard
        self.prepare = prepare
        self.ledger_lost = ledger_lost
        self.config = config
        self._lasting = lasting
        self._cluster = lasting.cluster
        self._plan_reload = plan_reload
        self._models = models
        self._dashscope = dashscope
        self._home_of = home_of
        self._resources = resources
        self._background = background
        self._opened = AsyncExitStack()
        self.app.router.lifespan_context = self._lifespan

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

    def reload(self, config: Config) -> Changes:
        """
        Serve by *config* from the next request on; what runs goes on (D116).

        Nothing here waits: a request finds the old config in force, or the new one.

        Raises:
            ConfigError: it cannot be taken without a restart; nothing has changed.
        """
        if self.readiness.leaving:
            raise ConfigError(f"{config.source}: the gateway is about to stop; start it again")
        refuse_fixed(replace(self.config, models=ModelTable(self._models)), config)
        changes = changes_between(self.config, config)
        generation = make_generation(config, self._lasting)
        try:
            reload_edits = self._plan_reload(config)
        except AccountsChangedError as error:
            raise ConfigError(f"{config.source}: {error}") from None

        self._models.update(config.models.by_name)
        self._home_of.update(_homes(config))
        reload_edits()
        self._dashscope.inline_bytes = config.server.inline_bytes
        self._lasting.budget.resize(
            config.server.max_bytes_in_flight, shared=len(config.tenants) > 1
        )
        self.metrics.inflight_limit(config.server.max_bytes_in_flight)
        if self._lasting.keeper is not None and config.results is not None:
            self._lasting.keeper.keep_seconds = config.results.keep_seconds
        if self.dashboard is not None and config.dashboard.token != self.config.dashboard.token:
            self.dashboard.end_streams()
        self.metrics.config_reloaded(_names(config), _config_hash(config))
        self.metrics.config_loaded(self.clock.epoch())
        self.app.current = generation.app
        if self.metrics_app is not None and generation.metrics_app is not None:
            self.metrics_app.current = generation.metrics_app
        self.config = config
        return changes

    def refuse_reload(self) -> None:
        """Count a reload that was refused."""
        self.metrics.config_reload_failed()

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
    metrics = Metrics(registry, _names(config), config_hash=_config_hash(config))
    metrics.config_loaded(clock.epoch())
    metrics.ready(True)
    metrics.draining(False)
    metrics.inflight_limit(server.max_bytes_in_flight)
    tracer = _tracer(config, clock)

    # The edits, and what they work with
    clients = Clients(transports)
    imaging = Imaging()
    ledger_health = LedgerHealth(config.state.file, clock)
    # Both know what earlier configs had, too.
    models = dict(config.models.by_name)
    home_of = _homes(config)
    table = ModelTable(models)
    stores = open_stores(
        config.state.path,
        config.state.sync,
        clock,
        url=config.state.url,
        node=config.cluster.node if config.cluster else None,
        lease_seconds=config.cluster.lease_seconds if config.cluster else _LEASE_SECONDS,
        home_of=home_of,
        on_failure=partial(_report_ledger_failure, metrics, ledger_health),
    )
    budget = MemoryBudget(
        server.max_bytes_in_flight, metrics.inflight_bytes, shared=len(config.tenants) > 1
    )
    keeper = _result_keeper(config, clock, metrics)
    dashscope = DashScopeApi(clients, clock, metrics, table, server.inline_bytes)
    ports = Ports(
        dashscope=dashscope,
        ledger=stores.ledger,
        result_urls=stores.result_urls,
        promises=stores.promises,
        mask_sources=stores.mask_sources,
        finisher=imaging,
        clock=clock,
        models=table,
        observer=metrics,
        notify=_warn,
        ended=lambda edit: log_ended_edit(metrics.prices, edit),
        submits_end_at=stores.submits_end_at,
        may_submit=stores.may_submit,
        memory_of=budget.room,
        results=keeper,
    )
    make_service = partial(
        EditService, on_bug=_log_bug, spool=stores.spool, tracer=tracer, abandon=config.abandon
    )
    cluster: ClusterMember | None = None
    if config.cluster is not None:  # otherwise it is not even imported
        cluster = import_module("gateway.cluster.assembly").join_cluster(
            config,
            stores.database,
            ports=ports,
            make_service=make_service,
            home_of=home_of,
            keyring=keyring_of(config),
            limits=body_limits_of(config),
            budget=budget,
            metrics=metrics,
            notify=_note,
            on_bug=_log_bug,
        )
        service: EditHost = cluster.service
        counts = cluster.counts
        plan_reload: PlanReload = cluster.plan_reload
    else:
        alone = make_service(
            tenants=config.tenants.values(), upstreams=config.upstreams.values(), ports=ports
        )
        service = alone
        counts = stores.ledger.counts

        def plan_reload(config: Config) -> Callable[[], None]:
            return alone.plan_reload(config.tenants.values(), config.upstreams.values())

    # What clients and operators reach over HTTP
    readiness = Readiness(ledger_is_failing=lambda: ledger_health.is_failing)
    dashboard: DashboardHooks | None = None
    if config.dashboard.on:  # otherwise it is not even imported
        dashboard = import_module("gateway.downstream.dashboard").open_dashboard(
            token=config.dashboard.token,
            config=explain(config),
            service=service,
            log=write_record,
            budget=budget,
            readiness=readiness,
            shrink=imaging.thumbnail if config.dashboard.thumbnails else None,
            clock=clock,
        )
    lasting = Lasting(
        clock=clock,
        pacer=Pacer(clock),
        registry=registry,
        metrics=metrics,
        tracer=tracer,
        imaging=imaging,
        budget=budget,
        keeper=keeper,
        service=service,
        cluster=cluster,
        readiness=readiness,
        dashboard=dashboard,
    )

    return Gateway(
        config=config,
        lasting=lasting,
        models=models,
        dashscope=dashscope,
        home_of=home_of,
        plan_reload=plan_reload,
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


def _tracer(config: Config, clock: Clock) -> Tracer:
    traces = config.traces
    if traces.endpoint is None:
        return NO_TRACER  # and OpenTelemetry is not imported
    module = import_module("gateway.observe.traces")
    tracer: Tracer = module.tracer_to(traces.endpoint, config.traces_headers, traces.sample, clock)
    return tracer


def _names(config: Config) -> ConfiguredNames:
    return configured_names(
        config.tenants.values(),
        config.models.by_name,
        config.prices,
        config.upstreams.values(),
    )


def _homes(config: Config) -> dict[str, str]:
    """Return for each tenant the account of its first upstream."""
    return {it.name: it.upstreams[0].account.name for it in config.tenants.values()}


def _config_hash(config: Config) -> str:
    """Return a short name of what its file says, the same in every process."""
    text = json.dumps(config.values, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:12]


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
