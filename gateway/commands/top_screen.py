"""Draws the dashboard's states on a terminal; imported only by `top`, because it needs rich."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.commands.top import Update
from gateway.domain.clock import Clock

_COLOURS = {
    "read": "bright_black",
    "queue": "yellow",
    "submit": "magenta",
    "upstream_pending": "bright_cyan",
    "upstream_running": "blue",
    "detection": "bright_magenta",
    "download": "cyan",
    "respond": "green",
}
_WORDS = {
    "queue": "queued",
    "upstream_pending": "queued upstream",
    "upstream_running": "running upstream",
}
_BAR = 30
_WIDTH = 150
_SHORTEST_SCALE = 10.0  # seconds; without it every new edit would fill its bar
_ROWS = 12
_KEY_STYLES = {"works": "green", "rests": "bold red", "doubted": "yellow"}

Spans = Sequence[tuple[str, float]]
"""Phases, and how many seconds each took."""


@contextmanager
def open_screen(stays: bool, clock: Clock) -> Iterator[Any]:  # noqa: FBT001 - as top.Screen says
    """
    Yield a function that paints an update: in place if the screen *stays*, else below the last.

    Between two updates the durations on a screen that stays keep counting.
    """
    # A pipe has no width, so lines are not cut.
    console = Console(width=None if stays else _WIDTH)
    if not stays:
        yield lambda update: console.print(screen(update, update.received_at, rows=None))
        return
    latest: list[Update] = []

    def now() -> RenderableType:
        return screen(latest[-1], clock.now(), rows=_ROWS) if latest else Text("connecting …")

    def paint(update: Update) -> None:
        latest[:] = [update]
        live.refresh()

    with Live(get_renderable=now, console=console, screen=True, refresh_per_second=4) as live:
        live.refresh()
        yield paint


def screen(update: Update, now: float, rows: int | None) -> RenderableType:
    """
    Draw *update* as of *now*, on the clock of its received_at.

    Args:
        update: The state.
        now: Monotonic seconds.
        rows: The most rows of one table; ``None``: all.
    """
    if not update.state:
        return _head(update)
    state = update.state
    service = update.state["edits"]
    at = state["now"] + max(0.0, now - update.received_at)
    live = (
        ("running", service["running"]),
        ("waiting", service["waiting"]),
        ("kept", service["kept"]),
    )
    return Group(
        _head(update),
        _accounts(service["accounts"], at),
        *(_edits(name, some, at, rows) for name, some in live if some["total"]),
        _answered(state["answered"], rows),
    )


def _head(update: Update) -> Text:
    text = Text.assemble(("wan-gateway", "bold"), f" {safe(update.url)}  ")
    if update.error:
        text.append(f"{safe(update.error)}; trying again", "bold red")
    elif update.state["draining"]:
        text.append("draining: no new edits", "bold yellow")
    else:
        text.append("live", "green")
    if update.state:
        service = update.state["edits"]
        held = update.state["bytes"]
        text.append(
            f"\n{service['running']['total']} running, {service['waiting']['total']} waiting, "
            f"{service['kept']['total']} not fetched yet, "
            f"{update.state['answered']['total']} answered, "
            f"{held['held'] / 1e6:.1f} of {held['limit'] / 1e6:.0f} MB in flight"
        )
    return text


def _table(*columns: str, title: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    table.title_style = "bold"
    for column in columns:
        right = column in {"time", "took", "tasks", "queued", "submits", "polls"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def _accounts(some: Mapping[str, Any], at: float) -> Table:
    titles = ("account", "region", "tasks", "queued", "submits", "polls", "keys")
    table = _table(*titles, title=f"\nAccounts{_left(some, some['rows'])}")
    for one in some["rows"]:
        keys = Text("  ").join(_key(key, at) for key in one["keys"])
        table.add_row(
            Text(safe(one["name"])),
            Text(safe(one["region"])),
            f"{one['taken']}/{one['running_tasks']}+{one['pending_ahead']}",
            str(one["waiting"]),
            _budget(one["submits"]),
            _budget(one["polls"]),
            keys,
        )
    return table


def _budget(one: Mapping[str, Any]) -> Text:
    slowed = one["factor"] < 1
    rate = one["per_second"] * one["factor"]
    return Text(f"{100 * one['used']:.0f}% of {rate:.3g}/s", "yellow" if slowed else "")


def _key(key: Mapping[str, Any], at: float) -> Text:
    says = safe(key["name"])
    if key["state"] == "rests":
        says += f" suspended: {safe(key['reason'])}, for another {_seconds(key['until'] - at)}"
    elif key["state"] == "doubted":
        says += f" in doubt: {safe(key['reason'])}"
    return Text(says, _KEY_STYLES.get(key["state"], ""))


def _edits(name: str, some: Mapping[str, Any], at: float, rows: int | None) -> Table:
    shown = some["rows"][:rows]
    whole = max([_SHORTEST_SCALE, *(at - edit["since"] for edit in shown)])
    titles = ("edit", "tenant", "account", "state", "phases", "time")
    title = {"kept": "Made, not fetched yet"}.get(name, name.capitalize())
    table = _table(*titles, title=f"\n{title}{_left(some, shown)}")
    for edit in shown:
        table.add_row(
            Text(short(edit["edit_id"])),
            Text(safe(edit["tenant"]) + (f" ×{edit['pictures']}" if edit["pictures"] > 1 else "")),
            Text(safe(", ".join(edit["accounts"]) or edit["region"])),
            Text(_stage(edit)),
            bar(_spans(edit["phases"], at), whole),
            _seconds(at - edit["since"]),
        )
    return table


def _stage(edit: Mapping[str, Any]) -> str:
    word = edit["stage"]
    if word == "running" and edit["phases"]:
        word = _WORDS.get(edit["phases"][-1][0], word)
    away = not edit["clients"] and word not in ("kept", "doubtful")
    return safe(word) + (", no client connected" if away else "")


def _answered(some: Mapping[str, Any], rows: int | None) -> Table:
    shown = some["rows"][:rows]
    whole = max([1.0, *(one["seconds"] for one in shown)])
    titles = ("edit", "tenant", "account", "response", "phases", "took")
    table = _table(*titles, title=f"\nRecent responses{_left(some, shown)}")
    for one in shown:
        code = f"{one['code']} " if one["code"] else ""
        why = f": {one['upstream_code']}" if one["upstream_code"] else ""
        bad = "red" if one["code"] >= 500 else "yellow" if one["code"] >= 400 else ""
        table.add_row(
            Text(short(one["edit_id"]) or "refused"),
            Text(safe(one["tenant"])),
            Text(safe(", ".join(one["accounts"]) or one["region"])),
            Text(safe(f"{code}{one['outcome']}{why}"), bad),
            bar(one["phases"], whole),
            _seconds(one["seconds"]),
        )
    return table


def _left(some: Mapping[str, Any], shown: Sequence[object]) -> str:
    left = some["total"] - len(shown)
    return f" · {len(shown)} of {some['total']}" if left else ""


def _spans(phases: Sequence[tuple[str, float]], at: float) -> list[tuple[str, float]]:
    """Return how long each phase took, the last one up to *at*."""
    ends = [*(since for _, since in phases[1:]), at]
    return [(it[0], max(0.0, end - it[1])) for it, end in zip(phases, ends, strict=False)]


def bar(spans: Iterable[tuple[str, float]], whole: float) -> Text:
    """Return *spans* as coloured cells, of which *whole* seconds fill the bar."""
    text = Text()
    filled = 0
    seconds = 0.0
    for phase, length in spans:
        seconds += length
        # The end is rounded, not the length, so that the cells add up.
        cells = min(_BAR, round(_BAR * seconds / whole)) - filled
        text.append("█" * cells, _COLOURS.get(phase, ""))
        filled += cells
    return text


def short(edit_id: str) -> str:
    return safe(edit_id.removeprefix("edit_"))[:12]


def safe(text: str) -> str:
    """Replace every character of *text* that could control a terminal."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _seconds(value: float) -> str:
    if value < 10:
        return f"{max(0.0, value):.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60):02} s"
