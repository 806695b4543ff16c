"""
What happened, in words; gateway.observe.families holds the numbers.

Answers gateway.edits.ports.Observer, gateway.downstream.ports.EdgeObserver and
gateway.upstream.ports.UpstreamCalls. No method raises, waits or looks anything up
outside: a value that no label set holds is counted as ``_other`` and in
metrics_label_overflow_total; a tenant that is not configured is ``_unknown``.
"""

import platform
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    disable_created_metrics,
)

from gateway import __version__
from gateway.domain.error_types import ERROR_TYPES, error_type
from gateway.domain.errors import GatewayError
from gateway.domain.phases import Phase
from gateway.observe import labels
from gateway.observe.families import Families
from gateway.observe.labels import OTHER, UNKNOWN, Configured

_MADE_AT = ("/v1/images/edits", "/v1/images/generations")
_MOST_BEGUN = 2_500  # series with a tenant that stand at 0 from the start


class Metrics:
    """
    The gateway's numbers.

    Args:
        registry: A fresh one; each test brings its own.
        names: What the config names; nothing else becomes a label.
        commit: Of the source, where the build knows it.
        routes: The path templates of the door in.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        names: Configured,
        *,
        commit: str = "",
        routes: tuple[str, ...] = labels.ROUTES,
    ) -> None:
        # Else each counter and histogram has one more series, which no dashboard reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in its package
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._families = Families(registry)
        self._names = names
        self._prices = names.prices
        self._sets = _sets(names, routes)
        self._begin(names, routes)
        build = self._families.build_info.of(__version__, commit, platform.python_version())
        build.set(1)

    # ------------------------------------------------------------ edge

    def http_request_started(self, route: str) -> None:
        self._families.http_in_flight.of(self._in("route", route)).inc()

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
        families = self._families
        route = self._in("route", route)
        families.http_in_flight.of(route).dec()
        families.http_requests.of(
            route, self._in("method", method), self._in("code", str(code)), self._tenant(tenant)
        ).inc()
        families.http_seconds.of(route, self._in("code_class", labels.code_class(code))).observe(
            seconds
        )
        families.body_in.of(route).observe(body_in)
        families.body_out.of(route).observe(body_out)

    def http_late_error(self, code: int, tenant: str) -> None:
        self._families.late_errors.of(self._in("code", str(code)), self._tenant(tenant)).inc()

    def client_disconnected(self, phase: str) -> None:
        self._families.disconnects.of(self._in("disconnect_phase", phase)).inc()

    def client_retry(self, attempt: int) -> None:
        self._families.retries.of(labels.attempt(attempt)).inc()

    def client_patience(self, seconds: float) -> None:
        self._families.patience.of().observe(seconds)

    def gateway_overhead(self, route: str, seconds: float) -> None:
        self._families.overhead.of(self._in("route", route)).observe(seconds)

    # ------------------------------------------------------------ waiting line

    def queued(self, region: str, tenant: str, change: int) -> None:
        self._families.queue_depth.of(self._in("region", region), self._tenant(tenant)).inc(change)

    def queue_oldest(self, region: str, seconds: float) -> None:
        self._families.queue_oldest.of(self._in("region", region)).set(seconds)

    def queue_waited(self, region: str, seconds: float) -> None:
        self._families.queue_wait.of(self._in("region", region)).observe(seconds)

    def queue_rejected(self, tenant: str, reason: str) -> None:
        self._families.queue_rejections.of(
            self._tenant(tenant), self._in("rejection", reason)
        ).inc()

    def inflight_bytes(self, change: int) -> None:
        self._families.inflight_bytes.of().inc(change)

    def inflight_limit(self, most: int) -> None:
        self._families.inflight_limit.of().set(most)

    # ------------------------------------------------------------ tasks

    def task_state(self, region: str, leaves: str | None, enters: str | None) -> None:
        """Move a task; a state of the ended, such as ``succeeded``, is none in flight."""
        region = self._in("region", region)
        in_flight = self._families.tasks_in_flight
        if leaves in labels.TASK_STATES:
            in_flight.of(region, leaves).dec()
        if enters in labels.TASK_STATES:
            in_flight.of(region, enters).inc()

    def task_ended(
        self, tenant: str, region: str, model: str, outcome: str, seconds: float
    ) -> None:
        place = (self._in("region", region), self._in("model", model))
        outcome = self._in("outcome", outcome)
        self._families.tasks.of(self._tenant(tenant), *place, outcome).inc()
        self._families.task_seconds.of(*place, outcome).observe(seconds)

    def edit_begun(self, tenant: str, region: str, model: str) -> None:
        """Have what its end will count stand at 0, so that a rate sees the first one."""
        self._begin_money(
            self._tenant(tenant), self._in("region", region), self._in("model", model)
        )

    def task_failed(self, region: str, model: str, error: GatewayError) -> None:
        self._families.task_failures.of(
            self._in("region", region), self._in("model", model), error_type(error)
        ).inc()

    def phases_spent(self, region: str, model: str, spent: Mapping[Phase, float]) -> None:
        region = self._in("region", region)
        model = self._in("model", model)
        for phase, seconds in spent.items():
            self._families.phase_seconds.of(phase.value, region, model).observe(seconds)

    def end_detected(self, region: str, model: str, lag: float) -> None:
        self._families.detection_lag.of(
            self._in("region", region), self._in("model", model)
        ).observe(lag)

    def polls_spent(self, region: str, polls: int) -> None:
        self._families.polls.of(self._in("region", region)).observe(polls)

    # ------------------------------------------------------------ upstream

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None:
        place = (self._in("region", region), self._in("operation", operation))
        self._families.upstream_requests.of(*place, self._in("upstream_code", code)).inc()
        self._families.upstream_seconds.of(*place).observe(seconds)

    def upstream_retried(self, region: str, operation: str, reason: str) -> None:
        self._families.upstream_retries.of(
            self._in("region", region),
            self._in("retried", operation),
            self._in("retry_reason", reason),
        ).inc()

    def upstream_throttled(self, region: str, operation: str) -> None:
        self._families.upstream_throttled.of(
            self._in("region", region), self._in("throttled", operation)
        ).inc()

    def poll_budget_used(self, account: str, ratio: float) -> None:
        self._families.poll_budget.of(self._in("account", account)).set(ratio)

    def upstream_key(self, region: str, upstream: str, *, up: bool) -> None:
        self._families.key_up.of(self._in("region", region), self._in("key", upstream)).set(up)

    # ------------------------------------------------------------ money

    def pictures(self, tenant: str, region: str, model: str, disposition: str, n: int) -> None:
        """Count *n* pictures, and what those that were made cost by the price list."""
        price = self._prices.get((region, model))
        who = (self._tenant(tenant), self._in("region", region), self._in("model", model))
        self._families.images.of(*who, self._in("disposition", disposition)).inc(n)
        if price is not None and disposition != "failed":
            self._families.cost.of(*who, price.currency).inc(n * price.amount)

    def undelivered(self, reason: str) -> None:
        self._families.undelivered.of(self._in("undelivered", reason)).inc()

    def recovered(self, how: str) -> None:
        self._families.recovered.of(self._in("recovered", how)).inc()

    def recoverable(self, tasks: int, oldest: float) -> None:
        self._families.recoverable.of().set(tasks)
        self._families.recoverable_oldest.of().set(oldest)

    def duplicate_prevented(self, how: str) -> None:
        self._families.duplicates.of(self._in("duplicate", how)).inc()

    def idempotency(self, result: str) -> None:
        self._families.idempotency.of(self._in("idempotency", result)).inc()

    # ------------------------------------------------------------ self

    def ready(self, yes: bool) -> None:  # noqa: FBT001 - a gauge's value, not a switch
        self._families.ready.of().set(yes)

    def draining(self, yes: bool) -> None:  # noqa: FBT001 - the same
        self._families.draining.of().set(yes)

    def log_lines_dropped(self, lines: int) -> None:
        self._families.log_lines_dropped.of().inc(lines)

    def event_loop_lag(self, seconds: float) -> None:
        self._families.loop_lag.of().observe(seconds)

    def journal_entries(self, state: str, entries: int) -> None:
        self._families.journal.of(self._in("journal_state", state)).set(entries)

    def config_loaded(self, digest: str) -> None:
        """Tell which config runs; *digest* is ours, of the file's bytes."""
        self._families.config_info.of(digest).set(1)

    # ------------------------------------------------------------ label rules

    def _tenant(self, name: str) -> str:
        # Not in the set is also whoever is gone from the config while its edits go on.
        return name if name in self._sets["tenant"] else UNKNOWN

    def _in(self, label: str, value: str) -> str:
        if value in self._sets[label]:
            return value
        if value.lower() != OTHER:
            self._families.overflow.of(label).inc()
        return OTHER

    def _begin(self, names: Configured, routes: tuple[str, ...]) -> None:
        """Put what is known from the start at 0; of many tenants, only what has none of them."""
        families = self._families
        regions = names.regions
        models = names.models
        families.http_in_flight.begin(routes)
        families.http_seconds.begin(_MADE_AT, labels.CODE_CLASSES)
        families.disconnects.begin(labels.DISCONNECT_PHASES)
        families.retries.begin(labels.ATTEMPTS)
        families.overhead.begin(_MADE_AT)
        families.queue_oldest.begin(regions)
        families.queue_wait.begin(regions)
        families.tasks_in_flight.begin(regions, labels.TASK_STATES)
        families.task_failures.begin(regions, models, ERROR_TYPES)
        families.detection_lag.begin(regions, models)
        families.polls.begin(regions)
        families.upstream_seconds.begin(regions, labels.OPERATIONS)
        # An alert on failing calls must see the first one; other codes are too many.
        families.upstream_requests.begin(regions, labels.OPERATIONS, ("error",))
        families.upstream_retries.begin(regions, labels.RETRIED, labels.RETRY_REASONS)
        families.upstream_throttled.begin(regions, labels.THROTTLED)
        families.poll_budget.begin(names.accounts)
        families.undelivered.begin(labels.UNDELIVERED)
        families.recovered.begin(labels.RECOVERED)
        families.duplicates.begin(labels.DUPLICATES)
        families.idempotency.begin(labels.IDEMPOTENCY)
        families.journal.begin(labels.JOURNAL_STATES)
        families.overflow.begin(self._sets)
        for region, upstream in names.upstreams:
            # Taken for good until a call is refused.
            families.key_up.of(region, upstream).set(1)
        if len(names.tenants) * _series_of_a_tenant(names) <= _MOST_BEGUN:
            for tenant in names.tenants:
                self._begin_tenant(tenant)

    def _begin_tenant(self, tenant: str) -> None:
        families = self._families
        names = self._names
        families.http_requests.begin(_MADE_AT, ("POST",), labels.COMMON_CODES, (tenant,))
        families.late_errors.begin(("500", "503"), (tenant,))
        families.queue_rejections.begin((tenant,), labels.REJECTIONS)
        home = names.homes.get(tenant)
        for region in names.regions if home is None else (home,):
            families.queue_depth.of(region, tenant)
            for model in names.models:
                self._begin_money(tenant, region, model)

    def _begin_money(self, tenant: str, region: str, model: str) -> None:
        families = self._families
        who = ((tenant,), (region,), (model,))
        families.tasks.begin(*who, labels.OUTCOMES)
        families.images.begin(*who, labels.DISPOSITIONS)
        if (price := self._prices.get((region, model))) is not None:
            families.cost.begin(*who, (price.currency,))


