"""gateway.observe.metrics: each event is counted, in its own series."""

from collections.abc import Callable

import pytest

from gateway.domain.clock import Phase
from gateway.domain.errors import ContentRefused
from gateway.domain.price import Bill
from gateway.observe.metrics import Metrics
from tests.observe.exposition import EDITS, MODEL, ExposedMetrics

Event = Callable[[Metrics], object]


@pytest.mark.parametrize(
    ("count", "name", "labels", "value"),
    [
        pytest.param(
            lambda m: m.http_request_started(EDITS),
            "http_requests_in_flight",
            {"route": EDITS},
            1,
            id="started",
        ),
        pytest.param(
            lambda m: m.http_late_error(503, "acme"),
            "http_late_errors_total",
            {"code": "503", "tenant": "acme"},
            1,
            id="late-error",
        ),
        pytest.param(
            lambda m: m.client_disconnected("polling"),
            "client_disconnects_total",
            {"phase": "polling"},
            1,
            id="disconnect",
        ),
        pytest.param(
            lambda m: m.client_retry(7), "client_retries_total", {"attempt": "3+"}, 1, id="retry-7"
        ),
        pytest.param(
            lambda m: m.client_retry(2), "client_retries_total", {"attempt": "2"}, 1, id="retry-2"
        ),
        pytest.param(
            lambda m: m.client_patience(59),
            "client_patience_seconds_bucket",
            {"le": "60.0"},
            1,
            id="patience",
        ),
        pytest.param(
            lambda m: m.gateway_overhead(EDITS, 0.002),
            "gateway_overhead_seconds_bucket",
            {"route": EDITS, "le": "0.0025"},
            1,
            id="overhead",
        ),
        pytest.param(
            lambda m: [m.queued("beijing", "acme", 3), m.queued("beijing", "acme", -1)],
            "queue_depth",
            {"region": "beijing", "tenant": "acme"},
            2,
            id="queued",
        ),
        pytest.param(
            lambda m: m.queue_oldest("beijing", 4.5),
            "queue_oldest_wait_seconds",
            {"region": "beijing"},
            4.5,
            id="oldest",
        ),
        pytest.param(
            lambda m: m.queue_waited("beijing", 3),
            "queue_wait_seconds_sum",
            {"region": "beijing"},
            3,
            id="waited",
        ),
        pytest.param(
            lambda m: m.queue_rejected("acme", "tenant_limit"),
            "queue_rejections_total",
            {"tenant": "acme", "reason": "tenant_limit"},
            1,
            id="rejected",
        ),
        pytest.param(
            lambda m: [m.inflight_bytes(10), m.inflight_bytes(-4)],
            "inflight_body_bytes",
            {},
            6,
            id="bytes",
        ),
        pytest.param(
            lambda m: m.inflight_limit(99), "inflight_body_limit_bytes", {}, 99, id="limit"
        ),
        pytest.param(
            lambda m: m.task_failed("beijing", MODEL, ContentRefused("no")),
            "task_failures_total",
            {"region": "beijing", "model": MODEL, "error_type": "content_policy"},
            1,
            id="task-failed",
        ),
        pytest.param(
            lambda m: m.phases_spent("beijing", MODEL, {Phase.UPSTREAM_RUNNING: 42.0}),
            "task_phase_seconds_sum",
            {"phase": "upstream_running", "region": "beijing", "model": MODEL},
            42,
            id="phases",
        ),
        pytest.param(
            lambda m: m.end_detected("beijing", MODEL, 0.3),
            "poll_detection_lag_seconds_bucket",
            {"region": "beijing", "model": MODEL, "le": "0.5"},
            1,
            id="lag",
        ),
        pytest.param(
            lambda m: m.polls_spent("beijing", 8),
            "polls_per_task_bucket",
            {"region": "beijing", "le": "8.0"},
            1,
            id="polls",
        ),
        pytest.param(
            lambda m: m.upstream_call("beijing", "poll", "200", 0.1),
            "upstream_requests_total",
            {"region": "beijing", "operation": "poll", "code": "200"},
            1,
            id="call",
        ),
        pytest.param(
            lambda m: m.upstream_call("beijing", "submit", "error", 7),
            "upstream_request_duration_seconds_sum",
            {"region": "beijing", "operation": "submit"},
            7,
            id="call-seconds",
        ),
        pytest.param(
            lambda m: m.upstream_retried("beijing", "download", "network"),
            "upstream_retries_total",
            {"region": "beijing", "operation": "download", "reason": "network"},
            1,
            id="retried",
        ),
        pytest.param(
            lambda m: m.upstream_throttled("beijing", "submit"),
            "upstream_throttled_total",
            {"region": "beijing", "operation": "submit"},
            1,
            id="throttled",
        ),
        pytest.param(
            lambda m: m.poll_budget_used("acme-cn", 0.4),
            "upstream_poll_budget_ratio",
            {"account": "acme-cn"},
            0.4,
            id="budget",
        ),
        pytest.param(
            lambda m: m.upstream_key("beijing", "beijing-main", up=False),
            "upstream_key_up",
            {"region": "beijing", "key": "beijing-main"},
            0,
            id="key-down",
        ),
        pytest.param(
            lambda m: m.intent_expired("beijing"),
            "intents_expired_total",
            {"region": "beijing"},
            1,
            id="intent-expired",
        ),
        pytest.param(
            lambda m: m.stray_task("beijing"),
            "stray_tasks_total",
            {"region": "beijing"},
            1,
            id="stray",
        ),
        pytest.param(
            lambda m: m.undelivered("expired"),
            "undelivered_tasks_total",
            {"reason": "expired"},
            1,
            id="undelivered",
        ),
        pytest.param(
            lambda m: m.recovered("task_followed"),
            "recovered_tasks_total",
            {"how": "task_followed"},
            1,
            id="recovered",
        ),
        pytest.param(lambda m: m.recoverable(3, 60), "recoverable_tasks", {}, 3, id="recoverable"),
        pytest.param(
            lambda m: m.recoverable(3, 60), "recoverable_oldest_seconds", {}, 60, id="their-age"
        ),
        pytest.param(
            lambda m: m.duplicate_prevented("retry_joined"),
            "duplicates_prevented_total",
            {"how": "retry_joined"},
            1,
            id="duplicate",
        ),
        pytest.param(
            lambda m: m.idempotency("replayed"),
            "idempotency_requests_total",
            {"result": "replayed"},
            1,
            id="idempotency",
        ),
        pytest.param(lambda m: m.ready(True), "ready", {}, 1, id="ready"),
        pytest.param(lambda m: m.draining(True), "draining", {}, 1, id="draining"),
        pytest.param(
            lambda m: m.event_loop_lag(0.02),
            "event_loop_lag_seconds_bucket",
            {"le": "0.025"},
            1,
            id="loop-lag",
        ),
        pytest.param(
            lambda m: m.journal_entries("open", 5),
            "journal_entries",
            {"state": "open"},
            5,
            id="journal",
        ),
        pytest.param(lambda _: None, "config_info", {"hash": "1f2e"}, 1, id="config"),
    ],
)
def test_each_event_is_counted(
    count: Event, name: str, labels: dict[str, str], value: float
) -> None:
    """Each event changes its own series."""
    exposed = ExposedMetrics()

    count(exposed.metrics)

    assert exposed.value(name, **labels) == pytest.approx(value)


