"""The ledger in SQLite: private files, what is flushed when, and how it is asked."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import LedgerUnavailable, UpstreamFailed
from gateway.domain.record import EditState
from gateway.ledger.errors import LedgerError
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import EDIT, FIRST, Calendar, edit

pytestmark = pytest.mark.anyio


async def test_the_files_are_private(ledger: SqliteLedger, path: Path) -> None:
    """Directory 0700, files 0600, whatever SQLite puts beside the ledger."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes) == {f"gateway.db{end}" for end in ("", "-wal", "-shm", ".lock")}
    assert set(modes.values()) == {0o600}


async def test_after_the_end_it_refuses(ledger: SqliteLedger) -> None:
    """A closed ledger refuses at once; nobody waits for a thread that is no more."""
    async with ledger:
        pass

    with pytest.raises(LedgerUnavailable):
        await ledger.intend(EDIT, FIRST)


async def test_a_ledger_with_missing_tables_stops_the_start(
    ledger: SqliteLedger, path: Path
) -> None:
    """Ours by its mark, but not usable."""
    async with ledger:
        pass
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE edits")
    connection.close()

    with pytest.raises(LedgerError, match=r"cannot be used \(no such table: edits\); look at"):
        await ledger.__aenter__()


async def test_no_url_goes_to_the_disk(ledger: SqliteLedger, path: Path) -> None:
    """A URL in upstream's message stays in memory."""
    error = UpstreamFailed("Cannot load https://example.com/secret.png?sig=1 now.")
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        await ledger.end_edit("edit_1", EditState.FAILED, error)

        found = await ledger.find("edit_1")
        written = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert found is not None
    assert found.error_message == "Cannot load [URL] now."
    assert b"example.com" not in written


@pytest.mark.parametrize(
    ("sync", "level"), [pytest.param("normal", 1, id="normal"), pytest.param("full", 2, id="full")]
)
async def test_sync_is_what_was_asked_for(
    path: Path, calendar: Calendar, sync: str, level: int
) -> None:
    """Normal leaves the flush to the checkpoint, full flushes each commit; both use the WAL."""

    def edit_request(connection: sqlite3.Connection) -> tuple[object, object]:
        return (
            connection.execute("PRAGMA synchronous").fetchone()[0],
            connection.execute("PRAGMA journal_mode").fetchone()[0],
        )

    async with SqliteLedger(path, sync=sync, epoch=calendar) as ledger:
        answer = await ledger._writer.run(edit_request, writes=False)

    assert answer == (level, "wal")


async def test_every_question_has_its_index(ledger: SqliteLedger) -> None:
    """No read of gateway.edits walks the whole table."""
    requested: list[str] = []
    plans: list[str] = []

    def explain(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(None)
        for sql in requested:
            if sql.startswith(("SELECT", "DELETE")):
                plans.extend(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))

    async with ledger:
        await ledger._writer.run(lambda c: c.set_trace_callback(requested.append), writes=False)
        await ledger.find("edit_1")
        await ledger.find_key("acme", "key-1")
        await ledger.owed()
        await ledger.find_tasks(["t1"])
        await ledger.void("edit_1", 0)
        await ledger.end_edit("edit_1", EditState.DROPPED)
        await ledger._writer.run(explain, writes=False)

    assert len(plans) >= 7
    assert [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan] == []


async def test_many_writes_at_once_are_one_commit(ledger: SqliteLedger) -> None:
    """A hundred writes that came while the thread was busy cost one transaction."""
    busy = asyncio.Event()
    loop = asyncio.get_running_loop()
    release, work = block(lambda: loop.call_soon_threadsafe(busy.set))
    async with ledger:
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger._writer.run(work, writes=False))
            await busy.wait()
            before = ledger._writer.commits
            for number in range(100):
                group.create_task(ledger.intend(edit(f"edit_{number}"), FIRST))
            await asyncio.sleep(0)
            release()
        commits = ledger._writer.commits - before

        assert (await ledger.counts())["open"] == 100
    assert commits == 2  # the one that kept it busy, and the hundred


def block(began: Callable[[], object]) -> tuple[Callable[[], None], Callable[[Any], None]]:
    """Return what releases a piece of work, and the work, which holds the thread until then."""
    read, write = os.pipe()

    def work(_: sqlite3.Connection) -> None:
        began()
        os.read(read, 1)
        os.close(read)

    def release() -> None:
        os.write(write, b".")
        os.close(write)

    return release, work


@pytest.mark.parametrize(("ago", "found"), [(1199, True), (1201, False)])
async def test_an_answer_of_unknown_time(
    ledger: SqliteLedger, path: Path, calendar: Calendar, ago: float, found: bool
) -> None:
    """The first versions wrote down no time: a marked retry finds what began lately."""
    async with ledger:
        await ledger.intend(edit("edit_1"), FIRST)
        await ledger.end_edit("edit_1", EditState.SUCCEEDED)
        await ledger.deliver("edit_1")
        with closing(sqlite3.connect(path)) as connection:
            began = (calendar.epoch - ago,)
            connection.execute("UPDATE edits SET delivered_age = NULL, created = ?", began)
            connection.commit()

        records = await ledger.find_delivered("acme", [EDIT.digest], 600.0)

    assert (records is not None) == found
