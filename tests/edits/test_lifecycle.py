"""
The state machine of an edit: its table as data, its invariants, and that nobody else writes it.

``python -m tests.edits.test_lifecycle`` prints the tables into docs/ledger.md again.
"""

import ast
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest, LedgerUnavailable, TaskLost
from gateway.domain.task import ResultImage, Task, TaskStatus
from gateway.edits.lifecycle import (
    CancelTask,
    DropPart,
    EditLife,
    Effects,
    LifecycleError,
    PartLife,
    Stage,
)
from tests.fakes import an_upstream

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ledger.md"
BEGIN = "<!-- the life of an edit: printed by tests/edits/test_lifecycle.py -->"
END = "<!-- end of the life of an edit -->"

UPSTREAM = an_upstream()
SUCCEEDED = Task("task-1", TaskStatus.SUCCEEDED, (ResultImage("https://result"),))
REFUSED = InvalidRequest("no")
LOST = TaskLost("lost")
NOW = 100.0

Event = Callable[[EditLife], Effects | None]

EVENTS: dict[str, Event] = {
    "joined": lambda life: life.joined(),
    "left": lambda life: life.left(NOW),
    "looked_at": lambda life: life.looked_at(NOW),
    "retry_advised": lambda life: life.retry_advised(NOW, 10.0),
    "grace_over": lambda life: life.grace_over(),
    "withdrawn": lambda life: life.withdrawn(),
    "gone_stale": lambda life: life.gone_stale(),
    "turned_away": lambda life: life.turned_away(),
    "promising": lambda life: life.promising(),
    "promise_failed": lambda life: life.promise_failed(),
    "promise_kept": lambda life: life.promise_kept(),
    "taken_over": lambda life: life.taken_over(NOW),
    "intended": lambda life: life.intended(0, UPSTREAM, now=NOW, at=NOW),
    "answering": lambda life: life.answering(0, NOW),
    "uncertain": lambda life: life.uncertain(0),
    "voided": lambda life: life.voided(0),
    "accepted": lambda life: life.accepted(0, "task-1"),
    "followed": lambda life: life.followed(0, NOW),
    "part_ended": lambda life: life.part_ended(0, SUCCEEDED),
    "part_failed": lambda life: life.part_failed(0, REFUSED),
    "closed": lambda life: life.closed(),
    "closed (refused)": lambda life: life.closed(REFUSED),
    "closed (in doubt)": lambda life: life.closed(LOST),
    "end_reported": lambda life: life.end_reported(LOST, NOW),
    "handed_over": lambda life: life.handed_over(),
}


def _life(*events: str, one_shot: bool = False) -> EditLife:
    life = EditLife((PartLife(),), one_shot=one_shot)
    for event in events:
        EVENTS[event](life)
    return life


PARTS: dict[str, Callable[[], EditLife]] = {
    "waiting": _life,
    "submitting": lambda: _life("intended"),
    "uncertain": lambda: _life("intended", "uncertain"),
    "running": lambda: _life("intended", "accepted"),
    "running (one-shot)": lambda: _life("intended", "answering", one_shot=True),
    "ended": lambda: _life("intended", "accepted", "part_ended"),
    "failed": lambda: _life("part_failed"),
    "dropped": lambda: _life("grace_over"),
}

CLIENTS: dict[str, Callable[[], EditLife]] = {
    "waiting, connected": lambda: _life("joined"),
    "waiting, left": lambda: _life("joined", "left"),
    "waiting, promised": lambda: _life("joined", "promising", "promise_kept"),
    "running, connected": lambda: _life("joined", "intended", "accepted"),
    "running, retry advised": lambda: _life("joined", "intended", "accepted", "retry_advised"),
    "running, left": lambda: _life("joined", "intended", "accepted", "left"),
    "running, abandoned": lambda: _life("joined", "intended", "accepted", "left", "grace_over"),
    "one-shot, connected": lambda: _life("joined", "intended", "answering", one_shot=True),
}

ENDS: dict[str, Callable[[], EditLife]] = {
    "running": lambda: _life("intended", "accepted"),
    "succeeded": lambda: _life("intended", "accepted", "part_ended", "closed"),
    "delivered": lambda: _life("intended", "accepted", "part_ended", "closed", "handed_over"),
    "failed": lambda: _life("part_failed", "closed (refused)"),
    "failed in doubt": lambda: _life("intended", "uncertain", "closed (in doubt)"),
    "reported": lambda: _life("intended", "uncertain", "closed (in doubt)", "end_reported"),
}


def _part_state(life: EditLife) -> str:
    part = life.part(0)
    if part.dropped:
        return "dropped"
    if part.error is not None:
        return "failed"
    return "ended" if part.task is not None else str(part.stage)


