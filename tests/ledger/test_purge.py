"""Old edits leave the disk: when, how many, and what if that fails."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.domain.record import EditState
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import DAY, EDIT, FIRST, NOW, Calendar, edit

pytestmark = pytest.mark.anyio


def rows_on_disk(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (rows,) = connection.execute("SELECT count(*) FROM edits").fetchone()
    finally:
        connection.close()
    return int(rows)


async def test_old_edits_leave_the_disk(
    ledger: SqliteLedger, path: Path, calendar: Calendar
) -> None:
    """Edits older than 24 h are purged after a write, some hundreds each time, tasks too."""
    async with ledger:
        names = [f"old_{n}" for n in range(1200)]
        await asyncio.gather(*(ledger.intend(edit(name), FIRST) for name in names))
        await asyncio.gather(*(ledger.end_edit(name, EditState.SUCCEEDED) for name in names))
        await ledger.counts()  # waits for the thread's tidying
        calendar.epoch = NOW + DAY
        left = []
        for number in range(4):
            await ledger.intend(edit(f"new_{number}", age=-DAY), FIRST)
            await ledger.counts()
            left.append(rows_on_disk(path))
        connection = sqlite3.connect(path)
        (tasks,) = connection.execute("SELECT count(*) FROM tasks").fetchone()
        connection.close()

    assert left == [701, 202, 3, 4]
    assert tasks == 4


async def test_the_purge_comes_every_five_minutes(
    ledger: SqliteLedger, path: Path, calendar: Calendar
) -> None:
    """Not with each write: between two purges an old row lies on the disk, unseen."""
    async with ledger:
        await ledger.intend(edit("old"), FIRST)
        await ledger.end_edit("old", EditState.SUCCEEDED)
        calendar.epoch = NOW + DAY - 100
        await ledger.intend(edit("new", age=100 - DAY), FIRST)
        await ledger.counts()
        calendar.epoch = NOW + DAY
        await ledger.deliver("new")
        await ledger.counts()
        before = rows_on_disk(path)
        calendar.epoch = NOW + DAY + 200
        await ledger.deliver("new")
        await ledger.counts()

    assert (before, rows_on_disk(path)) == (2, 1)


async def test_the_purge_comes_at_the_start(
    ledger: SqliteLedger, path: Path, calendar: Calendar
) -> None:
    """A ledger that was left lying for a day is emptied when it is opened."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    calendar.epoch = NOW + DAY

    async with ledger:
        assert rows_on_disk(path) == 0


def test_a_purge_that_fails_is_tried_again_later(ledger: SqliteLedger) -> None:
    """It has no caller, and old rows do no harm."""
    connection = sqlite3.connect(":memory:", isolation_level=None)

    ledger._purge(connection)

    connection.close()
    assert ledger._next_purge == 300


async def test_strays_leave_the_disk(ledger: SqliteLedger, path: Path, calendar: Calendar) -> None:
    """A task of which the ledger was told too late is kept for 24 h, as DashScope keeps it."""
    async with ledger:
        await ledger.accept("edit_gone", 0, "beijing-main", "t1", attempt="a1")
        calendar.epoch = NOW + DAY - 600.0
        await ledger.deliver("edit_gone")
        kept = await ledger.find_tasks(["t1"])
        calendar.epoch = NOW + DAY + 1.0
        await ledger.deliver("edit_gone")
        await ledger.counts()  # waits for the thread's tidying

        assert kept == {"t1"}
        assert await ledger.find_tasks(["t1"]) == set()
