"""Which series there are: from the first event on, how many at most, and of whom they tell."""

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from gateway.domain.errors import UpstreamFailed
from gateway.domain.models import MODELS
from gateway.domain.phases import Phase
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.observe import labels
from gateway.observe.labels import Configured, Price, configured
from gateway.observe.prices import PRICES
from tests.observe.exposition import EDITS, MODEL, NAMES, World


def test_what_no_set_holds_becomes_other() -> None:
    """Nothing typed by a client becomes a label; each overflow is counted."""
    world = World()

    world.metrics.http_request_ended("/etc/passwd", "BREW", 200, "sk-canary", 1, 1, 1)
    world.metrics.http_request_ended("_other", "_OTHER", 200, "_unknown", 1, 1, 1)
    world.metrics.pictures("nobody", "mars", "gpt-9", "eaten", 1)
    world.metrics.task_failed("mars", "gpt-9", UpstreamFailed("x"))

    said = {"route": "_other", "method": "_other", "code": "200", "tenant": "_unknown"}
    assert world.value("http_requests_total", **said) == 2
    assert world.value("metrics_label_overflow_total", label="route") == 1
    assert world.value("metrics_label_overflow_total", label="tenant") == 0
    assert world.value("metrics_label_overflow_total", label="region") == 2
    exposed = generate_latest(world.registry).decode()
    assert "canary" not in exposed
    assert "gpt-9" not in exposed
    assert "passwd" not in exposed


def test_rates_work_from_the_first_event() -> None:
    """Closed sets stand at 0 before anything happened; each key counts as up."""
    world = World()

    assert world.value("duplicates_prevented_total", how="ambiguous_found") == 0
    assert world.value("undelivered_tasks_total", reason="expired") == 0
    assert world.value("upstream_throttled_total", region="beijing", operation="poll") == 0
    assert world.value("tasks_in_flight", region="singapore", state="running") == 0
    assert world.value("upstream_key_up", region="singapore", key="sg-main") == 1
    assert world.value("metrics_label_overflow_total", label="tenant") == 0


def test_what_begins_with_its_first_event() -> None:
    """Only what would be most of the series is not there from the start."""
    later = {family.name for family in World().registry.collect() if not family.samples}

    assert {name.removeprefix("wan_gateway_") for name in later} == {
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
    prices = {(region, MODEL): Price(0.2, "CNY") for region in NAMES.regions}
    names = Configured(tenants, NAMES.regions, (MODEL,), NAMES.upstreams, NAMES.accounts, prices)

    world = _busy(World(names), tenants)

    series = sum(len(family.samples) for family in world.registry.collect())
    assert 3000 < series < 5000


def _busy(world: World, tenants: tuple[str, ...] = ("acme",)) -> World:
    metrics = world.metrics
    for nth, tenant in enumerate(tenants):
        region = NAMES.regions[nth % 2]
        for code in (200, 400, 429, 503):
            metrics.http_request_started(EDITS)
            metrics.http_request_ended(EDITS, "POST", code, tenant, 1, 1, 1)
        for outcome in labels.OUTCOMES:
            metrics.task_ended(tenant, region, MODEL, outcome, 1)
        for disposition in labels.DISPOSITIONS:
            metrics.pictures(tenant, region, MODEL, disposition, 1)
        for reason in ("tenant_limit", "deadline"):
            metrics.queue_rejected(tenant, reason)
        metrics.queued(region, tenant, 1)
        metrics.phases_spent(region, MODEL, dict.fromkeys(Phase, 1.0))
        metrics.end_detected(region, MODEL, 1)
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

    names = configured(tenants, (MODEL,))

    assert names == Configured(
        ("a", "b"), ("beijing",), (MODEL,), (("beijing", "main"),), ("acme-cn",)
    )


def test_what_has_a_tenant_begins_at_0() -> None:
    """Pictures, cost, tasks, refusals and answers of each tenant count from the first one on."""
    names = Configured(
        ("acme", "beta"),
        NAMES.regions,
        (MODEL,),
        NAMES.upstreams,
        prices={(region, MODEL): Price(0.2, "CNY") for region in NAMES.regions},
        homes={"acme": "beijing", "beta": "singapore"},
    )
    world = World(names)

    for tenant, region in names.homes.items():
        who = {"tenant": tenant, "region": region, "model": MODEL}
        for outcome in labels.OUTCOMES:
            assert world.value("tasks_total", **who, outcome=outcome) == 0
        for disposition in labels.DISPOSITIONS:
            assert world.value("images_total", **who, disposition=disposition) == 0
        assert world.value("image_cost_estimate_total", **who, currency="CNY") == 0
        for reason in labels.REJECTIONS:
            assert world.value("queue_rejections_total", tenant=tenant, reason=reason) == 0
        for code in ("200", "500", "503"):
            said = {"route": EDITS, "method": "POST", "code": code, "tenant": tenant}
            assert world.value("http_requests_total", **said) == 0
    elsewhere = {"tenant": "acme", "region": "singapore", "model": MODEL}
    assert world.value("images_total", **elsewhere, disposition="delivered") is None


def test_many_tenants_begin_with_their_first_edit() -> None:
    """What an edit's end will count stands at 0 from its beginning on, if not from the start."""
    names = Configured(tuple(map(str, range(200))), ("beijing",), (MODEL,), prices=NAMES.prices)
    world = World(names)
    who = {"tenant": "7", "region": "beijing", "model": MODEL}

    before = world.value("images_total", **who, disposition="delivered")
    world.metrics.edit_begun("7", "beijing", MODEL)

    assert before is None
    assert world.value("images_total", **who, disposition="delivered") == 0
    assert world.value("tasks_total", **who, outcome="succeeded") == 0
    assert world.value("image_cost_estimate_total", **who, currency="CNY") == 0


def test_every_model_has_a_price() -> None:
    """No picture of a model in the table is made without its cost being estimated."""
    for model in MODELS:
        assert PRICES["beijing", model].currency == "CNY"
        assert PRICES["singapore", model].currency == "USD"