def _series_of_a_tenant(names: Configured) -> int:
    """Return how many series with the name of one tenant _begin_tenant makes, at the most."""
    regions = 1 if names.homes else len(names.regions)
    money = len(labels.OUTCOMES) + len(labels.DISPOSITIONS) + 1
    edge = len(_MADE_AT) * len(labels.COMMON_CODES) + 2 + len(labels.REJECTIONS)
    return edge + regions * (1 + len(names.models) * money)


def _sets(names: Configured, routes: tuple[str, ...]) -> dict[str, frozenset[str]]:
    sets = {
        "tenant": names.tenants,
        "region": names.regions,
        "model": names.models,
        "account": names.accounts,
        "key": tuple(upstream for _, upstream in names.upstreams),
        "route": routes,
        "method": labels.METHODS,
        "code": labels.CODES,
        "code_class": labels.CODE_CLASSES,
        "disconnect_phase": labels.DISCONNECT_PHASES,
        "rejection": labels.REJECTIONS,
        "outcome": labels.OUTCOMES,
        "operation": labels.OPERATIONS,
        "upstream_code": (*labels.CODES, "error"),
        "retried": labels.RETRIED,
        "retry_reason": labels.RETRY_REASONS,
        "throttled": labels.THROTTLED,
        "disposition": labels.DISPOSITIONS,
        "undelivered": labels.UNDELIVERED,
        "recovered": labels.RECOVERED,
        "duplicate": labels.DUPLICATES,
        "idempotency": labels.IDEMPOTENCY,
        "journal_state": labels.JOURNAL_STATES,
    }
    return {label: frozenset(values) for label, values in sets.items()}
