from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from gateway.domain.errors import ContentRefused, UpstreamFailed
from gateway.domain.phases import Phase
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.observe import labels
from gateway.observe.labels import Configured, Price, configured
from gateway.observe.metrics import Metrics

_MODEL = "wan2.5-i2i-preview"
_NAMES = Configured(
    tenants=("acme",),
    regions=("beijing", "singapore"),
    models=(_MODEL,),
    upstreams=(("beijing", "beijing-main"), ("singapore", "sg-main")),
    accounts=("acme-cn",),
    prices={("beijing", _MODEL): Price(0.2, "CNY")},
)
_EDITS = "/v1/images/edits"


class World:
    """Metrics on a fresh registry, read as Prometheus would."""

    def __init__(self, names: Configured = _NAMES) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, names, commit="abc")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"wan_gateway_{name}", labels)


Told = Callable[[Metrics], object]


@pytest.mark.parametrize(
    ("tell", "name", "wanted", "value"),
    [
        pytest.param(
            lambda m: m.http_request_started(_EDITS),
            "http_requests_in_flight",
            {"route": _EDITS},
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
            lambda m: m.gateway_overhead(_EDITS, 0.002),
            "gateway_overhead_seconds_bucket",
            {"route": _EDITS, "le": "0.0025"},
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
            lambda m: m.queue_rejected("acme", "full"),
            "queue_rejections_total",
            {"tenant": "acme", "reason": "full"},
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
            lambda m: m.task_failed("beijing", _MODEL, ContentRefused("no")),
            "task_failures_total",
            {"region": "beijing", "model": _MODEL, "error_type": "content_policy"},
            1,
            id="task-failed",
        ),
        pytest.param(
            lambda m: m.phases_spent("beijing", _MODEL, {Phase.UPSTREAM_RUNNING: 42.0}),
            "task_phase_seconds_sum",
            {"phase": "upstream_running", "region": "beijing", "model": _MODEL},
            42,
            id="phases",
        ),
        pytest.param(
            lambda m: m.end_detected("beijing", _MODEL, 0.3),
            "poll_detection_lag_seconds_bucket",
            {"region": "beijing", "model": _MODEL, "le": "0.5"},
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
        pytest.param(
            lambda m: m.config_loaded("1f2e"), "config_info", {"hash": "1f2e"}, 1, id="config"
        ),
    ],
)
def test_what_is_told_is_counted(
    tell: Told, name: str, wanted: dict[str, str], value: float
) -> None:
    """Each thing told moves its own series."""
    world = World()

    tell(world.metrics)

    assert world.value(name, **wanted) == pytest.approx(value)


def test_a_request_from_head_to_last_byte() -> None:
    """A request that ended is in its counter and four histograms, and no longer in flight."""
    world = World()
    world.metrics.http_request_started(_EDITS)

    world.metrics.http_request_ended(_EDITS, "POST", 200, "acme", 61.0, 900_000, 2_000_000)

    code = {"route": _EDITS, "method": "POST", "code": "200", "tenant": "acme"}
    assert world.value("http_requests_total", **code) == 1
    assert world.value("http_requests_in_flight", route=_EDITS) == 0
    seconds = {"route": _EDITS, "code_class": "2xx"}
    assert world.value("http_request_duration_seconds_bucket", **seconds, le="60.0") == 0
    assert world.value("http_request_duration_seconds_bucket", **seconds, le="75.0") == 1
    assert world.value("http_request_body_bytes_sum", route=_EDITS) == 900_000
    assert world.value("http_response_body_bytes_sum", route=_EDITS) == 2_000_000


def test_a_task_moves_through_its_states() -> None:
    """A task is in one state at a time; an ended one is in none."""
    world = World()
    moves = [(None, "submitting"), ("submitting", "pending"), ("pending", "running")]

    for leaves, enters in [*moves, ("running", "succeeded"), ("succeeded", None)]:
        world.metrics.task_state("beijing", leaves, enters)

    for state in labels.TASK_STATES:
        assert world.value("tasks_in_flight", region="beijing", state=state) == 0


def test_a_task_that_ended() -> None:
    """A task's end is counted for its tenant and timed without it."""
    world = World()

    world.metrics.task_ended("acme", "beijing", _MODEL, "partial", 50)

    place = {"region": "beijing", "model": _MODEL, "outcome": "partial"}
    assert world.value("tasks_total", tenant="acme", **place) == 1
    assert world.value("task_duration_seconds_sum", **place) == 50


def test_only_made_pictures_cost() -> None:
    """Delivered and undelivered pictures are billed, failed ones are not."""
    world = World()

    for disposition in labels.DISPOSITIONS:
        world.metrics.pictures("acme", "beijing", _MODEL, disposition, 2)
    world.metrics.pictures("acme", "singapore", _MODEL, "delivered", 2)

    who = {"tenant": "acme", "region": "beijing", "model": _MODEL}
    assert world.value("images_total", **who, disposition="undelivered") == 2
    assert world.value("image_cost_estimate_total", **who, currency="CNY") == pytest.approx(0.8)
    sg = {"tenant": "acme", "region": "singapore", "model": _MODEL}
    assert world.value("images_total", **sg, disposition="delivered") == 2
    assert world.value("image_cost_estimate_total", **sg, currency="CNY") is None


def test_what_no_set_holds_becomes_other() -> None:
    """Nothing typed by a customer becomes a label; each overflow is counted."""
    world = World()

    world.metrics.http_request_ended("/etc/passwd", "BREW", 200, "sk-canary", 1, 1, 1)
    world.metrics.http_request_ended("_other", "_OTHER", 200, "_unknown", 1, 1, 1)
    world.metrics.pictures("nobody", "mars", "gpt-9", "eaten", 1)
    world.metrics.task_failed("mars", "gpt-9", UpstreamFailed("x"))

    said = {"route": "_other", "method": "_other", "code": "200", "tenant": "_unknown"}
    assert world.value("http_requests_total", **said) == 2
    assert world.value("metrics_label_overflow_total", label="route") == 1
    assert world.value("metrics_label_overflow_total", label="tenant") == 2
    assert world.value("metrics_label_overflow_total", label="region") == 2
    exposed = generate_latest(world.registry).decode()
    assert "canary" not in exposed
    assert "gpt-9" not in exposed
    assert "passwd" not in exposed


def test_rates_work_from_the_first_event() -> None:
    """Closed sets stand at 0 before anything happened; each key counts as up."""
    world = World()

    assert world.value("duplicates_prevented_total", how="ambiguous_found") == 0
    assert world.value("undelivered_tasks_total", reason="customer_left") == 0
    assert world.value("upstream_throttled_total", region="beijing", operation="poll") == 0
    assert world.value("tasks_in_flight", region="singapore", state="running") == 0
    assert world.value("upstream_key_up", region="singapore", key="sg-main") == 1
    assert world.value("metrics_label_overflow_total", label="tenant") == 0


def test_what_begins_with_its_first_event() -> None:
    """Only what would be most of the series is not there from the start."""
    later = {family.name for family in World().registry.collect() if not family.samples}

    assert {name.removeprefix("wan_gateway_") for name in later} == {
        *("http_requests", "http_late_errors", "queue_depth", "queue_rejections"),
        *("tasks", "images", "image_cost_estimate"),  # so far by tenant
        *("task_duration_seconds", "task_phase_seconds"),  # by outcome and phase
        *("http_request_body_bytes", "http_response_body_bytes"),
        "config_info",  # told by the app
    }


def test_there_are_no_exemplars() -> None:
    """OpenMetrics could carry ids of single edits; ours does not."""
    world = _busy(World())

    exposed = str(openmetrics(world.registry), "utf-8")  # type: ignore[no-untyped-call]  # untyped in its package

    assert exposed.endswith("# EOF\n")
    assert "wan_gateway_http_requests_total{" in exposed
    assert " # {" not in exposed


def test_process_and_build_are_exported() -> None:
    """The registry also tells memory, collections and what runs, without created stamps."""
    exposed = generate_latest(World().registry).decode()

    assert "process_resident_memory_bytes " in exposed
    assert "python_gc_collections_total" in exposed
    assert 'wan_gateway_build_info{commit="abc",' in exposed
    assert "_created" not in exposed


def test_no_histogram_knows_the_tenant() -> None:
    """200 tenants times 24 buckets would be thousands of series."""
    world = _busy(World())

    for family in world.registry.collect():
        if family.type == "histogram":
            assert all("tenant" not in sample.labels for sample in family.samples)


def test_series_stay_under_5000_at_200_tenants() -> None:
    """200 busy tenants that met every outcome and disposition make fewer than 5,000 series."""
    tenants = tuple(f"tenant-{nth}" for nth in range(200))
    prices = {(region, _MODEL): Price(0.2, "CNY") for region in _NAMES.regions}
    names = Configured(
        tenants, _NAMES.regions, (_MODEL,), _NAMES.upstreams, _NAMES.accounts, prices
    )

    world = _busy(World(names), tenants)

    series = sum(len(family.samples) for family in world.registry.collect())
    assert 3000 < series < 5000


def _busy(world: World, tenants: tuple[str, ...] = ("acme",)) -> World:
    metrics = world.metrics
    for nth, tenant in enumerate(tenants):
        region = _NAMES.regions[nth % 2]
        for code in (200, 400, 429, 503):
            metrics.http_request_started(_EDITS)
            metrics.http_request_ended(_EDITS, "POST", code, tenant, 1, 1, 1)
        for outcome in labels.OUTCOMES:
            metrics.task_ended(tenant, region, _MODEL, outcome, 1)
        for disposition in labels.DISPOSITIONS:
            metrics.pictures(tenant, region, _MODEL, disposition, 1)
        for reason in ("full", "deadline"):
            metrics.queue_rejected(tenant, reason)
        metrics.queued(region, tenant, 1)
        metrics.phases_spent(region, _MODEL, dict.fromkeys(Phase, 1.0))
        metrics.end_detected(region, _MODEL, 1)
        for operation in labels.OPERATIONS:
            for status in ("200", "429", "500", "error"):
                metrics.upstream_call(region, operation, status, 1)
    metrics.http_request_ended("/healthz", "GET", 200, "_unknown", 1, 1, 1)
    metrics.http_request_ended("/metrics", "GET", 200, "_unknown", 1, 1, 1)
    metrics.client_patience(60)
    metrics.event_loop_lag(0.1)
    return world


def test_names_are_read_off_the_config() -> None:
    """Tenants, regions, upstreams and accounts come from the nouns of the config."""
    region = Region("beijing", "https://x.test", ())
    main = Upstream("main", region, Account("acme-cn", "beijing"), "sk-1")
    tenants = [Tenant("b", "beijing", (main,)), Tenant("a", "beijing", (main,))]

    names = configured(tenants, (_MODEL,))

    assert names == Configured(
        ("a", "b"), ("beijing",), (_MODEL,), (("beijing", "main"),), ("acme-cn",)
    )