def _client_state(life: EditLife) -> str:
    words = [str(life.stage)]
    if life.connected:
        words.append(f"{life.connected} connected")
    if life.given_up:
        words.append("dropped")
    elif life.abandoned:
        words.append("abandoned")
    elif life.promised:
        words.append("promised")
    seconds = life.seconds_left(NOW, life.left_at)
    if seconds is not None and not life.abandoned:
        words.append("kept for ever" if seconds == math.inf else f"kept for {seconds:g} s")
    if life.unattended and not life.abandoned and life.stage is Stage.WAITING:
        words.append("lets others go first")
    return ", ".join(words)


def _end_state(life: EditLife) -> str:
    words = [str(life.stage), life.delivery.value] if life.ended else [str(life.stage)]
    return ", ".join([*words, "joinable" if life.joinable else "not joinable"])


def _effects(effects: Effects | None) -> str:
    def word(effect: object) -> str:
        match effect:
            case DropPart():
                return "drop part"
            case CancelTask():
                return "cancel task"
        return str(getattr(effect, "value", effect))

    return ", ".join(map(word, effects or ())) or "-"


Row = tuple[str, str, str, str]
"""State, event, state afterwards, effects."""

PART_TABLE: list[Row] = [
    ("waiting", "intended", "submitting", "-"),
    ("waiting", "part_failed", "failed", "-"),
    ("submitting", "answering", "running", "-"),
    ("submitting", "uncertain", "uncertain", "-"),
    ("submitting", "voided", "waiting", "-"),
    ("submitting", "accepted", "running", "-"),
    ("submitting", "part_failed", "failed", "-"),
    ("uncertain", "voided", "waiting", "-"),
    ("uncertain", "accepted", "running", "-"),
    ("uncertain", "part_failed", "failed", "-"),
    ("running", "accepted", "running", "-"),
    ("running", "followed", "running", "-"),
    ("running", "part_ended", "ended", "-"),
    ("running", "part_failed", "failed", "-"),
    ("running (one-shot)", "uncertain", "uncertain", "-"),
    ("running (one-shot)", "voided", "waiting", "-"),
    ("running (one-shot)", "accepted", "running", "-"),
    ("running (one-shot)", "followed", "running", "-"),
    ("running (one-shot)", "part_failed", "failed", "-"),
    ("ended", "followed", "ended", "-"),
    ("ended", "part_ended", "ended", "-"),
    ("ended", "part_failed", "failed", "-"),
    ("failed", "part_failed", "failed", "-"),
    ("dropped", "part_failed", "dropped", "-"),
]

