"""
Every metric of the gateway: declared once, and counted by one method for each event.

Implements gateway.edits.ports.Observer, gateway.downstream.ports.EdgeObserver,
gateway.results.keeper.ResultObserver and gateway.upstream.calls.UpstreamCalls. No method raises,
waits or does I/O.
docs/metrics.md is written from these declarations; to add a metric, declare it in
``Metrics.__init__`` and count it in a method.
"""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    disable_created_metrics,
)

from gateway import __version__
from gateway.domain.clock import Phase
from gateway.domain.errors import ERROR_TYPES, GatewayError, error_type
from gateway.domain.price import Bill, Prices
from gateway.domain.record import EditState
from gateway.domain.tenant import Tenant, Upstream
from gateway.observe.families import Families, MetricFamily

_MAX_INITIAL_TENANT_SERIES = 2_500

_SUBMIT_ROUTES = ("/v1/images/edits", "/v1/images/generations")
_EDIT_ROUTES = (
    "/v1/images/edits",
    "/v1/images/edits/{edit_id}",
    "/v1/images/generations",
    "/v1/images/generations/{edit_id}",
)
_ROUTES = (
    *_EDIT_ROUTES,
    "/v1/images/results",
    "/v1/images/results/{name}",
    "/v1/images/variations",
    "/v1/models",
    "/v1/models/{id}",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/dashboard",
    "/dashboard/events",
)
_CODES = tuple(str(code) for code in range(100, 600))
_TASK_STATES = ("submitting", "pending", "running", "downloading")
_OUTCOMES = ("succeeded", "partial", "failed", "canceled", "timed_out", "lost")
_OPERATIONS = ("submit", "poll", "list", "cancel", "download", "upload")

# Upper bounds of histograms, in the unit of the metric's name.
# Dense from 45 to 125 s, where the proxies in front cut (60, 100, 125 s); an edit takes minutes.
_LONG_SECONDS = (
    *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 75, 90),
    *(120, 150, 180, 240, 300, 600),
)
_BODY_BYTES = (1e3, 1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 2e7, 3e7, 5e7)


@dataclass(frozen=True, slots=True)
class ConfiguredNames:
    """The names in the config that are label values; without them, a family has no series."""

    tenants: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    upstreams: tuple[tuple[str, str], ...] = ()
    """Region and name of each."""
    accounts: tuple[str, ...] = ()
    prices: Prices = field(default_factory=dict)
    region_of: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Tenant → the region of its edits; a tenant that is missing here may use any."""
    default_models: tuple[str, ...] = ()
    """Whose series are there from the start, others' with their first event; empty: all."""


def configured_names(
    tenants: Iterable[Tenant],
    models: Iterable[str],
    prices: Prices | None = None,
    upstreams: Iterable[Upstream] = (),
) -> ConfiguredNames:
    """Collect the names of the config's tenants and upstreams."""
    tenants = tuple(tenants)
    models = tuple(models)
    defaults = {it.default for tenant in tenants for it in tenant.catalogs.values()}
    upstreams = {*upstreams, *(upstream for tenant in tenants for upstream in tenant.upstreams)}
    regions = {tenant.region for tenant in tenants} | {up.region.name for up in upstreams}
    return ConfiguredNames(
        tenants=tuple(sorted(tenant.name for tenant in tenants)),
        regions=tuple(sorted(regions)),
        models=models,
        default_models=tuple(model for model in models if model in defaults),
        upstreams=tuple(sorted((upstream.region.name, upstream.name) for upstream in upstreams)),
        accounts=tuple(sorted({upstream.account.name for upstream in upstreams})),
        prices=prices or {},
        region_of={tenant.name: tenant.region for tenant in tenants},
    )


