from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from gateway.commands import top_screen
from gateway.commands.top import Update
from gateway.commands.top_screen import bar, open_screen, safe, screen, short
from tests.downstream.harness import FakeClock

EDIT = {
    "edit_id": "edit_0123456789abcdef",
    "tenant": "acme",
    "region": "beijing",
    "accounts": ["acme-cn"],
    "model": "wan2.5-i2i-preview",
    "pictures": 2,
    "stage": "running",
    "clients": 1,
    "since": 80.0,
    "phases": [["queue", 80.0], ["submit", 90.0], ["upstream_running", 91.0]],
    "tasks": ["task-1"],
    "polls": 3,
}
WAITING = {**EDIT, "accounts": [], "stage": "waiting", "pictures": 1, "phases": []}
KEPT = {**EDIT, "stage": "kept", "clients": 0, "tenant": "studio"}
BUDGET = {"per_second": 20, "used": 0.25, "factor": 1.0}
ACCOUNT = {
    "name": "acme-cn",
    "region": "beijing",
    "taken": 6,
    "running_tasks": 5,
    "pending_ahead": 1,
    "waiting": 3,
    "typical": 45.0,
    "submits": {**BUDGET, "factor": 0.5},
    "polls": BUDGET,
    "keys": [
        {"name": "old", "state": "rests", "reason": "InvalidApiKey", "until": 140.0},
        {"name": "odd", "state": "doubted", "reason": "Arrearage", "until": 1.0},
        {"name": "new", "state": "works", "reason": "", "until": 0.0},
    ],
}
END = {
    "at": 99.0,
    "edit_id": "edit_fedcba9876543210",
    "tenant": "acme",
    "region": "beijing",
    "accounts": ["acme-cn"],
    "code": 200,
    "outcome": "ok",
    "upstream_code": "",
    "seconds": 40.0,
    "phases": [["queue", 10.0], ["upstream_running", 30.0]],
}
REFUSED = {**END, "edit_id": "", "accounts": [], "code": 400, "outcome": "invalid_value"}
FAILED = {**END, "code": 500, "outcome": "upstream_failed", "upstream_code": "InternalError"}
LEFT = {**END, "code": 0, "outcome": "customer_left", "phases": []}