CLIENT_TABLE: list[Row] = [
    ("waiting, connected", "joined", "waiting, 2 connected", "requeue"),
    (
        "waiting, connected",
        "left",
        "waiting, kept for 3 s, lets others go first",
        "step aside, start grace",
    ),
    ("waiting, connected", "looked_at", "waiting, 1 connected", "-"),
    ("waiting, connected", "retry_advised", "waiting, 1 connected", "-"),
    ("waiting, connected", "withdrawn", "waiting, 1 connected, dropped", "drop part"),
    ("waiting, connected", "turned_away", "waiting, 1 connected, dropped", "drop part, wake"),
    ("waiting, connected", "promise_kept", "waiting, 1 connected", "-"),
    ("waiting, left", "joined", "waiting, 1 connected", "requeue"),
    ("waiting, left", "looked_at", "waiting, kept for 603 s, lets others go first", "-"),
    ("waiting, left", "retry_advised", "waiting, kept for 13 s, lets others go first", "-"),
    ("waiting, left", "grace_over", "waiting, dropped", "drop part"),
    ("waiting, left", "withdrawn", "waiting, dropped", "drop part"),
    (
        "waiting, left",
        "turned_away",
        "waiting, dropped, kept for ever, lets others go first",
        "drop part, wake",
    ),
    ("waiting, left", "promise_kept", "waiting, kept for ever", "-"),
    ("waiting, promised", "joined", "waiting, 2 connected, promised", "requeue"),
    ("waiting, promised", "left", "waiting, promised, kept for ever", "start grace"),
    ("waiting, promised", "looked_at", "waiting, 1 connected, promised", "-"),
    ("waiting, promised", "retry_advised", "waiting, 1 connected, promised", "-"),
    ("waiting, promised", "withdrawn", "waiting, 1 connected, dropped", "drop part, drop record"),
    ("waiting, promised", "turned_away", "waiting, 1 connected, promised", "wake"),
    ("waiting, promised", "promise_kept", "waiting, 1 connected, promised", "-"),
    ("running, connected", "joined", "running, 2 connected", "requeue"),
    ("running, connected", "left", "running, kept for 3 s", "step aside, start grace"),
    ("running, connected", "looked_at", "running, 1 connected", "-"),
    ("running, connected", "retry_advised", "running, 1 connected", "-"),
    ("running, connected", "withdrawn", "running, 1 connected, abandoned", "cancel task"),
    ("running, connected", "turned_away", "running, 1 connected", "wake"),
    ("running, connected", "promise_kept", "running, 1 connected", "-"),
    ("running, retry advised", "joined", "running, 2 connected", "requeue"),
    ("running, retry advised", "left", "running, kept for 63 s", "start grace"),
    ("running, retry advised", "looked_at", "running, 1 connected", "-"),
    ("running, retry advised", "retry_advised", "running, 1 connected", "-"),
    ("running, retry advised", "withdrawn", "running, 1 connected, abandoned", "cancel task"),
    ("running, retry advised", "turned_away", "running, 1 connected", "wake"),
    ("running, retry advised", "promise_kept", "running, 1 connected", "-"),
    ("running, left", "joined", "running, 1 connected", "requeue"),
    ("running, left", "looked_at", "running, kept for 603 s", "-"),
    ("running, left", "retry_advised", "running, kept for 63 s", "-"),
    ("running, left", "grace_over", "running, abandoned", "cancel task"),
    ("running, left", "withdrawn", "running, abandoned", "cancel task"),
    ("running, left", "turned_away", "running, kept for ever", "wake"),
    ("running, left", "promise_kept", "running, kept for ever", "-"),
    ("running, abandoned", "joined", "running, 1 connected", "requeue"),
    ("running, abandoned", "looked_at", "running, abandoned", "-"),
    ("running, abandoned", "retry_advised", "running, abandoned", "-"),
    ("running, abandoned", "grace_over", "running, abandoned", "cancel task"),
    ("running, abandoned", "withdrawn", "running, abandoned", "cancel task"),
    ("running, abandoned", "turned_away", "running, abandoned", "wake"),
    ("running, abandoned", "promise_kept", "running, abandoned", "-"),
    ("one-shot, connected", "joined", "running, 2 connected", "requeue"),
    ("one-shot, connected", "left", "running, kept for 3 s", "step aside, start grace"),
    ("one-shot, connected", "looked_at", "running, 1 connected", "-"),
    ("one-shot, connected", "retry_advised", "running, 1 connected", "-"),
    ("one-shot, connected", "withdrawn", "running, 1 connected, abandoned", "-"),
    ("one-shot, connected", "turned_away", "running, 1 connected", "wake"),
    ("one-shot, connected", "promise_kept", "running, 1 connected", "-"),
]

END_TABLE: list[Row] = [
    ("running", "closed", "succeeded, owed, joinable", "release, wake"),
    ("running", "closed (refused)", "failed, owed, not joinable", "release, wake"),
    ("running", "closed (in doubt)", "failed, owed, joinable", "release, wake"),
    ("running", "end_reported", "running, joinable", "-"),
    ("succeeded", "end_reported", "succeeded, reported, joinable", "-"),
    ("succeeded", "handed_over", "succeeded, delivered, not joinable", "-"),
    ("delivered", "end_reported", "succeeded, delivered, not joinable", "-"),
    ("delivered", "handed_over", "succeeded, delivered, not joinable", "-"),
    ("failed", "end_reported", "failed, reported, not joinable", "-"),
    ("failed in doubt", "end_reported", "failed, reported, joinable", "-"),
    ("reported", "end_reported", "failed, reported, joinable", "-"),
]

_CLIENT_EVENTS = (
    "joined",
    "left",
    "looked_at",
    "retry_advised",
    "grace_over",
    "withdrawn",
    "turned_away",
    "promise_kept",
)
_PART_EVENTS = (
    "intended",
    "answering",
    "uncertain",
    "voided",
    "accepted",
    "followed",
    "part_ended",
    "part_failed",
)
_END_EVENTS = ("closed", "closed (refused)", "closed (in doubt)", "end_reported", "handed_over")


Table = tuple[
    str,
    dict[str, Callable[[], EditLife]],
    tuple[str, ...],
    Callable[[EditLife], str],
    list[Row],
]

TABLES: list[Table] = [
    ("A part", PARTS, _PART_EVENTS, _part_state, PART_TABLE),
    ("Its clients", CLIENTS, _CLIENT_EVENTS, _client_state, CLIENT_TABLE),
    ("Its end", ENDS, _END_EVENTS, _end_state, END_TABLE),
]


def _observed(table: Table) -> list[Row]:
    _, states, events, describe, _ = table
    rows = []
    for name, build in states.items():
        for event in events:
            life = build()
            try:
                effects = EVENTS[event](life)
            except LifecycleError:
                continue
            rows.append((name, event, describe(life), _effects(effects)))
    return rows


@pytest.mark.parametrize("table", TABLES, ids=[table[0] for table in TABLES])
def test_the_table(table: Table) -> None:
    """Every event in every state does what the table says; one that it lacks is refused."""
    assert _observed(table) == table[4]


