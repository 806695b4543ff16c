"""A ledger that cannot be used: one line for the operator, which stops the start."""

import sqlite3
from pathlib import Path


class LedgerError(Exception):
    """One line: ``PATH: what is wrong; what to do``."""

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}; {remedy}")


class LedgerHeldError(LedgerError):
    """Another gateway uses the ledger."""


_ASIDE = (
    "restore it, or move it aside to begin again (its unfinished edits can then only be found in "
    "DashScope's task list)"
)
_WRITABLE = "give the gateway's user write access to it and to its directory"

# Primary result codes, https://sqlite.org/rescode.html
_BY_CODE = {
    sqlite3.SQLITE_NOTADB: ("is not a SQLite database", "name another file in [state] path"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _ASIDE),
    sqlite3.SQLITE_READONLY: ("cannot be written", _WRITABLE),
    sqlite3.SQLITE_PERM: ("cannot be written", _WRITABLE),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _WRITABLE),
    sqlite3.SQLITE_BUSY: ("is locked by another program", "end that program's transaction"),
    sqlite3.SQLITE_FULL: ("cannot be written: the disk is full", "make room"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk fails", "look at the disk"),
}


def damaged(path: Path) -> LedgerError:
    return LedgerError(path, *_BY_CODE[sqlite3.SQLITE_CORRUPT])


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for an error of the module itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def unusable(path: Path, error: sqlite3.Error | OSError) -> LedgerError:
    """Return the error for the operator after *path* could not be opened or read."""
    if isinstance(error, OSError):
        return LedgerError(path, f"cannot be opened ({error.strerror})", _WRITABLE)
    otherwise = (f"cannot be used ({error})", "look at the file and its disk")
    return LedgerError(path, *_BY_CODE.get(primary_code(error), otherwise))
