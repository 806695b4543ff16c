"""A ledger that cannot be used: one line for the operator, which stops the start."""

import sqlite3
from pathlib import Path


class LedgerError(Exception):
    """
    One line: ``SUBJECT: what is wrong; what to do``.

    Args:
        subject: A file, or a database without its URL, which may hold a password.
        what: What is wrong.
        remedy: What the operator can do.
        key: The config key that names the ledger.
    """

    def __init__(self, subject: object, what: str, remedy: str, *, key: str = "state.path") -> None:
        super().__init__(f"{subject}: {what}; {remedy}")
        self.key = key


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


def database_error(what: str, remedy: str) -> LedgerError:
    """Return the error for the operator of a ledger in PostgreSQL."""
    return LedgerError("PostgreSQL", what, remedy, key="state.url")


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
