"""
A backup of the ledger in one file, taken while a gateway runs, and its way back (D117).

The file is a tar archive: ``backup.json``, which says what it is, ``gateway.db``, and the files
of single edits in ``keep/``, ``receipts/`` and ``promised/`` (docs/ledger.md, "What lies on the
disk"). Pictures of queued edits are left out: their edits end with their process.
"""

import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.ledger.atomic_file import sync_folder
from gateway.ledger.errors import LedgerError, damaged, unusable
from gateway.ledger.reading import opened_read_only
from gateway.ledger.sqlite_schema import MIGRATIONS, only_holder, recognise

FOLDERS = ("keep", "receipts", "promised")
"""What is kept for single edits: in ``PATH.keep`` and so on, beside the ledger."""
_ABOUT = "backup.json"
_DATABASE = "gateway.db"
_FORMAT = "wan-gateway backup 1"
_FILE = re.compile(r"[A-Za-z0-9_-]{1,80}(\.[0-9]{1,3})?")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Backup:
    """What was backed up or restored."""

    taken_at: str
    """UTC, in the form of ISO 8601."""
    edits: int
    files: int
    dropped: int = 0
    """Of a restore: edits that were promised by a 202, and are not submitted."""
    replaced: Path | None = None
    """Of a restore: where the ledger is now that was there before."""


def back_up(ledger: Path, file: Path, now: float) -> Backup:
    """
    Write a backup of *ledger*; a gateway may use it meanwhile.

    The edits are those of one moment. A file of an edit that ended while it was copied may be
    missing. *file* appears whole or not at all, for this user only, and replaces an older backup.

    Args:
        ledger: The ledger's database.
        file: Where the backup goes.
        now: Seconds since 1970.

    Raises:
        LedgerError: *ledger* cannot be read, or *file* not be written.
    """
    if file.exists() and not _is_backup(file):
        raise LedgerError(file, "exists and is not a backup", "name another file", key="FILE")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            return _write(ledger, file, Path(folder), now)
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise LedgerError(file, what, "name a file in a folder with room", key="FILE") from error


def _write(ledger: Path, file: Path, folder: Path, now: float) -> Backup:
    copy = folder / _DATABASE
    try:
        with (
            opened_read_only(ledger) as connection,
            closing(sqlite3.connect(copy)) as target,
        ):
            connection.backup(target)
            (edits,) = target.execute("SELECT count(*) FROM edits").fetchone()
    except sqlite3.Error as error:
        raise unusable(ledger, error) from error
    # The database first: what it names is written before it, so that its files are there.
    taken_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = folder / "whole"
    files = 0
    with whole.open("xb") as out, tarfile.open(fileobj=out, mode="w") as archive:
        about = json.dumps({"format": _FORMAT, "taken_at": taken_at}).encode()
        archive.addfile(_entry(_ABOUT, len(about)), io.BytesIO(about))
        archive.addfile(_entry(_DATABASE, copy.stat().st_size), (content := copy.open("rb")))
        content.close()
        for name, path in _files_beside(ledger):
            files += _add(archive, name, path)
        archive.close()
        os.fsync(out.fileno())
    whole.chmod(0o600)
    whole.replace(file)
    sync_folder(file.parent)
    return Backup(taken_at, edits, files)


def _files_beside(ledger: Path) -> Iterator[tuple[str, Path]]:
    for kind in FOLDERS:
        for path in sorted(_folder(ledger, kind).glob("[!.]*")):
            if _FILE.fullmatch(path.name):  # not one that is being written
                yield f"{kind}/{path.name}", path


def _folder(ledger: Path, kind: str) -> Path:
    return ledger.with_name(f"{ledger.name}.{kind}")


