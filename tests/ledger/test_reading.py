import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain.errors import ContentRefused
from gateway.domain.record import EditState, StrayTask, TaskState
from gateway.ledger.errors import LedgerError
from gateway.ledger.reading import find_edit, list_edits, list_strays, list_unfinished
from gateway.ledger.rows import EDIT_COLUMNS, TASK_COLUMNS, row_of_edit, row_of_task
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite_schema import MIGRATIONS, opened, prepare
from tests.ledger.records import EDIT, FIRST, NOW, SECOND, Calendar, edit

pytestmark = pytest.mark.anyio

NEW_COLUMNS = {
    *("adjusted", "compression", "scale_to", "composite", "key_id", "base_url", "prompt_forms"),
    "promised",
    "attempt",
}


def _ids(path: Path, **more: object) -> list[str]:
    fields = {"tenant": None, "state": None, "since": 0.0, "limit": 50} | more
    return [record.edit_id for record in list_edits(path, **fields)]  # type: ignore[arg-type]


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


async def _written(path: Path) -> Path:
    async with SqliteLedger(path, sync="normal", epoch=Calendar()) as ledger:
        for age in (300, 0, 100):
            await ledger.intend(edit(f"edit_{age}", age=age, key=None), FIRST)
        await ledger.intend(replace(edit("edit_200", age=200), tenant="other"), FIRST)
        await ledger.end_edit("edit_100", EditState.FAILED, ContentRefused("no"))
    return path


async def test_the_newest_come_first(tmp_path: Path) -> None:
    """Edits come by age, whatever the order in which they were written."""
    path = await _written(tmp_path / "g.db")

    assert _ids(path) == ["edit_0", "edit_100", "edit_200", "edit_300"]
    assert _ids(path, limit=2) == ["edit_0", "edit_100"]
    assert _ids(path, since=NOW - 200) == ["edit_0", "edit_100", "edit_200"]
    assert _ids(path, tenant="other") == ["edit_200"]
    assert _ids(path, state="failed") == ["edit_100"]
    assert _ids(path, state="open", tenant="acme", since=NOW - 250) == ["edit_0"]


async def test_all_of_an_edit(tmp_path: Path) -> None:
    """One edit comes with its tasks, as the gateway itself would read it."""
    path = tmp_path / "g.db"
    async with SqliteLedger(path, sync="normal", epoch=Calendar()) as ledger:
        await ledger.intend(EDIT, FIRST)
        await ledger.intend(EDIT, SECOND)
        await ledger.accept("edit_1", 0, "beijing-main", "task-1")

        found = find_edit(path, "edit_1")

        assert found == await ledger.find("edit_1")
        assert found is not None
        assert [task.state for task in found.tasks] == [TaskState.ACCEPTED, TaskState.SUBMITTING]
        assert find_edit(path, "edit_2") is None


async def test_beside_a_gateway_that_writes(tmp_path: Path) -> None:
    """A reader neither waits for the gateway nor holds it up, and sees what is committed."""
    path = tmp_path / "g.db"
    with opened(path, "normal") as writer:
        writer.execute("BEGIN IMMEDIATE")

        assert _ids(path) == []

        writer.execute("COMMIT")
    assert "g.db-wal" not in _names(tmp_path)


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Reading a ledger that nobody has open leaves its folder as it was."""
    path = await _written(tmp_path / "g.db")
    before = _names(tmp_path)

    assert len(_ids(path)) == 4

    assert _names(tmp_path) == before


async def test_what_a_killed_gateway_left(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What was only in the write-ahead log when the process died is read too."""
    path, copy = tmp_path / "g.db", tmp_path_factory.mktemp("copy")
    async with SqliteLedger(path, sync="normal", epoch=Calendar()) as ledger:
        await ledger.intend(EDIT, FIRST)
        for name in ("g.db", "g.db-wal", "g.db-shm"):
            shutil.copy(tmp_path / name, copy)

    assert _ids(copy / "g.db") == ["edit_1"]


def test_a_ledger_of_an_older_gateway(tmp_path: Path) -> None:
    """What an older version wrote is read as it lies; what it did not write yet is unknown."""
    path = tmp_path / "g.db"
    old_edit = [name for name in EDIT_COLUMNS if name not in NEW_COLUMNS]
    old_task = [name for name in TASK_COLUMNS if name not in NEW_COLUMNS]
    rows = (
        ("edits", old_edit, EDIT_COLUMNS, row_of_edit(EDIT)),
        ("tasks", old_task, TASK_COLUMNS, row_of_task("edit_1", FIRST)),
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, path, "normal", MIGRATIONS[:1])
        for table, names, columns, row in rows:
            values = dict(zip(columns, row, strict=True))
            marks = ", ".join("?" * len(names))
            connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608 - our own names
                [values[name] for name in names],
            )

    assert list_unfinished(path) == [replace(EDIT, tasks=(FIRST,))]
    assert list_strays(path) == []


async def test_strays(tmp_path: Path) -> None:
    """Tasks that no edit has taken are named with the edit for which they were made."""
    path = tmp_path / "g.db"
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as ledger:
        await ledger.accept("edit_gone", 1, "beijing-main", "t1", attempt="a1")

    assert list_strays(path) == [StrayTask("edit_gone", 1, "beijing-main", "t1")]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda path: None, "is not there; name the gateway's own config", id="none"),
        pytest.param(
            lambda path: path.write_text("x" * 200), "is not a SQLite database", id="text"
        ),
        pytest.param(
            lambda path: sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close(),
            "is another program's database",
            id="theirs",
        ),
        pytest.param(Path.touch, "is empty; start the gateway on it once", id="empty"),
    ],
)
def test_no_ledger_to_read(tmp_path: Path, make: object, says: str) -> None:
    """A file that is no ledger is refused in one line."""
    path = tmp_path / "g.db"
    make(path)  # type: ignore[operator]

    with pytest.raises(LedgerError) as caught:
        _ids(path)

    assert f"{path}: {says}" in str(caught.value)


def test_strays_of_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    """A file of anything else is an error that names it."""
    file = tmp_path / "ledger.db"
    file.write_bytes(b"something else, long enough to have a head" * 100)

    with pytest.raises(LedgerError, match=r"ledger\.db"):
        list_strays(file)
