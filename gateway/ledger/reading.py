"""The ledger as an operator reads it: beside a running gateway, without a trace."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.domain.record import EditRecord
from gateway.ledger.rows import EDIT_COLUMNS, TASK_COLUMNS, edit_of_row
from gateway.ledger.schema import BUSY_SECONDS, MIGRATIONS, recognise
from gateway.ledger.trouble import LedgerError, unusable

_PREFIX = "edit_"


def edits_of(
    path: Path, *, tenant: str | None, state: str | None, since: float, limit: int
) -> list[EditRecord]:
    """
    Return the newest edits, the newest first.

    Args:
        path: The ledger.
        tenant: Only of this one.
        state: Only in this one.
        since: Only those begun after it, in seconds since the epoch.
        limit: At most so many.

    Raises:
        LedgerError: the file cannot be read as a ledger.
    """
    named = {"tenant": tenant, "state": state}
    wanted = {name: value for name, value in named.items() if value is not None}
    where = "".join(f" AND {name} = ?" for name in wanted)
    order = " ORDER BY created DESC, rowid DESC LIMIT ?"
    return _read(path, f"WHERE created >= ?{where}{order}", (since, *wanted.values(), limit))


def edit_of(path: Path, edit_id: str) -> EditRecord | None:
    """
    Return one edit.

    Raises:
        LedgerError: the file cannot be read as a ledger.
    """
    found = _read(path, "WHERE edit_id = ?", (edit_id,))
    return found[0] if found else None


def ids_like(path: Path, beginning: str, limit: int) -> list[str]:
    """
    Return the ids that begin so, with or without their ``edit_``, the newest first.

    Args:
        path: The ledger.
        beginning: As the dashboard and ``top`` shorten an id.
        limit: At most so many.

    Raises:
        LedgerError: the file cannot be read as a ledger.
    """
    whole = beginning if beginning.startswith(_PREFIX) else _PREFIX + beginning
    where = "WHERE substr(edit_id, 1, ?) = ? ORDER BY created DESC LIMIT ?"
    return [edit.edit_id for edit in _read(path, where, (len(whole), whole, limit))]


def unfinished_of(path: Path) -> list[EditRecord]:
    """
    Return the edits that are open, or succeeded and are not delivered.

    Raises:
        LedgerError: the file cannot be read as a ledger.
    """
    return _read(path, "WHERE state = 'open' OR (state = 'succeeded' AND delivered = 0)", ())


def _read(path: Path, where: str, values: Sequence[Any]) -> list[EditRecord]:
    try:
        with _opened(path) as connection:
            edits = _select(connection, "edits", EDIT_COLUMNS)
            tasks = _select(connection, "tasks", TASK_COLUMNS) + "WHERE edit_id = ? ORDER BY part"
            rows = connection.execute(edits + where, values).fetchall()
            return [edit_of_row(row, connection.execute(tasks, row[:1])) for row in rows]
    except sqlite3.Error as error:
        raise unusable(path, error) from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Open the ledger for reading alone.

    A reader of a write-ahead log needs its files, and makes them where there are none: a
    file that nobody has open is read as it lies, so that none is left behind.
    """
    if not path.is_file():
        raise LedgerError(path, "is not there", "name the gateway's own config by --config")
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    uri = f"file:{quote(str(path.resolve()))}?{how}"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
        if not recognise(connection, path, len(MIGRATIONS)):
            raise LedgerError(path, "is empty", "start the gateway on it once")
        # One instant for all of its rows.
        connection.execute("BEGIN")
        yield connection


def _select(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> str:
    """Return what reads *columns*; one that an older gateway did not write yet is NULL."""
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    named = (name if name in there else f"NULL AS {name}" for name in columns)
    return f"SELECT {', '.join(named)} FROM {table} "  # noqa: S608 - our own names