def some(*rows: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    return {"rows": list(rows), "total": len(rows) if total is None else total}


def state(**changes: Any) -> dict[str, Any]:
    service = {
        "running": some(EDIT),
        "waiting": some(WAITING, total=9_000),
        "kept": some(KEPT),
        "accounts": some(ACCOUNT),
        "tenants": some(),
    }
    return {
        "now": 100.0,
        "version": "1",
        "draining": False,
        "bytes": {"held": 2_500_000, "limit": 512_000_000},
        "answered": some(END, REFUSED, FAILED, LEFT),
        "thumbnails": [],
        "edits": service,
        **changes,
    }


def text(update: Update, now: float = 10.0, rows: int | None = None) -> str:
    console = Console(file=StringIO(), width=150, force_terminal=False)
    console.print(screen(update, now, rows))
    written = console.file
    assert isinstance(written, StringIO)
    return written.getvalue()


def test_everything() -> None:
    """A screen holds what the page holds: totals, accounts, keys, edits, ends."""
    content = text(Update("http://gw", state(), received_at=10.0))

    for words in (
        "http://gw  live",
        "1 running, 9000 waiting, 1 not fetched yet, 4 answered, 2.5 of 512 MB in flight",
        "6/5+1",
        "25% of 10/s",
        "old suspended: InvalidApiKey, for another 40 s",
        "odd in doubt: Arrearage",
        "0123456789ab",
        "acme ×2",
        "running upstream",
        "Waiting · 1 of 9000",
        "Made, not fetched yet",
        "200 ok",
        "400 invalid_value",
        "500 upstream_failed: InternalError",
        "customer_left",
        "refused",
    ):
        assert words in content


def test_time_goes_on() -> None:
    """Between two states the seconds of an edit go on by our own clock."""
    update = Update("http://gw", state(), received_at=10.0)

    assert "20 s" in text(update, 10.0)
    assert "25 s" in text(update, 15.0)
    assert "3 min 20 s" in text(update, 190.0)


def test_nobody_there() -> None:
    """An edit without its client says so, and an idle gateway has no tables of edits."""
    service = {**state()["edits"], "running": some({**EDIT, "clients": 0})}
    idle = {**state()["edits"], "running": some(), "waiting": some(), "kept": some()}

    assert "no client connected" in text(Update("http://gw", state(edits=service)))
    assert "Running" not in text(Update("http://gw", state(edits=idle)))


def test_troubles() -> None:
    """A lost connection is told above what was last known; alone if nothing was."""
    lost = text(Update("http://gw", state(), 10.0, error="refused"))

    assert "refused; trying again" in lost
    assert "acme" in lost
    assert text(Update("http://gw", error="refused")).strip() == (
        "wan-gateway http://gw  refused; trying again"
    )
    assert "draining: no new edits" in text(Update("http://gw", state(draining=True), 10.0))


def test_long_tables_are_cut() -> None:
    """On a screen of its own a table has so many rows, and tells how many there are."""
    service = {**state()["edits"], "running": some(*[EDIT] * 30)}

    assert "Running · 12 of 30" in text(Update("http://gw", state(edits=service)), rows=12)


@pytest.mark.parametrize(
    ("spans", "whole", "cells"),
    [
        pytest.param([("queue", 10.0), ("submit", 20.0)], 30.0, [10, 20], id="full"),
        pytest.param([("queue", 0.1), ("upstream_running", 29.9)], 30.0, [0, 30], id="thin"),
        pytest.param([("queue", 10.0)], 40.0, [8], id="part"),
        pytest.param([("queue", 50.0), ("submit", 5.0)], 40.0, [30, 0], id="over"),
    ],
)
def test_bars(spans: list[tuple[str, float]], whole: float, cells: list[int]) -> None:
    """Cells follow the seconds, and add up to the whole."""
    result = bar(spans, whole)

    assert len(result) == sum(cells)
    assert [span.end - span.start for span in result.spans] == [n for n in cells if n]


def test_a_terminal_obeys_nothing() -> None:
    """Escape sequences in what a gateway sends are shown, not obeyed."""
    assert safe("a\x1b[2J\nb") == "a�[2J�b"
    assert short("edit_\x1b\x1b") == "��"
    hostile = {**EDIT, "tenant": "[red]\x1b]0;x\x07"}
    service = {**state()["edits"], "running": some(hostile)}

    words = text(Update("http://gw", state(edits=service)))

    assert "\x1b" not in words
    assert "[red]" in words


def test_painting_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal an update is printed whole, once, in lines that are not cut."""
    with open_screen(stays=False, clock=FakeClock()) as paint:
        paint(Update("http://gw", state(), received_at=10.0))

    output = capsys.readouterr().out
    assert "500 upstream_failed: InternalError" in output
    assert "\x1b" not in output


def test_painting_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal each look takes the place of the one before, and the screen is given back."""
    written = StringIO()

    @contextmanager
    def on_a_terminal(stays: bool) -> Iterator[Any]:
        result = Console(file=written, force_terminal=True, width=150, height=60)
        monkeypatch.setattr(top_screen, "Console", lambda **_: result)
        with open_screen(stays=stays, clock=FakeClock()) as paint:
            yield paint

    with on_a_terminal(stays=True) as paint:
        first = written.getvalue()
        paint(Update("http://gw", state(), received_at=100.0))

    assert "connecting" in first
    assert "\x1b[?1049h" in first
    assert "http://gw" in written.getvalue()
    assert written.getvalue().endswith("\x1b[?25h\x1b[?1049l")
