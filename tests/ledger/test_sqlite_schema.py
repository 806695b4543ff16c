import errno
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.ledger.errors import LedgerError
from gateway.ledger.rows import EDIT_COLUMNS, edit_of_row, row_of_edit
from gateway.ledger.sqlite_schema import (
    APPLICATION_ID,
    MIGRATIONS,
    only_holder,
    opened,
    prepare,
    transaction,
)
from tests.ledger.records import EDIT

NOBODY = 65534
_SINCE_VERSION_1 = {"adjusted", "compression", "scale_to", "composite", "prompt_forms", "promised"}


def start(path: Path) -> None:
    """Open the ledger as a start does, and close it."""
    with opened(path, "normal"):
        pass


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def fill(path: Path) -> None:
    """Make a ledger of some dozen pages."""
    with opened(path, "normal") as connection, transaction(connection, writes=True):
        row = ("x" * 300, 0, 1, "u", "a", "ended", 0.0)
        for number in range(200):
            connection.execute(
                "INSERT INTO tasks (edit_id, part, n, upstream, account, state, intended_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (f"{number}{row[0]}", *row[1:]),
            )


def a_directory(path: Path) -> None:
    path.mkdir()


def another_file(path: Path) -> None:
    path.write_bytes(b"certainly no database, but long enough to be looked at\n" * 40)


def another_programs_database(path: Path) -> None:
    change(path, "CREATE TABLE theirs (x)")


def another_programs_empty_database(path: Path) -> None:
    change(path, "PRAGMA application_id = 42")


def a_newer_ledger(path: Path) -> None:
    start(path)
    change(path, "PRAGMA user_version = 99")


def a_cut_ledger(path: Path) -> None:
    fill(path)
    os.truncate(path, path.stat().st_size // 2)


def a_scratched_ledger(path: Path) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)


@pytest.mark.parametrize(
    ("lay", "message"),
    [
        pytest.param(a_directory, "is a directory; name a file in [state] path", id="directory"),
        pytest.param(
            another_file,
            "is not a SQLite database; name another file in [state] path",
            id="foreign-file",
        ),
        pytest.param(
            another_programs_database,
            "is another program's database; name another file in [state] path",
            id="foreign-tables",
        ),
        pytest.param(
            another_programs_empty_database,
            "is another program's database; name another file in [state] path",
            id="foreign-mark",
        ),
        pytest.param(
            a_newer_ledger,
            "was written by a newer gateway (its tables are version 99, this one knows up to 6); "
            "start that version again, or restore a backup from before it (docs/howto/upgrade.md)",
            id="newer",
        ),
        pytest.param(
            a_cut_ledger,
            "is damaged; restore it, or move it aside to begin again (its unfinished edits can "
            "then only be found in DashScope's task list)",
            id="cut-short",
        ),
        pytest.param(
            a_scratched_ledger,
            "is damaged; restore it, or move it aside to begin again (its unfinished edits can "
            "then only be found in DashScope's task list)",
            id="scratched",
        ),
    ],
)
def test_what_stops_the_start(tmp_path: Path, lay: Callable[[Path], None], message: str) -> None:
    """Each complaint names the file, what is wrong and what to do; the file stays as it was."""
    path = tmp_path / "gateway.db"
    lay(path)
    before = None if path.is_dir() else path.read_bytes()

    with pytest.raises(LedgerError) as refused:
        start(path)

    assert str(refused.value) == f"{path}: {message}"
    assert (None if path.is_dir() else path.read_bytes()) == before


def test_a_big_file_is_not_read_whole(tmp_path: Path) -> None:
    """The start stays quick; damage then shows when it is met."""
    path = tmp_path / "gateway.db"
    a_scratched_ledger(path)
    with pytest.raises(LedgerError):
        start(path)
    with path.open("ab") as file:
        file.truncate(33 * 1024 * 1024)  # a hole, which takes no space

    start(path)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "state").write_text("")

    with pytest.raises(LedgerError, match=r"its directory cannot be made \(File exists\); make"):
        start(tmp_path / "state" / "gateway.db")


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """An operator may have made it, with the rights it should have."""
    path = tmp_path / "gateway.db"
    path.touch()

    start(path)

    with opened(path, "normal") as connection:
        assert version_of(connection) == len(MIGRATIONS)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


@contextmanager
def somebody_else() -> Iterator[Path]:
    """Give a directory that everybody may enter, and be nobody in particular."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        user = os.geteuid()
        try:
            yield Path(name)
        finally:
            os.seteuid(user)


def become_nobody() -> None:
    """Give up root's right to write anywhere; others have none."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


@pytest.mark.parametrize(
    ("mode", "of", "message"),
    [
        pytest.param(0o444, "gateway.db", "gateway.db: cannot be opened", id="file"),
        pytest.param(0o555, "", "gateway.db.lock: cannot be opened", id="directory"),
    ],
)
def test_without_the_right_to_write(mode: int, of: str, message: str) -> None:
    """Read-only, file or directory: said at the start, not at the first edit."""
    with somebody_else() as directory:
        path = directory / "gateway.db"
        if of:
            start(path)
            (directory / "gateway.db.lock").chmod(0o666)
        (directory / of).chmod(mode)
        become_nobody()

        with pytest.raises(LedgerError, match=rf"{message} \(Permission denied\); give"):
            start(path)


