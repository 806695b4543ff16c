"""The ledger as an operator reads it, beside a running gateway and without changing a file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.domain.record import EditRecord, StrayTask
from gateway.ledger.errors import LedgerError, unusable
from gateway.ledger.rows import EDIT_COLUMNS, TASK_COLUMNS, edit_of_row
from gateway.ledger.sqlite_schema import BUSY_SECONDS, MIGRATIONS, only_holder, recognise

Place = Path | str
"""Where a ledger is: a file, or the URL of a PostgreSQL database."""

_PREFIX = "edit_"


@contextmanager
def unheld(place: Place) -> Iterator[None]:
    """
    Make sure that no gateway uses the ledger; one cannot begin to use a file meanwhile.

    Raises:
        LedgerHeldError: a gateway uses it.
        LedgerError: the ledger cannot be read.
    """
    if isinstance(place, str):
        import_module("gateway.ledger.postgres_reading").refuse_if_held(place)
        yield
    else:
        with only_holder(place.resolve()):
            yield


def list_edits(
    place: Place, *, tenant: str | None, state: str | None, since: float, limit: int
) -> list[EditRecord]:
    """
    Return the newest edits, the newest first.

    Args:
        place: The ledger.
        tenant: Only edits of this tenant.
        state: Only edits in this state.
        since: Only edits that began then or later, in seconds since 1970.
        limit: The maximum number.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    named = {"tenant": tenant, "state": state}
    wanted = {name: value for name, value in named.items() if value is not None}
    where = "".join(f" AND {name} = ?" for name in wanted)
    row = "seq" if isinstance(place, str) else "rowid"
    order = f" ORDER BY created DESC, {row} DESC LIMIT ?"
    return _read(place, f"WHERE created >= ?{where}{order}", (since, *wanted.values(), limit))


def find_edit(place: Place, edit_id: str) -> EditRecord | None:
    """
    Return one edit.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    found = _read(place, "WHERE edit_id = ?", (edit_id,))
    return found[0] if found else None


def find_ids(place: Place, prefix: str, limit: int) -> list[str]:
    """
    Return the edits whose id, or the id of one of whose tasks, has this prefix, newest first.

    Args:
        place: The ledger.
        prefix: Of DashScope's id of a task, or of the edit's, as the dashboard and ``top`` show
            it; ``edit_`` may be missing.
        limit: The maximum number.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    whole = prefix if prefix.startswith(_PREFIX) else _PREFIX + prefix
    tasks = "wan_gateway.tasks" if isinstance(place, str) else "tasks"
    of_task = f"SELECT edit_id FROM {tasks} WHERE substr(task_id, 1, ?) = ?"  # noqa: S608 - our own names
    where = (
        f"WHERE substr(edit_id, 1, ?) = ? OR edit_id IN ({of_task}) ORDER BY created DESC LIMIT ?"
    )
    values = (len(whole), whole, len(prefix), prefix, limit)
    return [edit.edit_id for edit in _read(place, where, values)]


def list_unfinished(place: Place) -> list[EditRecord]:
    """
    Return the edits that are open, or succeeded and are not delivered.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    return _read(place, "WHERE state = 'open' OR (state = 'succeeded' AND NOT delivered)", ())


def list_strays(place: Place) -> list[StrayTask]:
    """
    Return the tasks that reached the ledger too late, and which no edit has taken.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    if isinstance(place, str):
        strays: list[StrayTask] = import_module("gateway.ledger.postgres_reading").read_strays(
            place
        )
        return strays
    try:
        with opened_read_only(place) as connection:
            if not connection.execute("PRAGMA table_info(strays)").fetchall():
                return []  # an older gateway kept none
            columns = "edit_id, part, upstream, task_id"
            rows = connection.execute(f"SELECT {columns} FROM strays ORDER BY seen")  # noqa: S608 - our own names
            return [StrayTask(*row) for row in rows]
    except sqlite3.Error as error:
        raise unusable(place, error) from error


def find_owners(place: Place, edits: Sequence[EditRecord]) -> dict[str, str]:
    """
    Return for each of *edits* the node that owns it; none without a cluster.

    Raises:
        LedgerError: it cannot be read as a ledger.
    """
    if not isinstance(place, str):
        return {}
    owners: dict[str, str] = import_module("gateway.ledger.postgres_reading").read_owners(
        place, [edit.edit_id for edit in edits]
    )
    return owners


def _read(place: Place, where: str, values: Sequence[Any]) -> list[EditRecord]:
    """*where* is SQL for both kinds of databases, with ``?`` for each of *values*."""
    if isinstance(place, str):
        module = import_module("gateway.ledger.postgres_reading")
        edits: list[EditRecord] = module.read(place, where, values)
        return edits
    path = place
    try:
        with opened_read_only(path) as connection:
            tasks = _select(connection, "tasks", TASK_COLUMNS) + "WHERE edit_id = ? ORDER BY part"
            sql = _select(connection, "edits", EDIT_COLUMNS) + where
            rows = connection.execute(sql, values).fetchall()
            return [edit_of_row(row, connection.execute(tasks, row[:1])) for row in rows]
    except sqlite3.Error as error:
        raise unusable(path, error) from error


@contextmanager
def opened_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Open the ledger read-only.

    A reader of a write-ahead log needs its files and creates them if they are missing. A
    database that no process has open is therefore read as immutable, so that none is left.
    """
    if not path.is_file():
        raise LedgerError(path, "is not there", "name the gateway's own config by --config")
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    uri = f"file:{quote(str(path.resolve()))}?{how}"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
        if not recognise(connection, path, len(MIGRATIONS)):
            raise LedgerError(path, "is empty", "start the gateway on it once")
        # One snapshot for all rows.
        connection.execute("BEGIN")
        yield connection


def _select(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> str:
    """Return a SELECT of *columns*; one that an older gateway did not create yet is NULL."""
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    named = (name if name in there else f"NULL AS {name}" for name in columns)
    return f"SELECT {', '.join(named)} FROM {table} "  # noqa: S608 - our own names
