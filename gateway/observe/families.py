"""
Every family that the gateway exports: name, labels, buckets. The README's table mirrors this file.

``tenant`` stands on counters and one gauge, never on a histogram: 200 tenants times 24
buckets would be thousands of series.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway.observe import buckets

_M = TypeVar("_M", bound=MetricWrapperBase)
_PREFIX = "wan_gateway_"


class Children(Generic[_M]):
    """One family, with its children at hand: prometheus_client's own look-up costs more."""

    def __init__(self, family: _M) -> None:
        self._family = family
        self._child_by_values: dict[tuple[str, ...], _M] = {}

    def of(self, *values: str) -> _M:
        child = self._child_by_values.get(values)
        if child is None:
            child = self._child_by_values[values] = (
                self._family.labels(*values) if values else self._family
            )
        return child

    def begin(self, *sets: Iterable[str]) -> None:
        """Have a child at 0 for each combination, so that rates work from the first event."""
        for values in product(*sets):
            self.of(*values)


class Families:
    """All of them, on a registry handed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._edge()
        self._customers()
        self._line()
        self._tasks()
        self._upstream()
        self._money()
        self._self()

    def _edge(self) -> None:
        self.http_requests = self._counter(
            "http_requests", "Requests answered.", "route", "method", "code", "tenant"
        )
        self.http_seconds = self._histogram(
            "http_request_duration_seconds",
            "From the head's arrival to the last byte out.",
            buckets.LONG_SECONDS,
            "route",
            "code_class",
        )
        self.http_in_flight = self._gauge(
            "http_requests_in_flight", "Requests being answered.", "route"
        )
        self.body_in = self._histogram(
            "http_request_body_bytes", "Bytes read.", buckets.BODY_BYTES, "route"
        )
        self.body_out = self._histogram(
            "http_response_body_bytes", "Bytes written.", buckets.BODY_BYTES, "route"
        )
        self.overhead = self._histogram(
            "gateway_overhead_seconds",
            "What is neither upstream nor our queue.",
            buckets.OVERHEAD_SECONDS,
            "route",
        )

    def _customers(self) -> None:
        self.disconnects = self._counter(
            "client_disconnects", "Customers who left, by what they waited for.", "phase"
        )
        self.late_errors = self._counter(
            "http_late_errors",
            "Errors told after a 200 had begun, by the status that they would have had.",
            "code",
            "tenant",
        )
        self.retries = self._counter(
            "client_retries", "Requests that an SDK marked as its repeat.", "attempt"
        )
        self.patience = self._histogram(
            "client_patience_seconds", "How long customers would wait.", buckets.LONG_SECONDS
        )

    def _line(self) -> None:
        self.queue_depth = self._gauge("queue_depth", "Edits in line.", "region", "tenant")
        self.queue_oldest = self._gauge(
            "queue_oldest_wait_seconds", "How long the oldest edit in line waits.", "region"
        )
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "Time in line.", buckets.LONG_SECONDS, "region"
        )
        self.queue_rejections = self._counter(
            "queue_rejections", "Edits refused before a submit.", "tenant", "reason"
        )
        self.inflight_bytes = self._gauge("inflight_body_bytes", "Bytes of edits held.")
        self.inflight_limit = self._gauge("inflight_body_limit_bytes", "The budget for them.")

    def _tasks(self) -> None:
        self.tasks = self._counter(
            "tasks", "Tasks that ended.", "tenant", "region", "model", "outcome"
        )
        self.tasks_in_flight = self._gauge(
            "tasks_in_flight", "Tasks not yet ended.", "region", "state"
        )
        self.task_seconds = self._histogram(
            "task_duration_seconds",
            "From the submit to the end.",
            buckets.LONG_SECONDS,
            *("region", "model", "outcome"),
        )
        self.phase_seconds = self._histogram(
            "task_phase_seconds",
            "Where the time went; the phases add up to the whole.",
            buckets.LONG_SECONDS,
            *("phase", "region", "model"),
        )
        self.task_failures = self._counter(
            "task_failures", "Why tasks made nothing.", "region", "model", "error_type"
        )
        self.detection_lag = self._histogram(
            "poll_detection_lag_seconds",
            "From a task's end, by upstream's clock, to our noticing it.",
            buckets.DETECTION_LAG_SECONDS,
            *("region", "model"),
        )
        self.polls = self._histogram(
            "polls_per_task", "Calls spent on one task.", buckets.POLLS, "region"
        )

    def _upstream(self) -> None:
        self.upstream_requests = self._counter(
            "upstream_requests", "Calls upstream.", "region", "operation", "code"
        )
        self.upstream_seconds = self._histogram(
            "upstream_request_duration_seconds",
            "Calls upstream, to the end of the answer.",
            buckets.CALL_SECONDS,
            *("region", "operation"),
        )
        self.upstream_retries = self._counter(
            "upstream_retries", "Calls tried again.", "region", "operation", "reason"
        )
        self.upstream_throttled = self._counter(
            "upstream_throttled", "Calls answered with 429.", "region", "operation"
        )
        self.poll_budget = self._gauge(
            "upstream_poll_budget_ratio", "Used share of the account's calls.", "account"
        )
        self.key_up = self._gauge(
            "upstream_key_up", "1: upstream takes the key of this name.", "region", "key"
        )

    def _money(self) -> None:
        self.images = self._counter(
            "images", "Pictures by what became of them.", "tenant", "region", "model", "disposition"
        )
        self.cost = self._counter(
            "image_cost_estimate",
            "List price of the pictures made.",
            *("tenant", "region", "model", "currency"),
        )
        self.undelivered = self._counter(
            "undelivered_tasks", "Tasks paid for that nobody got.", "reason"
        )
        self.recovered = self._counter(
            "recovered_tasks", "Tasks that a restart or a broken submit did not lose.", "how"
        )
        self.recoverable = self._gauge("recoverable_tasks", "Tasks to be had by a retry.")
        self.recoverable_oldest = self._gauge(
            "recoverable_oldest_seconds", "Age of the oldest edit to be had by a retry."
        )
        self.duplicates = self._counter(
            "duplicates_prevented", "Second tasks that were not made.", "how"
        )
        self.idempotency = self._counter(
            "idempotency_requests", "Requests with an Idempotency-Key.", "result"
        )

    def _self(self) -> None:
        self.build_info = self._gauge("build_info", "What runs.", "version", "commit", "python")
        self.config_info = self._gauge("config_info", "Which config it runs with.", "hash")
        self.ready = self._gauge("ready", "1: takes new edits.")
        self.draining = self._gauge("draining", "1: finishes what runs, takes nothing new.")
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "How late the event loop wakes a sleeper.",
            buckets.LOOP_LAG_SECONDS,
        )
        self.journal = self._gauge("journal_entries", "Edits in the ledger.", "state")
        self.log_lines_dropped = self._counter(
            "log_lines_dropped", "Log lines that nobody read in time."
        )
        self.overflow = self._counter(
            "metrics_label_overflow", "Label values outside their set.", "label"
        )

    def _counter(self, name: str, says: str, *labels: str) -> Children[Counter]:
        return Children(Counter(_PREFIX + name, says, labels, registry=self._registry))

    def _gauge(self, name: str, says: str, *labels: str) -> Children[Gauge]:
        return Children(Gauge(_PREFIX + name, says, labels, registry=self._registry))

    def _histogram(
        self, name: str, says: str, bounds: Sequence[float], *labels: str
    ) -> Children[Histogram]:
        return Children(
            Histogram(_PREFIX + name, says, labels, buckets=bounds, registry=self._registry)
        )
