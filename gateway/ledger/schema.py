"""The ledger's file: made private, recognised, checked, and brought to this version's tables."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.ledger.lock import only_holder
from gateway.ledger.trouble import LedgerError, damaged, unusable

APPLICATION_ID = 0x77616E67  # "wang"; file(1) and we know the file by it
BUSY_SECONDS = 2.0  # so long a write waits for another program's transaction
SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}

_CHECKED_BYTES = 32 * 1024 * 1024  # a whole check of so much takes about 0.1 s

# One entry per version; never change one that was released, add the next.
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
        # Models without tasks have none: what stands for them may be told twice.
        # Of two parts that named one task the older keeps it; the other is settled again.
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
)


@contextmanager
def opened(path: Path, sync: str) -> Iterator[sqlite3.Connection]:
    """
    Open the ledger at *path* alone; make it, or bring it up to date, if need be.

    Args:
        path: The file; its directory is made if it is not there.
        sync: ``normal`` or ``full``.

    Raises:
        LedgerError: the file cannot be used as a ledger.
    """
    _make_room(path)
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


def prepare(
    connection: sqlite3.Connection,
    path: Path,
    sync: str,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> None:
    """Recognise, check and migrate the file; whatever is not ours is left as it was."""
    version = recognise(connection, path, len(migrations))
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(path, "lies where no write-ahead log can be", "put it on a local disk")
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
    """Commit what the block does, or leave no trace of it."""
    # A reader that turned writer could find that another process had written in between.
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            connection.execute("ROLLBACK")
        raise


def _make_room(path: Path) -> None:
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
    """Make the file before SQLite does, whose log files then take over its mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def recognise(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """Return the version of the tables in the file; 0 for an empty one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or things):
        raise LedgerError(
            path, "is another program's database", "name another file in [state] path"
        )
    if version > newest:
        raise LedgerError(
            path,
            f"was written by a newer gateway (its tables are version {version}, "
            f"this one knows up to {newest})",
            "start that version again, or name another file in [state] path",
        )
    return int(version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage, unless the file is too big for a quick start."""
    if path.stat().st_size > _CHECKED_BYTES:
        return
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path)