class Metrics:
    """
    The gateway's metrics.

    ``tenant`` is a label of counters and of one gauge, never of a histogram: 200 tenants times
    24 buckets would be thousands of series.

    Args:
        registry: Where they are collected; one registry holds one Metrics.
        names: What the config names; no other tenant, region, model, key or account is a label.
        config_hash: A short name of the config that runs.
    """

    def __init__(
        self, registry: CollectorRegistry, names: ConfiguredNames, *, config_hash: str = ""
    ) -> None:
        # Otherwise every counter and histogram has one more series, which no dashboard reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in its package
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._names = names
        self._first_models = names.default_models or names.models
        self.families = Families(registry, {"model": self._first_models})
        self._declare_requests()
        self._declare_queue()
        self._declare_tasks()
        self._declare_upstream()
        self._declare_money()
        self._declare_results()
        self._declare_process(config_hash)
        self._declare_cluster()
        self._start()

    # ------------------------------------------------------------ HTTP requests of clients

    def _declare_requests(self) -> None:
        families = self.families
        self._http_requests = families.counter(
            "http_requests",
            "Requests answered.",
            # Alerts and dashboards count these from the first one on; other codes are too many.
            initial={
                "route": _SUBMIT_ROUTES,
                "method": ("POST",),
                "code": ("200", "400", "429", "500", "503"),
            },
            route=_ROUTES,
            method=("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"),
            code=_CODES,
            tenant=self._names.tenants,
        )
        self._http_seconds = families.histogram(
            "http_request_duration_seconds",
            "Time from the arrival of the request's head to the last byte of the response.",
            _LONG_SECONDS,
            initial={"route": _SUBMIT_ROUTES, "code_class": ("2xx", "4xx", "5xx")},
            route=_ROUTES,
            code_class=("2xx", "4xx", "5xx"),
        )
        self._http_in_flight = families.gauge(
            "http_requests_in_flight", "Requests that are being answered.", route=_ROUTES
        )
        self._request_bytes = families.histogram(
            "http_request_body_bytes",
            "Size of request bodies.",
            _BODY_BYTES,
            initial=None,
            route=_ROUTES,
        )
        self._response_bytes = families.histogram(
            "http_response_body_bytes",
            "Size of response bodies.",
            _BODY_BYTES,
            initial=None,
            route=_ROUTES,
        )
        self._overhead = families.histogram(
            "gateway_overhead_seconds",
            "Time of a request that is neither spent upstream nor in the queue.",
            (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            initial={"route": _SUBMIT_ROUTES},
            route=_EDIT_ROUTES,
        )
        self._disconnects = families.counter(
            "client_disconnects",
            "Clients that disconnected before the end of their response, by what they waited for.",
            phase=("reading", "queued", "submitting", "polling", "downloading", "writing"),
        )
        self._late_errors = families.counter(
            "http_late_errors",
            "Errors after a response had begun with status 200, by the status they stand for.",
            initial={"code": ("400", "429", "500", "503")},
            code=_CODES,
            tenant=self._names.tenants,
        )
        self._client_retries = families.counter(
            "client_retries",
            "Requests that an SDK marked as a retry, by its number.",
            attempt=("1", "2", "3+"),
        )
        self._client_patience = families.histogram(
            "client_patience_seconds", "How long clients are ready to wait.", _LONG_SECONDS
        )

    def http_request_started(self, route: str) -> None:
        self._http_in_flight.of(route).inc()

    def http_request_ended(
        self,
        route: str,
        method: str,
        code: int,
        tenant: str,
        seconds: float,
        body_in: int,
        body_out: int,
    ) -> None:
        route = self._http_requests.closed("route", route)  # its overflow is counted once
        self._http_in_flight.of(route).dec()
        self._http_requests.of(route, method, str(code), tenant).inc()
        self._http_seconds.of(route, f"{code // 100}xx").observe(seconds)
        self._request_bytes.of(route).observe(body_in)
        self._response_bytes.of(route).observe(body_out)

    def http_late_error(self, code: int, tenant: str) -> None:
        self._late_errors.of(str(code), tenant).inc()

    def client_disconnected(self, phase: str) -> None:
        self._disconnects.of(phase).inc()

    def client_retry(self, attempt: int) -> None:
        self._client_retries.of(str(attempt) if attempt < 3 else "3+").inc()

    def client_patience(self, seconds: float) -> None:
        self._client_patience.of().observe(seconds)

    def gateway_overhead(self, route: str, seconds: float) -> None:
        self._overhead.of(route).observe(seconds)

    # ------------------------------------------------------------ the queue

    def _declare_queue(self) -> None:
        families = self.families
        names = self._names
        self._queue_depth = families.gauge(
            "queue_depth", "Edits in the queue.", region=names.regions, tenant=names.tenants
        )
        self._queue_oldest = families.gauge(
            "queue_oldest_wait_seconds",
            "How long the oldest edit in the queue has waited.",
            region=names.regions,
        )
        self._queue_wait = families.histogram(
            "queue_wait_seconds", "Time in the queue.", _LONG_SECONDS, region=names.regions
        )
        self._queue_rejections = families.counter(
            "queue_rejections",
            "Edits refused before a submit.",
            tenant=names.tenants,
            reason=("tenant_limit", "deadline", "bytes", "draining"),
        )
        self._inflight_bytes = families.gauge("inflight_body_bytes", "Bytes of edits in memory.")
        self._inflight_limit = families.gauge(
            "inflight_body_limit_bytes", "The limit of these bytes."
        )

    def queued(self, region: str, tenant: str, change: int) -> None:
        self._queue_depth.of(region, tenant).inc(change)

    def queue_oldest(self, region: str, seconds: float) -> None:
        self._queue_oldest.of(region).set(seconds)

    def queue_waited(self, region: str, seconds: float) -> None:
        self._queue_wait.of(region).observe(seconds)

    def queue_rejected(self, tenant: str, reason: str) -> None:
        self._queue_rejections.of(tenant, reason).inc()

    def inflight_bytes(self, change: int) -> None:
        self._inflight_bytes.of().inc(change)

    def inflight_limit(self, limit: int) -> None:
        self._inflight_limit.of().set(limit)

    # ------------------------------------------------------------ tasks

    def _declare_tasks(self) -> None:
        families = self.families
        names = self._names
        self._tasks = families.counter(
            "tasks",
            "Tasks that ended.",
            tenant=names.tenants,
            region=names.regions,
            model=names.models,
            outcome=_OUTCOMES,
        )
        self._tasks_in_flight = families.gauge(
            "tasks_in_flight",
            "Tasks that have not ended.",
            region=names.regions,
            state=_TASK_STATES,
        )
        self._task_seconds = families.histogram(
            "task_duration_seconds",
            "Time from the submit to the end of a task.",
            _LONG_SECONDS,
            initial=None,
            region=names.regions,
            model=names.models,
            outcome=_OUTCOMES,
        )
        self._phase_seconds = families.histogram(
            "task_phase_seconds",
            "Time of an edit by phase; the phases add up to the whole.",
            _LONG_SECONDS,
            initial=None,
            phase=tuple(Phase),
            region=names.regions,
            model=names.models,
        )
        self._task_failures = families.counter(
            "task_failures",
            "Tasks that made no picture, by the kind of error.",
            region=names.regions,
            model=names.models,
            error_type=ERROR_TYPES,
        )
        self._detection_lag = families.histogram(
            "poll_detection_lag_seconds",
            "Time from the end of a task, by DashScope's clock, until the gateway knew it.",
            (0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 30),
            region=names.regions,
            model=names.models,
        )
        self._polls = families.histogram(
            "polls_per_task",
            "Calls that it took to see the end of a task.",
            (1, 2, 3, 5, 8, 13, 21, 34, 55),
            region=names.regions,
        )

    def task_state(self, region: str, leaves: str | None, enters: str | None) -> None:
        """Move a task between states; a state of ended tasks, such as ``succeeded``, has none."""
        if leaves in _TASK_STATES:
            self._tasks_in_flight.of(region, leaves).dec()
        if enters in _TASK_STATES:
            self._tasks_in_flight.of(region, enters).inc()

    def task_ended(
        self, tenant: str, region: str, model: str, outcome: str, seconds: float
    ) -> None:
        self._tasks.of(tenant, region, model, outcome).inc()
        self._task_seconds.of(region, model, outcome).observe(seconds)

    def task_failed(self, region: str, model: str, error: GatewayError) -> None:
        self._task_failures.of(region, model, error_type(error)).inc()

    def phases_spent(self, region: str, model: str, spent: Mapping[Phase, float]) -> None:
        for phase, seconds in spent.items():
            self._phase_seconds.of(phase.value, region, model).observe(seconds)

    def end_detected(self, region: str, model: str, lag: float) -> None:
        self._detection_lag.of(region, model).observe(lag)

    def polls_spent(self, region: str, polls: int) -> None:
        self._polls.of(region).observe(polls)

    # ------------------------------------------------------------ calls upstream

    def _declare_upstream(self) -> None:
        families = self.families
        names = self._names
        self._upstream_requests = families.counter(
            "upstream_requests",
            "Calls upstream.",
            initial={"code": ("200", "400", "429", "500", "503", "error")},
            region=names.regions,
            operation=_OPERATIONS,
            code=(*_CODES, "error"),
        )
        self._upstream_seconds = families.histogram(
            "upstream_request_duration_seconds",
            "Time of a call upstream, to the end of its response.",
            (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            region=names.regions,
            operation=_OPERATIONS,
        )
        self._upstream_retries = families.counter(
            "upstream_retries",
            "Calls that were tried again.",
            region=names.regions,
            operation=("download", "upload"),  # gateway.edits repeats others, or asks instead
            reason=("network", "status", "content"),
        )
        self._upstream_throttled = families.counter(
            "upstream_throttled",
            "Calls that were throttled.",
            region=names.regions,
            operation=("submit", "poll", "list"),
        )
        self._poll_budget = families.gauge(
            "upstream_poll_budget_ratio",
            "Share of the account's polls_per_second that is used.",
            account=names.accounts,
        )
        self._key_up = families.gauge(
            "upstream_key_up",
            "1: DashScope accepts the key of the upstream with this name.",
            initial=None,  # one for each upstream: see _start
            region=names.regions,
            key=tuple(upstream for _, upstream in names.upstreams),
        )

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None:
        self._upstream_requests.of(region, operation, code).inc()
        self._upstream_seconds.of(region, operation).observe(seconds)

    def upstream_retried(self, region: str, operation: str, reason: str) -> None:
        self._upstream_retries.of(region, operation, reason).inc()

    def upstream_throttled(self, region: str, operation: str) -> None:
        self._upstream_throttled.of(region, operation).inc()

    def poll_budget_used(self, account: str, ratio: float) -> None:
        self._poll_budget.of(account).set(ratio)

    def upstream_key(self, region: str, upstream: str, *, up: bool) -> None:
        self._key_up.of(region, upstream).set(up)

    # ------------------------------------------------------------ what is paid for

    def _declare_money(self) -> None:
        families = self.families
        names = self._names
        self._images = families.counter(
            "images",
            "Pictures by what became of them.",
            tenant=names.tenants,
            region=names.regions,
            model=names.models,
            disposition=("delivered", "undelivered", "failed"),
        )
        self._cost = families.counter(
            "image_cost_estimate",
            "List price of the tasks that made pictures.",
            initial=None,  # one currency for each region and model: see edit_begun
            tenant=names.tenants,
            region=names.regions,
            model=names.models,
            currency=sorted({price.currency for price in names.prices.values()}),
        )
        self._intents_expired = families.counter(
            "intents_expired",
            "Submits that were left unfinished because they were too slow to leave.",
            region=names.regions,
        )
        self._strays = families.counter(
            "stray_tasks",
            "Tasks that reached the ledger too late, counted when kept and when followed.",
            region=names.regions,
        )
        self._undelivered = families.counter(
            "undelivered_tasks",
            "Tasks that were paid for and whose pictures no client got.",
            reason=("result_unavailable", "expired"),
        )
        self._recovered = families.counter(
            "recovered_tasks",
            "Tasks that a restart or a broken submit did not lose.",
            how=("task_followed", "submit_resolved", "submit_void"),
        )
        self._recoverable = families.gauge(
            "recoverable_tasks", "Tasks whose pictures a retry can still fetch."
        )
        self._recoverable_oldest = families.gauge(
            "recoverable_oldest_seconds", "Age of the oldest edit that a retry can still fetch."
        )
        self._duplicates = families.counter(
            "duplicates_prevented",
            "Second tasks that were not made.",
            how=("retry_joined", "in_flight_joined", "key_replayed", "ambiguous_found"),
        )
        self._idempotency = families.counter(
            "idempotency_requests",
            "Requests with an Idempotency-Key.",
            result=("new", "joined", "replayed", "conflict"),
        )

    def edit_begun(self, tenant: str, region: str, model: str) -> None:
        """Start this edit's counters at 0, so that a rate sees the first increment."""
        edit = {"tenant": (tenant,), "region": (region,), "model": (model,)}
        self._tasks.start(**edit)
        self._images.start(**edit)
        if (price := self._names.prices.get((region, model))) is not None:
            self._cost.of(tenant, region, model, price.currency)

    def pictures(self, tenant: str, region: str, model: str, disposition: str, n: int) -> None:
        self._images.of(tenant, region, model, disposition).inc(n)

    def task_billed(self, tenant: str, region: str, model: str, bill: Bill) -> None:
        """Count what a task that made pictures costs by the list price."""
        if (price := self._names.prices.get((region, model))) is not None:
            self._cost.of(tenant, region, model, price.currency).inc(price.cost(bill))

    def intent_expired(self, region: str) -> None:
        self._intents_expired.of(region).inc()

    def stray_task(self, region: str) -> None:
        self._strays.of(region).inc()

    def undelivered(self, reason: str) -> None:
        self._undelivered.of(reason).inc()

    def recovered(self, how: str) -> None:
        self._recovered.of(how).inc()

    def recoverable(self, tasks: int, oldest: float) -> None:
        self._recoverable.of().set(tasks)
        self._recoverable_oldest.of().set(oldest)

    def duplicate_prevented(self, how: str) -> None:
        self._duplicates.of(how).inc()

    def idempotency(self, result: str) -> None:
        self._idempotency.of(result).inc()

    # ------------------------------------------------------------ pictures that are kept

    def _declare_results(self) -> None:
        families = self.families
        self._results = families.counter(
            "results",
            "Pictures that are kept to be answered by a URL, by what became of them.",
            action=("written", "reused", "deleted", "expired"),
        )
        self._results_written_bytes = families.counter(
            "results_written_bytes", "Bytes of pictures that were written to the store."
        )
        self._results_stored = families.gauge(
            "results_stored", "Pictures in the store, counted every hour."
        )
        self._results_stored_bytes = families.gauge(
            "results_stored_bytes", "Bytes of these pictures."
        )
        self._result_store_failures = families.counter(
            "result_store_failures",
            "Failures of the store of pictures.",
            operation=("put", "find", "open", "list", "delete"),
        )

    def results_changed(self, action: str, n: int = 1) -> None:
        self._results.of(action).inc(n)

    def result_written(self, size: int) -> None:
        self._results_written_bytes.of().inc(size)

    def results_stored(self, n: int, size: int) -> None:
        self._results_stored.of().set(n)
        self._results_stored_bytes.of().set(size)

    def result_store_failed(self, operation: str) -> None:
        self._result_store_failures.of(operation).inc()

    # ------------------------------------------------------------ the process

    def _declare_process(self, config_hash: str) -> None:
        families = self.families
        python = platform.python_version()
        build_info = families.gauge(
            "build_info", "The version that runs.", version=(__version__,), python=(python,)
        )
        build_info.of(__version__, python).set(1)
        self._config_info = families.gauge(
            "config_info", "The config that runs.", initial=None, hash=(config_hash,)
        )
        self._config_info.of(config_hash).set(1)
        self._config_hash = config_hash
        self._config_reloads = families.counter(
            "config_reloads", "Reloads of the config.", result=("success", "failure")
        )
        self._config_loaded = families.gauge(
            "config_last_reload_successful", "0: the last reload was refused."
        )
        self._config_loaded.of().set(1)
        self._config_loaded_at = families.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the config that runs was loaded, in Unix time.",
        )
        self._ready = families.gauge("ready", "1: accepts new edits.")
        self._draining = families.gauge("draining", "1: finishes what runs, accepts nothing new.")
        self._loop_lag = families.histogram(
            "event_loop_lag_seconds",
            "How late the event loop wakes a sleeping task.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )
        self._journal = families.gauge(
            "journal_entries",
            "Edits in the ledger.",
            state=tuple(state for state in EditState if state is not EditState.DROPPED),
        )
        self._ledger_write_failures = families.counter(
            "ledger_write_failures",
            "Writes to the ledger, or to what is kept beside it, that failed.",
        )
        self._log_lines_dropped = families.counter(
            "log_lines_dropped", "Log lines dropped because their reader was too slow."
        )

    def _declare_cluster(self) -> None:
        families = self.families
        self._shard_held = families.gauge(
            "shard_held", "1: this node owns the shard.", initial=None, shard=self._names.accounts
        )
        self._shard_takeovers = families.counter(
            "shard_takeovers",
            "Shards taken: given by another node, or after its lease had expired.",
            why=("given", "expired"),
        )
        self._peers_up = families.gauge("peers_up", "Other nodes of the cluster that live.")
        self._config_differs = families.gauge(
            "config_differs", "1: another node of the cluster has another config."
        )

    def shard_held(self, shard: str, *, held: bool) -> None:
        self._shard_held.of(shard).set(held)

    def shard_taken(self, why: str) -> None:
        self._shard_takeovers.of(why).inc()

    def peers_up(self, number: int) -> None:
        self._peers_up.of().set(number)

    def config_differs(self, *, differs: bool) -> None:
        self._config_differs.of().set(differs)

    @property
    def prices(self) -> Prices:
        """The prices in force."""
        return self._names.prices

    def config_loaded(self, epoch: float) -> None:
        """Record when the config that runs was loaded, at the start or by a reload."""
        self._config_loaded_at.of().set(epoch)
        self._config_loaded.of().set(1)

    def config_reloaded(self, names: ConfiguredNames, config_hash: str) -> None:
        """
        Count a reload, and let *names* be label values from now on.

        Names that are not configured any more stay valid: their edits still end. Only the state
        of a key that is gone is not shown any more.
        """
        self._config_reloads.of("success").inc()
        before, self._names = self._names, names
        self._widen(names)
        for region, upstream in set(before.upstreams) - set(names.upstreams):
            self._key_up.remove(region, upstream)
        for region, upstream in set(names.upstreams) - set(before.upstreams):
            self.upstream_key(region, upstream, up=True)
        if self._count_tenant_series() <= _MAX_INITIAL_TENANT_SERIES:
            for tenant in set(names.tenants) - set(before.tenants):
                self._start_tenant(tenant)
        self._config_info.remove(self._config_hash)
        self._config_info.widen("hash", (config_hash,))
        self._config_info.of(config_hash).set(1)
        self._config_hash = config_hash

    def config_reload_failed(self) -> None:
        self._config_reloads.of("failure").inc()
        self._config_loaded.of().set(0)

    def _widen(self, names: ConfiguredNames) -> None:
        widen = self.families.widen
        widen("tenant", names.tenants, start=True)
        widen("region", names.regions, start=True)
        widen("account", names.accounts, start=True)
        widen("shard", names.accounts, start=False)
        widen("model", names.models, start=False)
        widen("key", [upstream for _, upstream in names.upstreams], start=False)
        widen("currency", [price.currency for price in names.prices.values()], start=False)

    def ready(self, yes: bool) -> None:  # noqa: FBT001 - a gauge's value, not a switch
        self._ready.of().set(yes)

    def draining(self, yes: bool) -> None:  # noqa: FBT001 - the same
        self._draining.of().set(yes)

    def event_loop_lag(self, seconds: float) -> None:
        self._loop_lag.of().observe(seconds)

    def journal_entries(self, state: str, entries: int) -> None:
        self._journal.of(state).set(entries)

    def ledger_write_failed(self) -> None:
        self._ledger_write_failures.of().inc()

    def log_lines_dropped(self, lines: int) -> None:
        self._log_lines_dropped.of().inc(lines)

    # ------------------------------------------------------------ series that exist from the start

    def _start(self) -> None:
        self.families.start()
        for region, upstream in self._names.upstreams:
            self.upstream_key(region, upstream, up=True)  # until a call is refused
        if self._count_tenant_series() <= _MAX_INITIAL_TENANT_SERIES:
            for tenant in self._names.tenants:
                self._start_tenant(tenant)

    def _start_tenant(self, tenant: str) -> None:
        regions = self._regions_of(tenant)
        for family in self._tenant_families():
            family.start(tenant=(tenant,), region=regions)
        for region, model in product(regions, self._first_models):
            self.edit_begun(tenant, region, model)

    def _count_tenant_series(self) -> int:
        """Return how many series _start_tenant would make for all tenants together."""
        count = 0
        for tenant in self._names.tenants:
            regions = self._regions_of(tenant)
            for family in self._tenant_families():
                count += len(family.initial_series(tenant=(tenant,), region=regions))
            count += sum(region in regions for region, _ in self._names.prices)
        return count

    def _tenant_families(self) -> list[MetricFamily[Any]]:
        return [family for family in self.families if "tenant" in family.labels]

    def _regions_of(self, tenant: str) -> tuple[str, ...]:
        region = self._names.region_of.get(tenant)
        return self._names.regions if region is None else (region,)