def _printed() -> str:
    lines = [BEGIN]
    for title, _, _, _, rows in TABLES:
        lines += ["", f"### {title}", "", "| state | event | state afterwards | effects |"]
        lines += ["|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", END])


def test_the_table_is_in_the_docs() -> None:
    """docs/ledger.md shows the tables as they are; this file prints them again when run."""
    text = PAGE.read_text("utf-8")

    assert text[text.index(BEGIN) : text.index(END) + len(END)] == _printed()


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.booleans()), max_size=40))
def test_no_order_of_events_pays_twice(story: list[tuple[str, bool]]) -> None:
    """
    Whatever happens in whatever order, refused events aside, these hold.

    A part with a task, or a dropped one, is never intended. A dropped part was waiting. Only
    a running part is cancelled. What was delivered, or failed for nothing, joins no request.
    No edit is given up while a client is connected, unless it was withdrawn.
    """
    life = EditLife((PartLife(),))
    for event, _ in story:
        before = life.part(0)
        try:
            effects = EVENTS[event](life) or ()
        except LifecycleError:
            assert life.part(0) == before
            continue
        if event == "intended":
            assert before.task_id is None
            assert before.stage is Stage.WAITING
            assert not before.dropped
        if DropPart(0) in effects:
            assert before.stage is Stage.WAITING
        if CancelTask(0) in effects:
            assert before.stage is Stage.RUNNING
        if before.task_id is not None:
            assert life.part(0).task_id == before.task_id
        assert not (life.joinable and (life.delivered or life.failed_unbilled))
        assert life.connected >= 0
        if event == "grace_over":
            assert not life.connected


def test_a_part_with_a_task_is_never_submitted_again() -> None:
    """Neither the end of a submit, nor doubt about it, takes the task from a part."""
    for event in ("voided", "uncertain", "intended"):
        life = _life("intended", "accepted")
        with pytest.raises(LifecycleError):
            EVENTS[event](life)


def test_a_retry_of_another_task_is_refused() -> None:
    """A part has one task: to be told another one is a bug."""
    life = _life("intended", "accepted")

    with pytest.raises(LifecycleError, match="another task"):
        life.accepted(0, "task-2")


def test_the_furthest_part_counts() -> None:
    """An edit is as far as its furthest part, and failed only if no part has a picture."""
    life = EditLife((PartLife(), PartLife()))
    life.intended(0, UPSTREAM, now=NOW, at=NOW)
    life.accepted(0, "task-1")
    life.part_ended(0, SUCCEEDED)
    stage = life.stage
    life.part_failed(1, REFUSED)

    assert stage is Stage.RUNNING
    assert life.outcome().error is None


def test_a_part_in_doubt_forbids_the_retry_that_another_allows() -> None:
    """Of several refusals the one that may be billed is the edit's."""
    life = EditLife((PartLife(), PartLife()))
    life.intended(0, UPSTREAM, now=NOW, at=NOW)
    life.uncertain(0)
    life.part_failed(0, LOST)
    life.part_failed(1, LedgerUnavailable("away"))

    assert life.outcome().error is LOST


def test_given_up_when_every_part_is_dropped() -> None:
    """What was refused in this moment is not dropped, and one part keeps the edit alive."""
    life = EditLife((PartLife(), PartLife()))
    life.part_failed(0, REFUSED)
    life.joined()
    effects = life.withdrawn()

    assert effects == (DropPart(1),)
    assert not life.given_up


def test_only_its_file_writes_the_life() -> None:
    """No other file assigns to an edit's state, nor to what an edit or a part in memory holds."""
    own = {"lifecycle.py", "active_edit.py"}
    files = [file for file in (ROOT / "gateway").rglob("*.py") if file.name not in own]

    assert {file.name: lines for file in files if (lines := _writes(file))} == {}


def _writes(file: Path) -> list[int]:
    tree = ast.parse(file.read_text("utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and ast.unparse(node.value).split(".")[-1] in {"life", "active", "run", "edit_life"}
    ]


def test_it_is_pure() -> None:
    """The state machine imports neither asyncio nor anything that does I/O."""
    tree = ast.parse((ROOT / "gateway" / "edits" / "lifecycle.py").read_text("utf-8"))
    modules = {
        node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert {module.split(".")[0] for module in modules} <= {
        "dataclasses",
        "enum",
        "gateway",
        "math",
        "typing",
    }
    assert all(it.startswith("gateway.domain") for it in modules if it.startswith("gateway"))


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    start, stop = page.index(BEGIN), page.index(END) + len(END)
    PAGE.write_text(page[:start] + _printed() + page[stop:], "utf-8")
    sys.stdout.write(f"{PAGE.name}: printed\n")
