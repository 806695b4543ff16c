from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway.commands.demo_scores import counters, moved, states


def _exposition(asked: int, failed: int = 0, downloading: int = 0) -> str:
    registry = CollectorRegistry()
    edits = Counter("wan_gateway_edits", "Edits.", ["tenant", "outcome"], registry=registry)
    edits.labels("acme", "ok").inc(asked)
    edits.labels("acme", "failed").inc(failed)
    http = Counter("wan_gateway_http", "Requests.", ["route"], registry=registry)
    http.labels("/metrics").inc(asked)
    Counter("wan_gateway_plain", "No labels.", registry=registry).inc(asked)
    Counter("python_gc", "Not ours.", registry=registry).inc(asked)
    Histogram("wan_gateway_seconds", "No counter.", registry=registry).observe(asked)
    tasks = Gauge("wan_gateway_tasks_in_flight", "Tasks.", ["region", "state"], registry=registry)
    tasks.labels("beijing", "running").set(1)
    tasks.labels("beijing", "pending").set(0)
    tasks.labels("singapore", "downloading").set(downloading)
    return generate_latest(registry).decode()


def test_only_our_counters_count() -> None:
    """Histograms, gauges and the runtime's own numbers are left out; so is our own reading."""
    assert counters(_exposition(2)) == {
        'wan_gateway_edits_total{outcome="ok",tenant="acme"}': 2,
        'wan_gateway_edits_total{outcome="failed",tenant="acme"}': 0,
        "wan_gateway_plain_total": 2,
    }


def test_only_what_moved_is_told() -> None:
    """A counter that stood still takes no line."""
    gains = moved(counters(_exposition(2)), counters(_exposition(5)))

    assert gains == [
        '+3  wan_gateway_edits_total{outcome="ok",tenant="acme"}',
        "+3  wan_gateway_plain_total",
    ]


def test_a_new_series_began_at_nothing() -> None:
    """A series that was not there before counts from 0."""
    assert moved({}, {"wan_gateway_plain_total": 1.0}) == ["+1  wan_gateway_plain_total"]


def test_states_are_those_with_tasks() -> None:
    """A region without a task in a state does not have that state."""
    assert states(_exposition(1)) == {"beijing": "running"}
    assert states(_exposition(1, downloading=1)) == {
        "beijing": "running",
        "singapore": "downloading",
    }