def test_a_request_from_head_to_last_byte() -> None:
    """A request that ended is in its counter and four histograms, and no longer in flight."""
    exposed = ExposedMetrics()
    exposed.metrics.http_request_started(EDITS)

    exposed.metrics.http_request_ended(EDITS, "POST", 200, "acme", 61.0, 900_000, 2_000_000)

    code = {"route": EDITS, "method": "POST", "code": "200", "tenant": "acme"}
    assert exposed.value("http_requests_total", **code) == 1
    assert exposed.value("http_requests_in_flight", route=EDITS) == 0
    seconds = {"route": EDITS, "code_class": "2xx"}
    assert exposed.value("http_request_duration_seconds_bucket", **seconds, le="60.0") == 0
    assert exposed.value("http_request_duration_seconds_bucket", **seconds, le="75.0") == 1
    assert exposed.value("http_request_body_bytes_sum", route=EDITS) == 900_000
    assert exposed.value("http_response_body_bytes_sum", route=EDITS) == 2_000_000


def test_a_task_moves_through_its_states() -> None:
    """A task is in one state at a time; an ended one is in none."""
    exposed = ExposedMetrics()
    moves = [(None, "submitting"), ("submitting", "pending"), ("pending", "running")]

    for leaves, enters in [*moves, ("running", "succeeded"), ("succeeded", None)]:
        exposed.metrics.task_state("beijing", leaves, enters)

    for state in exposed.labels("tasks_in_flight")["state"]:
        assert exposed.value("tasks_in_flight", region="beijing", state=state) == 0


def test_a_task_that_ended() -> None:
    """The end of a task is counted for its tenant, and its duration without the tenant."""
    exposed = ExposedMetrics()

    exposed.metrics.task_ended("acme", "beijing", MODEL, "partial", 50)

    labels = {"region": "beijing", "model": MODEL, "outcome": "partial"}
    assert exposed.value("tasks_total", tenant="acme", **labels) == 1
    assert exposed.value("task_duration_seconds_sum", **labels) == 50


def test_tasks_cost() -> None:
    """What a task costs is counted by its bill, apart from what becomes of its pictures."""
    exposed = ExposedMetrics()

    exposed.metrics.task_billed("acme", "beijing", MODEL, Bill((None, None)))
    exposed.metrics.task_billed("acme", "beijing", MODEL, Bill((None, None), inputs=3))
    exposed.metrics.task_billed("acme", "singapore", MODEL, Bill((None,)))
    exposed.metrics.pictures("acme", "beijing", MODEL, "undelivered", 2)

    who = {"tenant": "acme", "region": "beijing", "model": MODEL}
    assert exposed.value("images_total", **who, disposition="undelivered") == 2
    assert exposed.value("image_cost_estimate_total", **who, currency="CNY") == pytest.approx(0.8)
    sg = {"tenant": "acme", "region": "singapore", "model": MODEL}
    assert exposed.value("image_cost_estimate_total", **sg, currency="CNY") is None
