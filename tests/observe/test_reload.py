"""What a reload does to the metrics: names come, and those that go are still counted."""

from dataclasses import replace

from gateway.domain.price import Bill, Price
from tests.observe.exposition import EDITS, MODEL, NAMES, ExposedMetrics

WIDER = replace(
    NAMES,
    tenants=("acme", "initech"),
    regions=("beijing", "singapore", "virginia"),
    models=(MODEL, "wan9"),
    upstreams=(("beijing", "beijing-main"), ("virginia", "us-main")),
    accounts=("acme-cn", "us"),
    prices={("virginia", "wan9"): Price(0.1, "USD")},
)


def test_new_names_are_labels() -> None:
    """Tenants, regions, models, keys, accounts and currencies of the new config are counted."""
    exposed = ExposedMetrics()

    exposed.metrics.config_reloaded(WIDER, "2a3b")
    exposed.metrics.pictures("initech", "virginia", "wan9", "delivered", 2)
    exposed.metrics.task_billed("initech", "virginia", "wan9", Bill((None, None)))
    exposed.metrics.poll_budget_used("us", 0.5)
    exposed.metrics.http_request_ended(EDITS, "POST", 200, "initech", 1, 1, 1)

    new = {"tenant": "initech", "region": "virginia", "model": "wan9"}
    assert exposed.value("images_total", **new, disposition="delivered") == 2
    assert exposed.value("image_cost_estimate_total", **new, currency="USD") == 0.2
    assert exposed.value("upstream_poll_budget_ratio", account="us") == 0.5
    assert exposed.value("upstream_key_up", region="virginia", key="us-main") == 1
    code = {"route": EDITS, "method": "POST", "code": "200", "tenant": "initech"}
    assert exposed.value("http_requests_total", **code) == 1
    assert exposed.value("metrics_label_overflow_total", label="region") == 0


def test_rates_of_new_names_work_from_the_first_event() -> None:
    """The series of a new tenant and region stand at 0."""
    exposed = ExposedMetrics()

    exposed.metrics.config_reloaded(WIDER, "2a3b")

    code = {"route": EDITS, "method": "POST", "code": "200", "tenant": "initech"}
    assert exposed.value("http_requests_total", **code) == 0
    throttled = {"region": "virginia", "operation": "poll"}
    assert exposed.value("upstream_throttled_total", **throttled) == 0


def test_old_names_are_counted_on() -> None:
    """The edits of a tenant that is gone still end; a key that is gone is not shown as down."""
    exposed = ExposedMetrics()
    exposed.metrics.upstream_key("singapore", "sg-main", up=False)

    exposed.metrics.config_reloaded(replace(NAMES, tenants=(), upstreams=()), "2a3b")
    exposed.metrics.pictures("acme", "beijing", MODEL, "delivered", 1)

    old = {"tenant": "acme", "region": "beijing", "model": MODEL, "disposition": "delivered"}
    assert exposed.value("images_total", **old) == 1
    assert exposed.value("upstream_key_up", region="singapore", key="sg-main") is None
    assert exposed.value("upstream_key_up", region="beijing", key="beijing-main") is None


def test_a_key_that_was_never_shown() -> None:
    """To remove what is not there harms nothing."""
    exposed = ExposedMetrics()
    exposed.metrics.config_reloaded(replace(NAMES, upstreams=()), "2a3b")
    exposed.metrics.config_reloaded(NAMES, "3c4d")
    exposed.metrics.config_reloaded(NAMES, "3c4d")

    assert exposed.value("upstream_key_up", region="beijing", key="beijing-main") == 1


def test_too_many_tenants() -> None:
    """Where their series would be too many, those of a new one begin with its first event."""
    many = replace(NAMES, tenants=tuple(f"t{i}" for i in range(200)))
    exposed = ExposedMetrics(many)

    exposed.metrics.config_reloaded(replace(many, tenants=(*many.tenants, "new")), "2a3b")

    code = {"route": EDITS, "method": "POST", "code": "200", "tenant": "new"}
    assert exposed.value("http_requests_total", **code) is None


def test_the_hash_and_the_counters() -> None:
    """One hash is shown; a refusal is counted and shown until a reload succeeds."""
    exposed = ExposedMetrics()
    exposed.metrics.config_loaded(1000.0)

    exposed.metrics.config_reload_failed()
    failed = exposed.value("config_last_reload_successful")
    exposed.metrics.config_reloaded(NAMES, "2a3b")
    exposed.metrics.config_loaded(2000.0)

    assert failed == 0
    assert exposed.value("config_last_reload_successful") == 1
    assert exposed.value("config_last_reload_success_timestamp_seconds") == 2000.0
    assert exposed.value("config_reloads_total", result="failure") == 1
    assert exposed.value("config_reloads_total", result="success") == 1
    assert exposed.value("config_info", hash="1f2e") is None
    assert exposed.value("config_info", hash="2a3b") == 1


def test_a_series_is_removed_once() -> None:
    """What has no series, as a key that was never used, is removed without an error."""
    exposed = ExposedMetrics()
    (keys,) = (it for it in exposed.metrics.families if it.name == "upstream_key_up")

    for _ in range(2):
        keys.remove("beijing", "beijing-main")

    assert exposed.value("upstream_key_up", region="beijing", key="beijing-main") is None
