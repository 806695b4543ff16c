"""What the demo shows, and how it runs the gateway."""

import io
import socket

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway.commands.demo_run import Progress, _serve, changes, counters, states


class FakeServer:
    """A server that has ended, whether it ever began or not."""

    def __init__(self, *, started: bool) -> None:
        self.started = started

    def run(self, sockets: list[socket.socket]) -> None:
        pass


def test_a_gateway_that_does_not_start_ends_the_demo() -> None:
    """Nobody waits for a gateway that is not there."""
    with socket.socket() as listener, pytest.raises(RuntimeError, match="did not start"):
        _serve(FakeServer(started=False), listener)


def test_a_gateway_that_was_stopped_ends_well() -> None:
    """The demo's end is no fault."""
    with socket.socket() as listener:
        _serve(FakeServer(started=True), listener)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_for_each_change() -> None:
    """A log is not filled with a line each second."""
    pipe = io.StringIO()
    progress = Progress(pipe)

    progress.show(0.2, {})
    progress.show(1.2, {"singapore": "pending", "beijing": "running"})
    progress.show(2.2, {"beijing": "running", "singapore": "pending"})
    progress.show(3.2, {"beijing": "downloading"})
    progress.end()

    assert pipe.getvalue() == (
        "    0 s  waiting\n"
        "    1 s  beijing running, singapore pending\n"
        "    3 s  beijing downloading\n"
    )


def test_a_terminal_gets_one_line_rewritten() -> None:
    """On a terminal the line counts the seconds in place, and is left in the end."""
    terminal = FakeTerminal()
    progress = Progress(terminal)

    progress.show(1, {"beijing": "running"})
    progress.show(2, {"beijing": "running"})
    progress.end()

    first, second = f"{'    1 s  beijing running':<78}", f"{'    2 s  beijing running':<78}"
    assert terminal.getvalue() == f"\r{first}\r{second}\n"


def _exposition(requests: int, failed: int = 0, downloading: int = 0) -> str:
    registry = CollectorRegistry()
    edits = Counter("wan_gateway_edits", "Edits.", ["tenant", "outcome"], registry=registry)
    edits.labels("acme", "ok").inc(requests)
    edits.labels("acme", "failed").inc(failed)
    http = Counter("wan_gateway_http", "Requests.", ["route"], registry=registry)
    http.labels("/metrics").inc(requests)
    Counter("wan_gateway_plain", "No labels.", registry=registry).inc(requests)
    Counter("python_gc", "Not ours.", registry=registry).inc(requests)
    Histogram("wan_gateway_seconds", "No counter.", registry=registry).observe(requests)
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


def test_only_counters_that_changed_are_shown() -> None:
    """A counter that did not change takes no line."""
    gains = changes(counters(_exposition(2)), counters(_exposition(5)))

    assert gains == [
        '+3  wan_gateway_edits_total{outcome="ok",tenant="acme"}',
        "+3  wan_gateway_plain_total",
    ]


def test_a_new_series_began_at_nothing() -> None:
    """A series that was not there before counts from 0."""
    assert changes({}, {"wan_gateway_plain_total": 1.0}) == ["+1  wan_gateway_plain_total"]


def test_states_are_those_with_tasks() -> None:
    """A region without a task in a state does not have that state."""
    assert states(_exposition(1)) == {"beijing": "running"}
    assert states(_exposition(1, downloading=1)) == {
        "beijing": "running",
        "singapore": "downloading",
    }
