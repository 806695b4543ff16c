"""The ledger in a SQLite file, used in a thread of its own."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from gateway.domain.errors import GatewayError, LedgerConflict, TaskFoundError
from gateway.domain.record import KEPT_SECONDS, EditRecord, EditState, TaskRecord, TaskState
from gateway.ledger.errors import unusable
from gateway.ledger.rows import (
    EDIT_COLUMNS,
    MAYBE_BILLED_KINDS,
    TASK_COLUMNS,
    edit_of_row,
    message_without_urls,
    row_of_edit,
    row_of_task,
)
from gateway.ledger.sqlite_schema import opened, transaction
from gateway.ledger.sqlite_writer import Writer

_PURGE_SECONDS = 300.0
_PURGED_AT_ONCE = 500  # edits; it delays other writes by about 5 ms
_VARIABLES_AT_ONCE = 500  # SQLite takes at least 999
_KEPT_STATES = (EditState.OPEN.value, EditState.SUCCEEDED.value, EditState.FAILED.value)


def _upsert(
    table: str, columns: Sequence[str], key: str, *, once: Sequence[str] = (), only: str = "true"
) -> str:
    """
    Return the SQL that inserts a row, or updates the existing one if *only* is true of it.

    The columns *once* are inserted, but never updated.
    """
    names = (*columns, *once)
    marks = ", ".join("?" * len(names))
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) "  # noqa: S608 - our own names
        f"ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE {only}"
    )


_UNPROMISED = tuple(name for name in EDIT_COLUMNS if name != "promised")
_KEEP_EDIT = _upsert("edits", EDIT_COLUMNS, "edit_id", once=("born",), only="edits.state = 'open'")
_KEEP_TASK = _upsert(
    "tasks",
    TASK_COLUMNS,
    "edit_id, part",
    only="tasks.task_id IS NULL AND tasks.attempt <> excluded.attempt",
)
_KEEP_PROMISE = _upsert("edits", ("promised",), "edit_id", once=(*_UNPROMISED, "born"))
_EDITS = f"SELECT {', '.join(EDIT_COLUMNS)} FROM edits "  # noqa: S608 - our own column names
_TASKS_OF = (
    f"SELECT {', '.join(TASK_COLUMNS)} FROM tasks "  # noqa: S608 - the same
    "WHERE edit_id = ? ORDER BY part"
)
_ATTEMPT = "edit_id = ? AND part = ? AND attempt = ?"
_ACCEPT = (
    "UPDATE tasks SET state = iif(state = 'ended', state, 'accepted'), upstream = ?, task_id = ? "  # noqa: S608 - our own
    f"WHERE {_ATTEMPT}"
)
_TASK_OF = (
    "SELECT task_id, upstream FROM tasks WHERE edit_id = ? AND part = ? AND task_id IS NOT NULL"
)
_KEEP_STRAY = (
    "INSERT OR IGNORE INTO strays (edit_id, part, attempt, upstream, task_id, seen) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_STRAY_OF = (
    "SELECT task_id, upstream FROM strays WHERE edit_id = ? AND part = ? AND attempt <> ? "
    "ORDER BY upstream = ? DESC, seen LIMIT 1"
)
_HAS_TASK = "EXISTS (SELECT 1 FROM tasks WHERE tasks.edit_id = edits.edit_id)"
_DOUBTFUL = f"error_retry = 0 AND error_kind IN ({', '.join('?' * len(MAYBE_BILLED_KINDS))})"
_OWED = f"state = 'open' OR (delivered = 0 AND (state = 'succeeded' OR {_DOUBTFUL}))"
_DROP_UNSUBMITTED = f"DELETE FROM edits WHERE state = 'open' AND NOT promised AND NOT {_HAS_TASK}"  # noqa: S608 - the same
# An open edit is never old. Other edits are old by the ledger's age and by the calendar, since
# the calendar alone may be wrong; it says nothing about a row from the future.
_IS_OLD = "state <> 'open' AND born <= ? AND (created <= ? OR created > ?)"
_OLD = f"SELECT edit_id FROM edits WHERE {_IS_OLD} ORDER BY created LIMIT ?"  # noqa: S608 - the same
_NO_ANSWER = f"state = 'failed' AND (error_retry OR NOT {_HAS_TASK})"
"""A key does not replay a refusal that cost nothing: the next request is a new try."""
_MAYBE_JUST_DELIVERED = "delivered_age IS NULL AND created > ?"
"""Rows of the first versions, which had no delivery time; no client waited 10 minutes."""


class SqliteLedger:
    """
    Implements gateway.edits.ports.Ledger. Use as an async context manager.

    Every write is idempotent, and none depends on an earlier read, so that another process on
    the same database could not make it wrong.

    Args:
        path: The file; it and its directory are created if they are missing.
        sync: ``normal`` survives the death of the process, ``full`` also a loss of power.
        epoch: Seconds since 1970.
        elapsed: A monotonic clock, in seconds; without one the calendar is used.
        boot: Id of the boot of the machine to which *elapsed* belongs.
        on_failure: Called with each write that failed, for the operator.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sync: str,
        epoch: Callable[[], float],
        elapsed: Callable[[], float] | None = None,
        boot: str = "",
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._path = Path(path).resolve()  # one lock, by whatever name it is called
        self._epoch = epoch
        self._age = Age(epoch, elapsed or epoch, boot)
        self._next_purge = 0.0
        self._sync = sync
        self._writer = Writer(self._opened, after_write=self._purge, on_failure=on_failure)

    async def __aenter__(self) -> Self:
        """
        Open the ledger.

        Raises:
            LedgerError: the file cannot be used.
        """
        await self._writer.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write what is queued, then close."""
        await self._writer.stop()

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        edit_row = row_of_edit(edit)
        part = (edit.edit_id, task.part)

        def write(connection: sqlite3.Connection) -> tuple[str, str] | None:
            if not connection.execute(_KEEP_EDIT, (*edit_row, self._age())).rowcount:
                raise LedgerConflict("This edit has ended: nothing is submitted for it any more.")
            found: tuple[str, str] | None = connection.execute(_TASK_OF, part).fetchone()
            if found is not None:
                return found
            kept = task
            stray = (*part, task.attempt, task.upstream)
            found = connection.execute(_STRAY_OF, stray).fetchone()
            if found is not None:
                task_id, upstream = found
                if upstream != task.upstream:
                    return found
                connection.execute("DELETE FROM strays WHERE task_id = ?", (task_id,))
                kept = replace(task, state=TaskState.ACCEPTED, task_id=task_id)
            connection.execute(_KEEP_TASK, row_of_task(edit.edit_id, kept))
            return found

        found = await self._writer.run(write, writes=True)
        if found is not None:
            raise TaskFoundError(*found)

    async def promise(self, edit: EditRecord) -> None:
        row = dict(zip(EDIT_COLUMNS, row_of_edit(edit), strict=True))
        values = (1, *(row[name] for name in _UNPROMISED), self._age())
        await self._write(_KEEP_PROMISE, values)

    async def unpromise(self, edit_id: str) -> None:
        await self._write("UPDATE edits SET promised = 0 WHERE edit_id = ?", (edit_id,))

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            try:
                row = connection.execute(_ACCEPT, (upstream, task_id, edit_id, part, attempt))
            except sqlite3.IntegrityError as error:
                raise LedgerConflict("This task is another edit's.") from error
            if not row.rowcount and attempt:
                stray = (edit_id, part, attempt, upstream, task_id, self._age())
                connection.execute(_KEEP_STRAY, stray)
            return bool(row.rowcount)

        return await self._writer.run(write, writes=True)

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        await self._write(
            f"DELETE FROM tasks WHERE {_ATTEMPT} AND state = 'submitting'",  # noqa: S608 - our own
            (edit_id, part, attempt),
        )

    async def end_task(self, edit_id: str, part: int, outcome: str, *, attempt: str = "") -> None:
        await self._write(
            f"UPDATE tasks SET state = ?, outcome = ? WHERE {_ATTEMPT}",  # noqa: S608 - our own
            (TaskState.ENDED.value, outcome, edit_id, part, attempt),
        )

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        if state is EditState.DROPPED:
            await self._writer.run(lambda c: _forget(c, [edit_id]), writes=True)
        elif error is None:
            await self._write(
                "UPDATE edits SET state = ? WHERE edit_id = ?", (state.value, edit_id)
            )
        else:
            await self._write(
                "UPDATE edits SET state = ?, error_code = ?, error_message = ?, error_kind = ?, "
                "error_retry = ? WHERE edit_id = ?",
                (
                    state.value,
                    error.code,
                    message_without_urls(error),
                    type(error).__name__,
                    int(error.retry),
                    edit_id,
                ),
            )

    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        await self._write(
            "UPDATE edits SET delivered = 1, delivered_age = ? WHERE edit_id = ?",
            (self._age() - ago, edit_id),
        )

    async def find(self, edit_id: str) -> EditRecord | None:
        """Return an edit that is open, or began in the last 24 hours."""
        found = await self._read(f"WHERE edit_id = ? AND NOT ({_IS_OLD})", (edit_id, *self._old()))
        return found[0] if found else None

    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        found = await self._read(
            f"WHERE tenant = ? AND idempotency_key = ? AND NOT ({_IS_OLD}) "
            f"AND NOT ({_NO_ANSWER}) ORDER BY created DESC, rowid DESC LIMIT 1",
            (tenant, idempotency_key, *self._old()),
        )
        return found[0] if found else None

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        found = await self._read(
            f"WHERE tenant = ? AND digest IN ({', '.join('?' * len(digests))}) "
            f"AND idempotency_key IS NULL AND NOT ({_IS_OLD}) "
            f"AND (state = 'succeeded' OR state = 'failed' AND {_DOUBTFUL}) "
            f"AND (NOT delivered OR delivered_age > ? OR {_MAYBE_JUST_DELIVERED}) "
            "ORDER BY delivered_age DESC LIMIT 1",
            (
                *(tenant, *digests, *self._old(), *MAYBE_BILLED_KINDS),
                *(self._age() - within, self._epoch() - 2 * within),
            ),
        )
        return found[0] if found else None

    async def owed(self) -> list[EditRecord]:
        """
        Return every edit that is open, or not delivered and a success or doubtful; by age.

        An open edit without a task is included only if it was promised: otherwise its submit was
        refused, and it was waiting in the memory of a process that has died.
        """
        return await self._read(
            f"WHERE ({_OWED}) AND NOT ({_IS_OLD}) "
            f"AND (state <> 'open' OR promised OR {_HAS_TASK}) ORDER BY created, rowid",
            (*MAYBE_BILLED_KINDS, *self._old()),
        )

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        ids = list(task_ids)

        def read(connection: sqlite3.Connection) -> set[str]:
            found: set[str] = set()
            for start in range(0, len(ids), _VARIABLES_AT_ONCE):
                some = ids[start : start + _VARIABLES_AT_ONCE]
                marks = ", ".join("?" * len(some))
                for table in ("tasks", "strays"):
                    sql = f"SELECT task_id FROM {table} WHERE task_id IN ({marks})"  # noqa: S608 - marks
                    found.update(task_id for (task_id,) in connection.execute(sql, some))
            return found

        return await self._writer.run(read, writes=False)

    async def counts(self) -> dict[str, int]:
        """Return how many edits are kept in each state; about 0.1 ms for each thousand."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            rows = connection.execute(
                f"SELECT state, count(*) FROM edits WHERE NOT ({_IS_OLD}) GROUP BY state",  # noqa: S608 - our own
                old,
            )
            return dict.fromkeys(_KEPT_STATES, 0) | dict(rows.fetchall())

        old = self._old()
        return await self._writer.run(read, writes=False)

    async def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute(sql, values)

        await self._writer.run(write, writes=True)

    async def _read(self, where: str, values: tuple[Any, ...]) -> list[EditRecord]:
        def read(connection: sqlite3.Connection) -> list[EditRecord]:
            rows = connection.execute(_EDITS + where, values).fetchall()
            return [edit_of_row(row, connection.execute(_TASKS_OF, row[:1])) for row in rows]

        return await self._writer.run(read, writes=False)

    def _old(self) -> tuple[float, float, float]:
        """Return the values of _IS_OLD."""
        now = self._epoch()
        return self._age() - KEPT_SECONDS, now - KEPT_SECONDS, now

    # ------------------------------------------------------------ in the writer's thread

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with opened(self._path, self._sync) as connection:
            try:
                with transaction(connection, writes=True):
                    connection.execute(_DROP_UNSUBMITTED)
                    self._age.resume(connection)
                    self._age.store(connection)
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error
            self._purge(connection)
            yield connection

    def _purge(self, connection: sqlite3.Connection) -> None:
        """Every few minutes delete some edits that are older than 24 hours."""
        now = self._age()
        if now < self._next_purge:
            return
        self._next_purge = now + _PURGE_SECONDS
        with suppress(sqlite3.Error), transaction(connection, writes=True):
            self._age.store(connection)
            rows = connection.execute(_OLD, (*self._old(), _PURGED_AT_ONCE)).fetchall()
            _forget(connection, [edit_id for (edit_id,) in rows])
            connection.execute("DELETE FROM strays WHERE seen <= ?", (now - KEPT_SECONDS,))
            if len(rows) == _PURGED_AT_ONCE:
                self._next_purge = now


