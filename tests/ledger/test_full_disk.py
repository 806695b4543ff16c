"""When the disk fails: writes are refused, reads go on, and all recovers."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import EDIT, FIRST, Calendar, edit
from tests.ledger.story import story

pytestmark = pytest.mark.anyio


async def command_connection(ledger: SqliteLedger, sql: str) -> None:
    """Run *sql* on the ledger's own connection."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute(sql).fetchall()

    await ledger._writer.run(run, writes=False)


async def test_a_full_disk_refuses_and_recovers(path: Path) -> None:
    """No file may grow: writes are refused, reads go on; with room they go on as well."""
    reported = await asyncio.to_thread(story, path, "full")

    assert reported.stdout.split(b"\n") == [b"refused", b"still reads", b"kept", b""], (
        reported.stderr
    )


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
    ("break_", "mend", "message"),
    [
        pytest.param(fill, empty, "full", id="full"),
        pytest.param(forbid, allow, "readonly", id="read-only"),
    ],
)
async def test_a_write_that_fails_is_refused_until_it_works_again(
    path: Path, calendar: Calendar, break_: Any, mend: Any, message: str
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
    assert [message in str(failure) for failure in failures] == [True]
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
