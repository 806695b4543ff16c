"""The SQLite file of the ledger: locked, created, recognised, checked and migrated."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.ledger.errors import LedgerError, LedgerHeldError, damaged, unusable

APPLICATION_ID = 0x77616E67  # "wang": by it file(1) and the gateway recognise the file
BUSY_SECONDS = 2.0  # so long a write waits for the transaction of another program
SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}

_CHECKED_BYTES = 32 * 1024 * 1024  # a full check of so much takes about 0.1 s

# One entry for each version. Never change a released one: add the next.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE edits (
            edit_id TEXT NOT NULL UNIQUE,
            tenant TEXT NOT NULL,
            region TEXT NOT NULL,
            digest TEXT NOT NULL,
            prompt_digest TEXT NOT NULL,
            model TEXT NOT NULL,
            n INTEGER NOT NULL,
            response_format TEXT NOT NULL,
            output_format TEXT NOT NULL,
            created REAL NOT NULL,
            state TEXT NOT NULL,
            idempotency_key TEXT,
            ignored TEXT NOT NULL,
            delivered INTEGER NOT NULL,
            error_code TEXT,
            error_message TEXT,
            error_kind TEXT,
            error_retry INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE tasks (
            edit_id TEXT NOT NULL,
            part INTEGER NOT NULL,
            n INTEGER NOT NULL,
            upstream TEXT NOT NULL,
            account TEXT NOT NULL,
            state TEXT NOT NULL,
            intended_at REAL NOT NULL,
            seed INTEGER,
            task_id TEXT,
            outcome TEXT,
            PRIMARY KEY (edit_id, part)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX edits_by_age ON edits (created, state)",
        """
        CREATE INDEX edits_by_key ON edits (tenant, idempotency_key)
        WHERE idempotency_key IS NOT NULL
        """,
        """
        CREATE INDEX edits_owed ON edits (created)
        WHERE state = 'open' OR (state = 'succeeded' AND delivered = 0)
        """,
        "CREATE INDEX tasks_by_id ON tasks (task_id) WHERE task_id IS NOT NULL",
    ),
    (
        "ALTER TABLE edits ADD COLUMN adjusted TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE edits ADD COLUMN compression INTEGER",
        "ALTER TABLE edits ADD COLUMN scale_to TEXT",
        "ALTER TABLE edits ADD COLUMN composite INTEGER NOT NULL DEFAULT 0",
    ),
    (
        "ALTER TABLE edits ADD COLUMN born REAL NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN key_id TEXT",
        "ALTER TABLE tasks ADD COLUMN base_url TEXT",
        "CREATE TABLE age (boot TEXT NOT NULL, elapsed REAL, epoch REAL, lived REAL)",
    ),
    (
        "ALTER TABLE edits ADD COLUMN promised INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE edits ADD COLUMN delivered_age REAL",
        "CREATE INDEX edits_by_content ON edits (tenant, digest)",
    ),
    (
        "ALTER TABLE edits ADD COLUMN prompt_forms TEXT NOT NULL DEFAULT ''",
        # Synchronous models have no task id; their request id may occur twice.
        # If two parts name one task, the older keeps it; the other is resolved again.
        """
        UPDATE tasks SET task_id = NULL, state = iif(state = 'accepted', 'submitting', state)
        WHERE substr(task_id, 1, 8) <> 'request-' AND EXISTS (
            SELECT 1 FROM tasks AS other
            WHERE other.account = tasks.account AND other.task_id = tasks.task_id
            AND (other.intended_at, other.edit_id, other.part)
                < (tasks.intended_at, tasks.edit_id, tasks.part)
        )
        """,
        """
        CREATE UNIQUE INDEX task_of_one_part ON tasks (account, task_id)
        WHERE task_id IS NOT NULL AND substr(task_id, 1, 8) <> 'request-'
        """,
    ),
    (
        "ALTER TABLE tasks ADD COLUMN attempt TEXT NOT NULL DEFAULT ''",
        """
        CREATE TABLE strays (
            attempt TEXT NOT NULL PRIMARY KEY,
            edit_id TEXT NOT NULL,
            part INTEGER NOT NULL,
            upstream TEXT NOT NULL,
            task_id TEXT NOT NULL,
            seen REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX strays_by_part ON strays (edit_id, part)",
        "CREATE INDEX strays_by_task ON strays (task_id)",
    ),
)


@contextmanager
def opened(path: Path, sync: str) -> Iterator[sqlite3.Connection]:
    """
    Open the ledger at *path* for this process alone; create or migrate it if necessary.

    Args:
        path: The file; its directory is created if it is missing.
        sync: ``normal`` or ``full``.

    Raises:
        LedgerError: the file cannot be used as a ledger.
    """
    _make_directory(path)
    with only_holder(path):
        try:
            _make_private(path)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise unusable(path, error) from error
        with closing(connection):
            try:
                prepare(connection, path, sync)
            except sqlite3.Error as error:
                raise unusable(path, error) from error
            yield connection


@contextmanager
def only_holder(path: Path) -> Iterator[None]:
    """
    Lock ``PATH.lock`` for the length of the block: one process for each ledger.

    It is an advisory lock, which the kernel releases when its holder dies. The lock file is
    never removed: between a removal and the next opening two processes could lock two files
    of one name. The ledger's own file is not locked, since SQLite has locks of its own on it,
    which the closing of a second descriptor would release.

    Raises:
        LedgerHeldError: another process holds the lock; the message names it.
        LedgerError: the file system cannot lock it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(lock, error) from error
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise LedgerHeldError(
            path,
            f"is in use by process {pid or 'that just started'}",
            "stop that one, or name another file in [state] path",
        ) from None
    except OSError as error:
        raise LedgerError(
            path, f"cannot be locked ({error.strerror})", "put it on a local disk"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def prepare(
    connection: sqlite3.Connection,
    path: Path,
    sync: str,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> None:
    """Recognise, check and migrate the file; the file of another program is not changed."""
    version = recognise(connection, path, len(migrations))
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            path,
            "its file system has no write-ahead log",
            "put it on a local disk",
        )
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[sync]}")
    _check(connection, path)
    with transaction(connection, writes=True):
        for number, statements in enumerate(migrations[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, writes: bool) -> Iterator[None]:
    """Commit what the block does, or roll it back."""
    # IMMEDIATE: a read that became a write could fail since another process wrote in between.
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            connection.execute("ROLLBACK")
        raise


def _make_directory(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            path,
            f"its directory cannot be made ({error.strerror})",
            "make it, or name another file in [state] path",
        ) from error
    if path.is_dir():
        raise LedgerError(path, "is a directory", "name a file in [state] path")


def _make_private(path: Path) -> None:
    """Create the file before SQLite does: its log files take over the mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def recognise(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """Return the version of the tables in the file; 0 for an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or objects):
        raise LedgerError(
            path, "is another program's database", "name another file in [state] path"
        )
    if version > newest:
        raise LedgerError(
            path,
            f"was written by a newer gateway (its tables are version {version}, "
            f"this one knows up to {newest})",
            "start that version again, or restore a backup from before it (docs/howto/upgrade.md)",
        )
    return int(version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Check the file for damage, unless it is too big for a quick start."""
    if path.stat().st_size > _CHECKED_BYTES:
        return
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path)