def _forget(connection: sqlite3.Connection, edit_ids: Sequence[str]) -> None:
    ids = [(edit_id,) for edit_id in edit_ids]
    connection.executemany("DELETE FROM tasks WHERE edit_id = ?", ids)
    connection.executemany("DELETE FROM edits WHERE edit_id = ?", ids)


def boot_id(file: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Return the id of this boot of the machine; empty where the kernel has none."""
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""


class Age:
    """
    The age of a ledger in seconds, over any number of processes.

    Within one boot of the machine it follows the monotonic clock. Between two boots it follows
    the calendar, which may be wrong; a negative difference counts as 0.

    Args:
        epoch: Seconds since 1970.
        elapsed: A monotonic clock, in seconds, that all processes of a boot share.
        boot: Id of the boot; if it is empty, a mark is never of the same boot.
    """

    def __init__(
        self, epoch: Callable[[], float], elapsed: Callable[[], float], boot: str = ""
    ) -> None:
        self._epoch = epoch
        self._elapsed = elapsed
        self._boot = boot
        self._age_before = 0.0
        self._resumed_at = elapsed()

    def __call__(self) -> float:
        return self._age_before + self._elapsed() - self._resumed_at

    def resume(self, connection: sqlite3.Connection) -> None:
        """Continue from the mark that the last process left in the ledger."""
        mark = connection.execute("SELECT boot, elapsed, epoch, lived FROM age").fetchone()
        self._resumed_at = self._elapsed()
        if mark is None:
            self._age_before = 0.0
            return
        boot, elapsed, epoch, age = mark
        if boot and boot == self._boot and elapsed <= self._resumed_at:
            passed = self._resumed_at - elapsed
        else:
            passed = max(0.0, self._epoch() - epoch)
        self._age_before = age + passed

    def store(self, connection: sqlite3.Connection) -> None:
        """Store the present age in the ledger."""
        connection.execute("DELETE FROM age")
        connection.execute(
            "INSERT INTO age (boot, elapsed, epoch, lived) VALUES (?, ?, ?, ?)",
            (self._boot, self._elapsed(), self._epoch(), self()),
        )
