import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import LedgerUnavailable, UpstreamFailed
from gateway.domain.record import EditState
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.trouble import LedgerError
from tests.ledger.records import DAY, EDIT, FIRST, NOW, Calendar, edit
from tests.ledger.story import STEPS

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway.db"


@pytest.fixture
def ledger(path: Path, calendar: Calendar) -> SqliteLedger:
    return SqliteLedger(path, sync="normal", epoch=calendar)


def command(path: Path, how: object) -> list[str]:
    return [sys.executable, "-m", "tests.ledger.story", str(path), str(how)]


def story(path: Path, how: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(path, how), cwd=ROOT, capture_output=True, timeout=50, check=False
    )


def rows_on_disk(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (rows,) = connection.execute("SELECT count(*) FROM edits").fetchone()
    finally:
        connection.close()
    return int(rows)


async def command_connection(ledger: SqliteLedger, sql: str) -> None:
    """Run *sql* on the ledger's own connection."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute(sql).fetchall()

    await ledger._writer.run(run, writes=False)


# ---------------------------------------------------------------- what outlives us


async def test_the_next_process_finds_it(ledger: SqliteLedger) -> None:
    """What one process wrote and closed, the next one reads."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)

    async with ledger:
        assert await ledger.find("edit_1") is not None


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
async def test_killed_after_a_write_it_has_that_write(path: Path, steps: int) -> None:
    """SIGKILL between any two writes leaves exactly what was acknowledged."""
    expected = MemoryLedger(lambda: NOW)
    for step in STEPS[:steps]:
        await step(expected)

    died = await asyncio.to_thread(story, path, steps)

    assert died.returncode == -signal.SIGKILL, died.stderr
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as left:
        assert await left.owed() == await expected.owed()
        for name in ("edit_1", "edit_2", "edit_3"):
            assert await left.find(name) == await expected.find(name)
        assert await left.known(["t1", "t2"]) == await expected.known(["t1", "t2"])


async def test_killed_amid_writes_it_has_all_that_were_acknowledged(path: Path) -> None:
    """Under 20 writers at once, nothing that was acknowledged is lost to SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        *command(path, "write"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(500)]
    process.kill()
    said += (await process.stdout.read()).splitlines()
    await process.wait()

    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as left:
        missing = [name for name in said if not await left.find(name.decode().strip())]

    assert len(said) >= 500
    assert missing == []


async def test_an_open_edit_without_a_task_is_dropped_at_the_start(
    ledger: SqliteLedger, path: Path
) -> None:
    """Its process died between a refused submit and the next one: nothing is owed."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        await ledger.intend(edit("edit_2"), FIRST)
        await ledger.void("edit_1", 0)

    async with ledger:
        assert await ledger.find("edit_1") is None
        assert await ledger.find("edit_2") is not None


async def test_the_files_are_private(ledger: SqliteLedger, path: Path) -> None:
    """Directory 0700, files 0600, whatever SQLite puts beside the ledger."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes) == {f"gateway.db{end}" for end in ("", "-wal", "-shm", ".lock")}
    assert set(modes.values()) == {0o600}


# ---------------------------------------------------------------- when the disk fails


async def test_a_full_disk_refuses_and_recovers(path: Path) -> None:
    """No file may grow: writes are refused, reads go on; with room they go on as well."""
    told = await asyncio.to_thread(story, path, "full")

    assert told.stdout.split(b"\n") == [b"refused", b"still reads", b"kept", b""], told.stderr


async def write_many(ledger: SqliteLedger) -> None:
    """Write more than one page can take."""
    for number in range(200):
        await ledger.intend(edit(f"edit_{number}"), FIRST)


async def fill(ledger: SqliteLedger) -> None:
    await command_connection(ledger, "PRAGMA max_page_count = 1")


async def empty(ledger: SqliteLedger) -> None:
    await command_connection(ledger, "PRAGMA max_page_count = 100000")


async def forbid(ledger: SqliteLedger) -> None:
    await command_connection(ledger, "PRAGMA query_only = ON")


async def allow(ledger: SqliteLedger) -> None:
    await command_connection(ledger, "PRAGMA query_only = OFF")


@pytest.mark.parametrize(
    ("break_", "mend", "said"),
    [
        pytest.param(fill, empty, "full", id="full"),
        pytest.param(forbid, allow, "readonly", id="read-only"),
    ],
)
async def test_a_write_that_fails_is_refused_until_it_works_again(
    path: Path, calendar: Calendar, break_: Any, mend: Any, said: str
) -> None:
    """The caller gets LedgerUnavailable, the operator the reason, and nothing stays broken."""
    failures: list[Exception] = []
    ledger = SqliteLedger(path, sync="normal", epoch=calendar, on_failure=failures.append)
    async with ledger:
        await break_(ledger)

        with pytest.raises(LedgerUnavailable) as refused:
            await write_many(ledger)

        await mend(ledger)
        await ledger.intend(edit("last"), FIRST)
        assert await ledger.find("last") is not None
    assert [said in str(failure) for failure in failures] == [True]
    assert refused.value.__cause__ is failures[0]
    assert (refused.value.status, refused.value.retry) == (503, True)


async def test_another_programs_transaction_refuses_writes_and_lets_reads_pass(
    ledger: SqliteLedger, path: Path
) -> None:
    """Writes that wait for the same lock give up together, not one after the other."""
    begun: list[str] = []

    async with ledger:
        await ledger.intend(EDIT, FIRST)
        await command_connection(ledger, "PRAGMA busy_timeout = 20")
        await ledger._writer.run(lambda c: c.set_trace_callback(begun.append), writes=False)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        *writes, read = await asyncio.gather(
            *(ledger.deliver("edit_1") for _ in range(5)),
            ledger.find("edit_1"),
            return_exceptions=True,
        )
        other.execute("ROLLBACK")
        other.close()
        await ledger.deliver("edit_1")

    assert [type(write) for write in writes] == [LedgerUnavailable] * 5
    assert len(set(map(id, writes))) == 5
    assert read is not None
    assert not isinstance(read, BaseException)
    assert begun.count("BEGIN IMMEDIATE") == 3  # together, the first alone, after the lock


async def test_after_the_end_it_refuses(ledger: SqliteLedger) -> None:
    """A closed ledger refuses at once; nobody waits for a thread that is no more."""
    async with ledger:
        pass

    with pytest.raises(LedgerUnavailable):
        await ledger.intend(EDIT, FIRST)


async def test_a_second_process_is_refused_until_the_first_is_dead(
    ledger: SqliteLedger, path: Path
) -> None:
    """Two processes on one ledger refuse to run; SIGKILL of the holder frees it."""
    process = await asyncio.create_subprocess_exec(
        *command(path, "hold"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()

    with pytest.raises(LedgerError, match=f"{path}: is in use by process {process.pid}; stop"):
        await ledger.__aenter__()

    process.kill()
    await process.wait()
    async with ledger:
        assert await ledger.owed() == []


async def test_by_another_name_it_is_the_same_ledger(
    ledger: SqliteLedger, path: Path, tmp_path: Path, calendar: Calendar
) -> None:
    """A link to the file is refused as well: there is one lock for all its names."""
    async with ledger:
        (tmp_path / "link.db").symlink_to(path)
        other = SqliteLedger(tmp_path / "link.db", sync="normal", epoch=calendar)

        with pytest.raises(LedgerError, match=f"in use by process {os.getpid()}"):
            await other.__aenter__()


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


# ---------------------------------------------------------------- what is forgotten


async def test_old_edits_leave_the_disk(
    ledger: SqliteLedger, path: Path, calendar: Calendar
) -> None:
    """Edits older than 24 h are purged after a write, some hundreds each time, tasks too."""
    async with ledger:
        await asyncio.gather(*(ledger.intend(edit(f"old_{n}"), FIRST) for n in range(1200)))
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
        await ledger.intend(edit("old", age=DAY - 100), FIRST)
        calendar.epoch = NOW + 200
        await ledger.intend(edit("new"), FIRST)
        await ledger.counts()
        before = rows_on_disk(path)
        calendar.epoch = NOW + 300
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

    ledger._tidy(connection)

    connection.close()
    assert ledger._purge_at == NOW + 300


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


# ---------------------------------------------------------------- how it is written


@pytest.mark.parametrize(
    ("sync", "level"), [pytest.param("normal", 1, id="normal"), pytest.param("full", 2, id="full")]
)
async def test_sync_is_what_was_asked_for(
    path: Path, calendar: Calendar, sync: str, level: int
) -> None:
    """Normal leaves the flush to the checkpoint, full flushes each commit; both use the WAL."""

    def ask(connection: sqlite3.Connection) -> tuple[object, object]:
        return (
            connection.execute("PRAGMA synchronous").fetchone()[0],
            connection.execute("PRAGMA journal_mode").fetchone()[0],
        )

    async with SqliteLedger(path, sync=sync, epoch=calendar) as ledger:
        answer = await ledger._writer.run(ask, writes=False)

    assert answer == (level, "wal")


async def test_every_question_has_its_index(ledger: SqliteLedger) -> None:
    """No read of the journey walks the whole table."""
    asked: list[str] = []
    plans: list[str] = []

    def explain(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(None)
        for sql in asked:
            if sql.startswith(("SELECT", "DELETE")):
                plans.extend(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))

    async with ledger:
        await ledger._writer.run(lambda c: c.set_trace_callback(asked.append), writes=False)
        await ledger.find("edit_1")
        await ledger.find_key("acme", "key-1")
        await ledger.owed()
        await ledger.known(["t1"])
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
