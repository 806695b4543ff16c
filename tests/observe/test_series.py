"""Which series there are: from the first event on, how many at most, and of whom they tell."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from gateway.config import config_from_environ
from gateway.domain.clock import Phase
from gateway.domain.errors import UpstreamFailed
from gateway.domain.price import Price
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.observe.metrics import ConfiguredNames, Metrics, configured_names
from tests.observe.exposition import EDITS, MODEL, NAMES, ExposedMetrics


def test_what_no_set_holds_becomes_other() -> None:
    """Nothing typed by a client becomes a label; each overflow is counted."""
    exposed = ExposedMetrics()

    exposed.metrics.http_request_ended("/etc/passwd", "BREW", 200, "sk-canary", 1, 1, 1)
    exposed.metrics.http_request_ended("_other", "_OTHER", 200, "_unknown", 1, 1, 1)
    exposed.metrics.pictures("nobody", "mars", "gpt-9", "eaten", 1)
    exposed.metrics.task_failed("mars", "gpt-9", UpstreamFailed("x"))

    fields = {"route": "_other", "method": "_other", "code": "200", "tenant": "_unknown"}
    assert exposed.value("http_requests_total", **fields) == 2
    assert exposed.value("metrics_label_overflow_total", label="route") == 1
    assert exposed.value("metrics_label_overflow_total", label="tenant") is None
    assert exposed.value("metrics_label_overflow_total", label="region") == 2
    text = generate_latest(exposed.registry).decode()
    assert "canary" not in text
    assert "gpt-9" not in text
    assert "passwd" not in text


def test_rates_work_from_the_first_event() -> None:
    """Closed sets stand at 0 before anything happened; each key counts as up."""
    exposed = ExposedMetrics()

    assert exposed.value("duplicates_prevented_total", how="ambiguous_found") == 0
    assert exposed.value("undelivered_tasks_total", reason="expired") == 0
    assert exposed.value("upstream_throttled_total", region="beijing", operation="poll") == 0
    assert exposed.value("tasks_in_flight", region="singapore", state="running") == 0
    assert exposed.value("upstream_key_up", region="singapore", key="sg-main") == 1
    assert exposed.value("metrics_label_overflow_total", label="phase") == 0


def test_what_begins_with_its_first_event() -> None:
    """Only what would be most of the series is not there from the start."""
    later = {family.name for family in ExposedMetrics().registry.collect() if not family.samples}

    assert {name.removeprefix("wan_gateway_") for name in later} == {
        *("task_duration_seconds", "task_phase_seconds"),  # by outcome and phase
        *("http_request_body_bytes", "http_response_body_bytes"),
        "shard_held",  # of its owner only, so that it can be summed over nodes
    }


def test_there_are_no_exemplars() -> None:
    """OpenMetrics could carry ids of single edits; ours does not."""
    exposed = _busy(ExposedMetrics())

    text = str(openmetrics(exposed.registry), "utf-8")  # type: ignore[no-untyped-call]  # untyped in its package

    assert text.endswith("# EOF\n")
    assert "wan_gateway_http_requests_total{" in text
    assert " # {" not in text


def test_process_and_build_are_exported() -> None:
    """The registry also tells memory, collections and what runs, without created stamps."""
    text = generate_latest(ExposedMetrics().registry).decode()

    assert "process_resident_memory_bytes " in text
    assert "python_gc_collections_total" in text
    assert 'wan_gateway_build_info{python="' in text
    assert "_created" not in text


def test_no_histogram_knows_the_tenant() -> None:
    """200 tenants times 24 buckets would be thousands of series."""
    exposed = _busy(ExposedMetrics())

    for family in exposed.registry.collect():
        if family.type == "histogram":
            assert all("tenant" not in sample.labels for sample in family.samples)


def test_series_stay_under_5000_at_200_tenants() -> None:
    """200 busy tenants that met every outcome and disposition make fewer than 5,000 series."""
    tenants = tuple(f"tenant-{nth}" for nth in range(200))
    prices = {(region, MODEL): Price(0.2, "CNY") for region in NAMES.regions}
    names = ConfiguredNames(
        tenants, NAMES.regions, (MODEL,), NAMES.upstreams, NAMES.accounts, prices
    )

    exposed = _busy(ExposedMetrics(names), tenants)

    series = sum(len(family.samples) for family in exposed.registry.collect())
    assert 3000 < series < 5000


def _busy(exposed: ExposedMetrics, tenants: tuple[str, ...] = ("acme",)) -> ExposedMetrics:
    metrics = exposed.metrics
    for nth, tenant in enumerate(tenants):
        region = NAMES.regions[nth % 2]
        for code in (200, 400, 429, 503):
            metrics.http_request_started(EDITS)
            metrics.http_request_ended(EDITS, "POST", code, tenant, 1, 1, 1)
        for outcome in exposed.labels("tasks")["outcome"]:
            metrics.task_ended(tenant, region, MODEL, outcome, 1)
        for disposition in exposed.labels("images")["disposition"]:
            metrics.pictures(tenant, region, MODEL, disposition, 1)
        for reason in ("tenant_limit", "deadline"):
            metrics.queue_rejected(tenant, reason)
        metrics.queued(region, tenant, 1)
        metrics.phases_spent(region, MODEL, dict.fromkeys(Phase, 1.0))
        metrics.end_detected(region, MODEL, 1)
        for operation in exposed.labels("upstream_requests")["operation"]:
            for status in ("200", "429", "500", "error"):
                metrics.upstream_call(region, operation, status, 1)
    metrics.http_request_ended("/healthz", "GET", 200, "_unknown", 1, 1, 1)
    metrics.http_request_ended("/metrics", "GET", 200, "_unknown", 1, 1, 1)
    metrics.client_patience(60)
    metrics.event_loop_lag(0.1)
    return exposed


def test_names_are_read_off_the_config() -> None:
    """Tenants, regions, upstreams and accounts come from the nouns of the config."""
    region = Region("beijing", "https://x.test", ())
    main = Upstream("main", region, Account("acme-cn", "beijing"), "sk-1")
    tenants = [Tenant("b", "beijing", (main,)), Tenant("a", "beijing", (main,))]

    names = configured_names(tenants, (MODEL,))

    assert names == ConfiguredNames(
        ("a", "b"), ("beijing",), (MODEL,), (("beijing", "main"),), ("acme-cn",)
    )


def test_what_has_a_tenant_begins_at_0() -> None:
    """Pictures, cost, tasks, refusals and answers of each tenant count from the first one on."""
    names = ConfiguredNames(
        ("acme", "beta"),
        NAMES.regions,
        (MODEL,),
        NAMES.upstreams,
        prices={(region, MODEL): Price(0.2, "CNY") for region in NAMES.regions},
        region_of={"acme": "beijing", "beta": "singapore"},
    )
    exposed = ExposedMetrics(names)

    for tenant, region in names.region_of.items():
        who = {"tenant": tenant, "region": region, "model": MODEL}
        for outcome in exposed.labels("tasks")["outcome"]:
            assert exposed.value("tasks_total", **who, outcome=outcome) == 0
        for disposition in exposed.labels("images")["disposition"]:
            assert exposed.value("images_total", **who, disposition=disposition) == 0
        assert exposed.value("image_cost_estimate_total", **who, currency="CNY") == 0
        for reason in exposed.labels("queue_rejections")["reason"]:
            assert exposed.value("queue_rejections_total", tenant=tenant, reason=reason) == 0
        for code in ("200", "500", "503"):
            fields = {"route": EDITS, "method": "POST", "code": code, "tenant": tenant}
            assert exposed.value("http_requests_total", **fields) == 0
    elsewhere = {"tenant": "acme", "region": "singapore", "model": MODEL}
    assert exposed.value("images_total", **elsewhere, disposition="delivered") is None


def test_many_tenants_begin_with_their_first_edit() -> None:
    """What an edit's end will count stands at 0 from its beginning on, if not from the start."""
    names = ConfiguredNames(
        tuple(map(str, range(200))), ("beijing",), (MODEL,), prices=NAMES.prices
    )
    exposed = ExposedMetrics(names)
    who = {"tenant": "7", "region": "beijing", "model": MODEL}

    before = exposed.value("images_total", **who, disposition="delivered")
    exposed.metrics.edit_begun("7", "beijing", MODEL)

    assert before is None
    assert exposed.value("images_total", **who, disposition="delivered") == 0
    assert exposed.value("tasks_total", **who, outcome="succeeded") == 0
    assert exposed.value("image_cost_estimate_total", **who, currency="CNY") == 0


def test_models_that_nobody_uses_yet_have_no_series() -> None:
    """Only those that are a tenant's default are there from the start; the others come."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-1"})
    names = configured_names(config.tenants.values(), config.models.by_name)
    registry = CollectorRegistry()

    metrics = Metrics(registry, names)
    before = generate_latest(registry).decode()
    metrics.edit_begun("default", "beijing", "wan2.7-image")

    assert 'model="wan2.5-i2i-preview"' in before
    assert "wan2.7-image" not in before
    assert 'model="wan2.7-image"' in generate_latest(registry).decode()
