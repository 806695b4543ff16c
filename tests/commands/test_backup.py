import asyncio
import io
import signal
import sqlite3
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.cli import main
from gateway.domain.clock import SystemClock
from gateway.domain.edit import Edit, MaskSource, Picture, Size
from gateway.domain.record import EditRecord, EditState
from gateway.domain.task import ResultImage
from gateway.ledger import backup
from gateway.ledger.open import open_stores
from gateway.ledger.reading import list_edits
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite_schema import MIGRATIONS, only_holder
from tests.harness import KEY
from tests.ledger.records import EDIT, FIRST
from tests.process import GatewayProcess, edit, region, tables, until

_SENT = Edit(model="wan2.5-i2i-preview", prompt="a canary")
_PICTURE = Picture(content=b"\x89PNG canary", media_type="image/png", size=Size(8, 9))


def _config(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "g.toml"
    file.write_text(tables(folder))
    return file


def _backup(folder: Path, file: Path) -> int:
    return main(["backup", str(file), "--config", str(_config(folder))], {})


def _restore(folder: Path, file: Path, *options: str) -> int:
    return main(["restore", str(file), *options, "--config", str(_config(folder))], {})


def _edits(folder: Path) -> dict[str, EditRecord]:
    found = list_edits(folder / "gateway.db", tenant=None, state=None, since=0, limit=99)
    return {record.edit_id: record for record in found}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in backup.FOLDERS
        for path in (folder / f"gateway.db.{kind}").glob("*")
    }


async def _fill(folder: Path, during: Callable[[], None] = lambda: None) -> None:
    """Write an open edit, a masked one, one with URLs, and a promised one; then do *during*."""
    stores = open_stores(str(folder / "gateway.db"), "normal", SystemClock())
    assert isinstance(stores.ledger, SqliteLedger)
    now = SystemClock().epoch()
    async with stores.ledger as ledger:
        opened = replace(EDIT, edit_id="edit_open", created=now)
        await ledger.intend(opened, FIRST)
        await ledger.accept("edit_open", 0, "main", "task-1")
        await stores.mask_sources.put("edit_open", MaskSource(b"original", b"mask"))
        await stores.result_urls.put("edit_open", 0, (ResultImage("https://r.test/canary"),))
        promised = replace(EDIT, edit_id="edit_promised", created=now, idempotency_key=None)
        await stores.promises.put("edit_promised", _SENT, (_PICTURE,))
        await ledger.promise(replace(promised, promised=True))
        (folder / "gateway.db.promised" / "edit_promised.x7_a").write_bytes(b"being written")
        await asyncio.to_thread(during)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A backup that was taken while the ledger was in use."""
    file = tmp_path / "backup.tar"
    codes: list[int] = []
    asyncio.run(_fill(tmp_path / "old", lambda: codes.append(_backup(tmp_path / "old", file))))
    assert codes == [0]
    return file


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    _config(tmp_path / "old")


def test_a_backup_is_all_there_is(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that are still in the log, and files of edits, are in it; only its owner reads it."""
    assert _backup(taken.parent / "old", taken) == 0
    printed = capsys.readouterr().out

    assert printed.startswith(f"{taken}: 2 edits and 3 files of theirs, as of 20")
    assert taken.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in taken.parent.iterdir()} == {"old", "backup.tar"}
    with tarfile.open(taken) as archive:
        assert archive.getnames() == [
            "backup.json",
            "gateway.db",
            "keep/edit_open",
            "receipts/edit_open.0",
            "promised/edit_promised",
        ]