def _add(archive: tarfile.TarFile, name: str, path: Path) -> int:
    """Add a file, and return 1; 0 if its edit has just ended."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    archive.addfile(_entry(name, len(content)), io.BytesIO(content))
    return 1


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _is_backup(file: Path) -> bool:
    try:
        with _opened_archive(file):
            return True
    except LedgerError:
        return False


@contextmanager
def _opened_archive(file: Path) -> Iterator[tuple[tarfile.TarFile, str]]:
    """Open a backup; yield it, behind its first entry, and when it was taken."""
    try:
        with tarfile.open(file, "r:") as archive:
            first = archive.next()
            about = archive.extractfile(first) if first and first.name == _ABOUT else None
            says = json.loads(about.read(_MIB)) if about else {}
            if not isinstance(says, dict) or says.get("format") != _FORMAT:
                raise LedgerError(file, "is not a backup of wan-gateway", "name one", key="FILE")
            yield archive, str(says["taken_at"])
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise LedgerError(file, what, "name a backup", key="FILE") from error
    except (tarfile.TarError, ValueError, LookupError) as error:
        raise LedgerError(
            file, "is damaged, or not a backup", "name another", key="FILE"
        ) from error


def restore(file: Path, ledger: Path, *, replace: bool, keep_promised: bool) -> Backup:
    """
    Put a backup in the place of *ledger*, for a gateway that does not run.

    An edit that had been answered with 202 and was not submitted yet may have been submitted
    since the backup: to submit it again would pay twice (P1). Such edits are left out.

    Args:
        file: The backup.
        ledger: Where it goes.
        replace: Whether a ledger that is there is put aside, as ``LEDGER.replaced-TIME``.
        keep_promised: Whether edits that were promised are kept, to be submitted: only safe if
            no gateway has run since the backup.

    Raises:
        LedgerHeldError: a gateway uses *ledger*.
        LedgerError: *file* or *ledger* cannot be used; what was there is there still.
    """
    with _opened_archive(file) as (archive, taken_at), _written(ledger), only_holder(ledger):
        if ledger.exists() and not replace:
            raise LedgerError(ledger, "is there already", "add --replace to put it aside")
        folder = ledger.with_name(f"{ledger.name}.restoring")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            files = _extract(archive, folder)
            promised = [] if keep_promised else sorted((folder / "promised").glob("*"))
            edits, dropped = _prepare(folder / _DATABASE, [path.name for path in promised])
            for path in promised:
                path.unlink()
            replaced = _put(folder, ledger, taken_at)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Backup(taken_at, edits, files, dropped, replaced)


@contextmanager
def _written(ledger: Path) -> Iterator[None]:
    """Make the folder of *ledger*, and translate errors of its disk."""
    try:
        ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise LedgerError(ledger, what, "make room, or give the right to write") from error


def _extract(archive: tarfile.TarFile, folder: Path) -> int:
    """Write what the archive holds below *folder*; names that no backup has stop it."""
    folder.mkdir(mode=0o700)
    files = 0
    while (entry := archive.next()) is not None:
        kind, _, name = entry.name.rpartition("/")
        known = entry.name == _DATABASE if not kind else kind in FOLDERS and _FILE.fullmatch(name)
        content = archive.extractfile(entry) if entry.isreg() else None
        if not known or content is None:
            raise tarfile.ReadError(entry.name)
        path = folder / entry.name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(content, out, _MIB)
            out.flush()
            os.fsync(out.fileno())
        files += entry.name != _DATABASE
    return files


def _prepare(path: Path, unpromised: list[str]) -> tuple[int, int]:
    """
    Check the database, and take back what was promised of some edits.

    Returns:
        How many edits it has, and how many promises were taken back.
    """
    if not path.exists():
        raise tarfile.ReadError(_DATABASE)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            recognise(connection, path, len(MIGRATIONS))
            if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                raise damaged(path)
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            (edits,) = connection.execute("SELECT count(*) FROM edits").fetchone()
            sql = "UPDATE edits SET promised = 0 WHERE edit_id = ? AND state = 'open'"
            changed = [connection.execute(sql, (edit_id,)).rowcount for edit_id in unpromised]
            return edits, sum(changed)
    except sqlite3.Error as error:
        raise unusable(path, error) from error


def _put(folder: Path, ledger: Path, taken_at: str) -> Path | None:
    """
    Move everything into its place, the database last.

    Files of edits do no harm beside a ledger that does not know their edits. So a process that is
    killed in here leaves the old ledger in force or the new one, never none.
    """
    for kind in FOLDERS:
        new = sorted((folder / kind).glob("*"))
        if new:
            _folder(ledger, kind).mkdir(mode=0o700, exist_ok=True)
        for path in new:
            path.replace(_folder(ledger, kind) / path.name)
    aside = None
    if ledger.exists():
        stamp = re.sub(r"[^0-9]", "", taken_at)
        aside = ledger.with_name(f"{ledger.name}.replaced-by-{stamp}")
        _set_aside(ledger, aside)
    (folder / _DATABASE).replace(ledger)
    sync_folder(ledger.parent)
    return aside


def _set_aside(ledger: Path, aside: Path) -> None:
    """Keep *ledger* under a second name, with all that is in its log."""
    try:
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error:  # damaged, or read by another program: its log goes with it
        pass
    aside.unlink(missing_ok=True)
    os.link(ledger, aside)
    for log in ("-wal", "-shm"):
        left = ledger.with_name(ledger.name + log)
        if left.exists():
            left.replace(aside.with_name(aside.name + log))