def test_a_database_that_cannot_log_ahead(tmp_path: Path) -> None:
    """SQLite says so by keeping another mode, as on a file system without shared memory."""
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
        pytest.raises(
            LedgerError, match="its file system has no write-ahead log; put it on a local"
        ),
    ):
        prepare(connection, tmp_path / "gateway.db", "normal")


def test_only_missing_versions_are_added(tmp_path: Path) -> None:
    """A ledger of this version keeps its rows and gets what the next version adds."""
    path = tmp_path / "gateway.db"
    fill(path)
    migrations = (*MIGRATIONS, ("ALTER TABLE tasks ADD COLUMN more TEXT",))

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, path, "normal", migrations)
        prepare(connection, path, "normal", migrations)

        assert version_of(connection) == len(migrations)
        assert connection.execute("SELECT count(*), more FROM tasks").fetchone() == (200, None)


def test_an_edit_of_the_first_version_is_read_as_it_was(tmp_path: Path) -> None:
    """What it lacks is what it was: nothing done to the pictures, DashScope's own bytes."""
    path = tmp_path / "gateway.db"
    columns = [name for name in EDIT_COLUMNS if name not in _SINCE_VERSION_1]
    row = dict(zip(EDIT_COLUMNS, row_of_edit(EDIT), strict=True))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, path, "normal", MIGRATIONS[:1])
        connection.execute(
            f"INSERT INTO edits ({', '.join(columns)}) "  # noqa: S608 - our own column names
            f"VALUES ({', '.join('?' * len(columns))})",
            [row[name] for name in columns],
        )

        prepare(connection, path, "normal")

        select = f"SELECT {', '.join(EDIT_COLUMNS)} FROM edits"  # noqa: S608 - the same
        (kept,) = connection.execute(select)
    assert edit_of_row(kept, ()) == EDIT


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    """All of it or nothing: the next start may try again."""
    path = tmp_path / "gateway.db"
    start(path)
    migrations = (*MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE half (x)"))

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            prepare(connection, path, "normal", migrations)

        assert version_of(connection) == len(MIGRATIONS)
        (left,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'half'"
        ).fetchone()
        assert left == 0


def test_an_error_that_has_rolled_back_already_is_told_as_it_was() -> None:
    """SQLite ends some transactions itself; a second ROLLBACK would hide the reason."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE once (x UNIQUE ON CONFLICT ROLLBACK)")
        connection.execute("INSERT INTO once VALUES (1)")

        with pytest.raises(sqlite3.IntegrityError), transaction(connection, writes=True):
            connection.execute("INSERT INTO once VALUES (1)")


def test_a_task_of_two_edits_is_the_older_ones(tmp_path: Path) -> None:
    """A ledger in which two parts name one task is brought to where each has its own."""
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, path, "normal", MIGRATIONS[:3])
        for edit_id, at, state, task_id in (
            ("second", 2.0, "accepted", "t"),
            ("first", 1.0, "accepted", "t"),
            ("third", 3.0, "ended", "t"),
            ("fourth", 4.0, "ended", "request-unknown"),
            ("fifth", 5.0, "ended", "request-unknown"),
        ):
            connection.execute(
                "INSERT INTO tasks (edit_id, part, n, upstream, account, state, intended_at, "
                "task_id) VALUES (?, 0, 1, 'u', 'a', ?, ?, ?)",
                (edit_id, state, at, task_id),
            )

    start(path)

    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT edit_id, state, task_id FROM tasks").fetchall()
    assert sorted(found) == [
        ("fifth", "ended", "request-unknown"),
        ("first", "accepted", "t"),
        ("fourth", "ended", "request-unknown"),
        ("second", "submitting", None),
        ("third", "ended", None),
    ]


def test_the_second_holder_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    """The message names file and process; the lock is free again after the block."""
    path = tmp_path / "gateway.db"
    with only_holder(path), pytest.raises(LedgerError) as refused, only_holder(path):
        pass

    with only_holder(path):
        pass
    assert str(refused.value) == (
        f"{path}: is in use by process {os.getpid()}; stop that one, or name another file in "
        "[state] path"
    )


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    """What a dead holder wrote is overwritten."""
    lock = tmp_path / "gateway.db.lock"
    lock.write_text("99999999999\n")

    with only_holder(tmp_path / "gateway.db"):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_a_holder_that_has_not_signed_yet(tmp_path: Path) -> None:
    """Between lock and signature there is no pid to tell."""
    path = tmp_path / "gateway.db"
    with open(tmp_path / "gateway.db.lock", "w") as held:  # noqa: PTH123 - a descriptor is needed
        fcntl.flock(held, fcntl.LOCK_EX)

        with (
            pytest.raises(LedgerError, match="in use by process that just started"),
            only_holder(path),
        ):
            pass


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    """The complaint names the lock's own file."""
    (tmp_path / "gateway.db.lock").mkdir()

    with (
        pytest.raises(LedgerError, match=r"gateway\.db\.lock: cannot be opened \(Is a directory\)"),
        only_holder(tmp_path / "gateway.db"),
    ):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none: better no start than two holders."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with (
        pytest.raises(LedgerError, match=r"cannot be locked \(No locks available\); put it on"),
        only_holder(tmp_path / "gateway.db"),
    ):
        pass