def test_it_comes_back(tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows and files are as they were; what was promised is not, for it may have been paid."""
    before = _files(tmp_path / "old")
    capsys.readouterr()

    assert _restore(tmp_path / "new", taken) == 0

    printed = capsys.readouterr().out
    restored = _edits(tmp_path / "new")
    old = _edits(tmp_path / "old")
    assert "2 edits, as of 20" in printed
    assert "1 edits that were answered with 202 and had not been submitted are left out" in printed
    assert restored["edit_open"] == old["edit_open"]
    assert restored["edit_promised"] == replace(old["edit_promised"], promised=False)
    assert _files(tmp_path / "new") == {
        name: content for name, content in before.items() if "promised" not in name
    }
    assert (tmp_path / "new" / "gateway.db").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "new" / "gateway.db-wal").exists()
    assert not (tmp_path / "new" / "gateway.db.restoring").exists()


def test_a_gateway_takes_no_promise_from_it(tmp_path: Path, taken: Path) -> None:
    """The next gateway follows what was submitted, and does not know what was promised."""
    assert _restore(tmp_path / "new", taken) == 0

    assert asyncio.run(_owed(tmp_path / "new")) == ["edit_open"]


async def _owed(folder: Path) -> list[str]:
    path = folder / "gateway.db"
    async with SqliteLedger(path, sync="normal", epoch=SystemClock().epoch) as ledger:
        return [record.edit_id for record in await ledger.owed()]


def test_promises_on_request(tmp_path: Path, taken: Path) -> None:
    """Who knows that no gateway has run since may have promised edits submitted."""
    assert _restore(tmp_path / "new", taken, "--submit-promised") == 0

    assert _edits(tmp_path / "new")["edit_promised"].promised
    assert "gateway.db.promised/edit_promised" in _files(tmp_path / "new")
    assert asyncio.run(_owed(tmp_path / "new")) == ["edit_open", "edit_promised"]


def test_a_ledger_that_is_there_is_kept(
    tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not replaced unasked; with --replace it stays under another name, log and all."""
    place = tmp_path / "old"
    asyncio.run(_later(place))
    capsys.readouterr()

    assert _restore(place, taken) == 2
    assert "gateway.db: is there already; add --replace to put it aside" in capsys.readouterr().err
    assert "edit_later" in _edits(place)

    assert _restore(place, taken, "--replace") == 0
    (aside,) = place.glob("gateway.db.replaced-by-*")
    assert f"The ledger that was there is {aside} now." in capsys.readouterr().out
    assert "edit_later" not in _edits(place)
    with sqlite3.connect(aside) as connection:
        found = connection.execute("SELECT edit_id FROM edits WHERE edit_id = 'edit_later'")
        assert found.fetchall()
    connection.close()


async def _later(folder: Path) -> None:
    path = folder / "gateway.db"
    async with SqliteLedger(path, sync="normal", epoch=SystemClock().epoch) as ledger:
        await ledger.intend(replace(EDIT, edit_id="edit_later", idempotency_key=None), FIRST)


def test_a_ledger_that_is_read_is_put_aside_with_its_log(tmp_path: Path, taken: Path) -> None:
    """SQLite would play a log that was left there into the restored database."""
    place = tmp_path / "old"
    asyncio.run(_later(place))
    reader = sqlite3.connect(place / "gateway.db", isolation_level=None)
    writer = sqlite3.connect(place / "gateway.db", isolation_level=None)
    writer.execute("UPDATE edits SET tenant = 'new' WHERE edit_id = 'edit_open'")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM edits").fetchall()

    code = _restore(place, taken, "--replace")

    logs = sorted(path.name.rpartition("-")[2] for path in place.glob("gateway.db.replaced-by-*-*"))
    reader.close()
    writer.close()
    assert code == 0
    assert logs[-1] == "wal"
    assert _edits(place)["edit_open"].tenant == "acme"


def test_a_damaged_ledger_can_be_replaced(tmp_path: Path, taken: Path) -> None:
    """It is what most restores are for; the damaged file is kept."""
    place = tmp_path / "new"
    _config(place)
    (place / "gateway.db").write_bytes(b"not a database" * 100)

    assert _restore(place, taken, "--replace") == 0

    (aside,) = place.glob("gateway.db.replaced-by-*")
    assert aside.read_bytes().startswith(b"not a database")
    assert "edit_open" in _edits(place)


def test_a_backup_replaces_only_a_backup(
    tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next backup may have the same name; another file, such as the ledger, is left alone."""
    place = tmp_path / "old"
    assert _backup(place, taken) == 0
    capsys.readouterr()

    assert _backup(place, place / "gateway.db") == 2
    assert capsys.readouterr().err == (
        f"FILE: {place / 'gateway.db'}: exists and is not a backup; name another file\n"
    )
    assert _edits(place)


def test_no_restore_beside_a_gateway(
    tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway that runs would go on with the old file: it has to be stopped."""
    with only_holder(tmp_path / "old" / "gateway.db"):
        assert _restore(tmp_path / "old", taken, "--replace") == 2

    assert "is in use by process" in capsys.readouterr().err
    assert "edit_open" in _edits(tmp_path / "old")


def _tar(file: Path, *entries: tuple[str, bytes], link: str = "") -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo("keep/edit_1")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)


_ABOUT = ("backup.json", b'{"format": "wan-gateway backup 1", "taken_at": "2026"}')


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        pytest.param([], "is not a backup of wan-gateway", id="empty"),
        pytest.param([("a.txt", b"")], "is not a backup of wan-gateway", id="another-archive"),
        pytest.param([("backup.json", b"[]")], "is not a backup of wan-gateway", id="no-object"),
        pytest.param([("backup.json", b"{")], "is damaged, or not a backup", id="no-json"),
        pytest.param([_ABOUT], "is damaged, or not a backup", id="without-a-database"),
        pytest.param(
            [_ABOUT, ("keep/../../evil", b"")], "is damaged, or not a backup", id="a-way-out"
        ),
        pytest.param(
            [_ABOUT, ("/evil", b"")], "is damaged, or not a backup", id="an-absolute-path"
        ),
        pytest.param([_ABOUT, ("gateway.db", b"x" * 999)], "is not a SQLite database", id="no-db"),
    ],
)
def test_what_is_no_backup(
    tmp_path: Path,
    entries: list[tuple[str, bytes]],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is refused in one line, and neither a ledger nor any other file is made of it."""
    file = tmp_path / "backup.tar"
    _tar(file, *entries)

    assert _restore(tmp_path / "new", file) == 2

    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {"g.toml", "gateway.db.lock"}
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link in an archive could lead what is written later to another file."""
    file = tmp_path / "backup.tar"
    _tar(file, _ABOUT, link="/etc/passwd")

    assert _restore(tmp_path / "new", file) == 2
    assert "is damaged, or not a backup" in capsys.readouterr().err


def test_files_that_cannot_be_used(
    tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing, a text, and folders that cannot be written are named."""
    text = tmp_path / "text"
    text.write_text("hello" * 1000)
    (tmp_path / "new").write_text("a file in the place of a folder")
    capsys.readouterr()
    config = str(tmp_path / "old" / "g.toml")

    assert main(["restore", str(tmp_path / "no.tar"), "--config", config], {}) == 2
    assert main(["restore", str(text), "--config", config], {}) == 2
    assert main(["backup", str(tmp_path / "no" / "b.tar"), "--config", config], {}) == 2
    (tmp_path / "other.toml").write_text(f'[state]\npath = "{tmp_path}/new/gateway.db"\n')
    assert main(["restore", str(taken), "--config", str(tmp_path / "other.toml")], {}) == 2

    missing, damaged, folder, ledger = capsys.readouterr().err.splitlines()
    missing_file = "cannot be read (No such file or directory); name a backup"
    no_folder = "cannot be written (No such file or directory); name a file in a folder with room"
    no_ledger = "cannot be written (File exists); make room, or give the right to write"
    assert missing == f"FILE: {tmp_path}/no.tar: {missing_file}"
    assert damaged == f"FILE: {text}: is damaged, or not a backup; name another"
    assert folder == f"FILE: {tmp_path}/no/b.tar: {no_folder}"
    assert ledger == f"state.path: {tmp_path}/new/gateway.db: {no_ledger}"


def test_no_ledger_to_back_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger that is not there, is damaged, in memory or in a database is named."""
    place = tmp_path / "old"
    assert _backup(place, tmp_path / "b.tar") == 2
    assert "gateway.db: is not there" in capsys.readouterr().err
    (place / "gateway.db").write_bytes(b"not a database" * 100)
    assert _backup(place, tmp_path / "b.tar") == 2
    assert "gateway.db: is not a SQLite database" in capsys.readouterr().err
    assert not (tmp_path / "b.tar").exists()

    other = tmp_path / "other.toml"
    dump = "use pg_dump and pg_restore (docs/howto/postgresql.md)"
    for state, says in (
        ('path = "memory"', 'state.path: is "memory", of which nothing is kept; set a file\n'),
        (
            'url = "postgres://h/d"',
            f"state.url: the ledger is a PostgreSQL database; {dump}\n",
        ),
    ):
        other.write_text(f"[state]\n{state}\n")
        for command in ("backup", "restore"):
            assert main([command, "b.tar", "--config", str(other)], {}) == 2
            assert capsys.readouterr().err == f"{other}: {says}"


@pytest.mark.parametrize("version", [3, len(MIGRATIONS) + 1])
def test_a_backup_of_another_version(
    tmp_path: Path, taken: Path, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older one is taken, for the start to bring up to date; a newer one is refused."""
    with tarfile.open(taken) as archive:
        archive.extract("gateway.db", tmp_path / "x", filter="data")
    path = tmp_path / "x" / "gateway.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    other = tmp_path / "other.tar"
    _tar(other, _ABOUT, ("gateway.db", path.read_bytes()))

    code = _restore(tmp_path / "new", other)

    assert code == (2 if version > 3 else 0)
    newer = "was written by a newer gateway" in capsys.readouterr().err
    assert newer == (version > 3)


def test_a_damaged_database_in_a_backup(
    tmp_path: Path, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup whose disk has lost a page is found before it becomes the ledger."""
    with tarfile.open(taken) as archive:
        archive.extract("gateway.db", tmp_path / "x", filter="data")
    content = bytearray((tmp_path / "x" / "gateway.db").read_bytes())
    content[4096 * 2 : 4096 * 3] = bytes(4096)
    other = tmp_path / "other.tar"
    _tar(other, _ABOUT, ("gateway.db", bytes(content)))

    assert _restore(tmp_path / "new", other) == 2
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "new" / "gateway.db").exists()


def test_a_file_that_goes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit may end while its file is copied: the backup is of those that are there."""
    monkeypatch.setattr(backup, "_files_beside", lambda _: [("keep/edit_gone", tmp_path / "gone")])

    asyncio.run(_fill(tmp_path / "old"))
    assert _backup(tmp_path / "old", tmp_path / "b.tar") == 0
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames() == ["backup.json", "gateway.db"]


@pytest.mark.slow
def test_a_lost_disk_costs_no_picture(tmp_path: Path) -> None:
    """Backed up while it runs, killed, its disk lost, restored: the picture comes, paid once."""
    place = tmp_path / "old"
    with region(3.0) as url:
        config = tables(place, url)
        with GatewayProcess(place, config) as first:
            accepted = edit(first, prefer="respond-async").json()
            until(lambda: _edits(place)[accepted["id"]].tasks != ())
            until(lambda: _edits(place)[accepted["id"]].tasks[0].task_id is not None)
            assert _backup(place, tmp_path / "b.tar") == 0
            first.send(signal.SIGKILL)
        for path in place.glob("gateway.db*"):
            if path.is_file():
                path.unlink()
        assert _restore(place, tmp_path / "b.tar") == 0
        with GatewayProcess(place, config) as second:
            where = f"{second.url}/v1/images/edits/{accepted['id']}"
            key = {"authorization": f"Bearer {KEY}"}
            answers: list[httpx.Response] = []

            def is_made() -> bool:
                answers.append(httpx.get(where, headers=key, timeout=30, trust_env=False))
                return answers[-1].status_code != 202

            until(is_made)
            books = httpx.get(f"{url}/_sandbox/books", timeout=30, trust_env=False).json()
            second.terminate()
            second.end()

    assert answers[-1].status_code == 200, answers[-1].text
    assert books["tasks_made"] == 1
    assert _edits(place)[accepted["id"]].state is EditState.SUCCEEDED
