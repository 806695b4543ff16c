import errno
import sqlite3
from pathlib import Path

import pytest

from gateway.ledger.errors import damaged, unusable

PATH = Path("/data/gateway.db")


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("said so")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        pytest.param(sqlite_error(sqlite3.SQLITE_NOTADB), "is not a SQLite database", id="foreign"),
        pytest.param(sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), "is damaged", id="damaged"),
        pytest.param(sqlite_error(sqlite3.SQLITE_READONLY), "cannot be written", id="read-only"),
        pytest.param(sqlite_error(sqlite3.SQLITE_PERM), "cannot be written", id="permission"),
        pytest.param(sqlite_error(sqlite3.SQLITE_CANTOPEN), "cannot be opened", id="no-access"),
        pytest.param(
            sqlite_error(sqlite3.SQLITE_BUSY), "is locked by another program", id="locked"
        ),
        pytest.param(
            sqlite_error(sqlite3.SQLITE_FULL), "cannot be written: the disk is full", id="full"
        ),
        pytest.param(
            sqlite_error(sqlite3.SQLITE_IOERR_WRITE),
            "cannot be read or written: the disk fails",
            id="broken-disk",
        ),
        pytest.param(sqlite3.ProgrammingError("odd"), "cannot be used (odd)", id="anything-else"),
        pytest.param(OSError(errno.EACCES, "Not you"), "cannot be opened (Not you)", id="system"),
        pytest.param(None, "is damaged", id="found-by-the-check"),
    ],
)
def test_each_trouble_is_one_line_with_a_remedy(
    error: sqlite3.Error | OSError | None, what: str
) -> None:
    """File, what is wrong, what to do."""
    message = str(damaged(PATH) if error is None else unusable(PATH, error))

    assert message.startswith(f"{PATH}: {what}; ")
    assert len(message) > len(f"{PATH}: {what}; ")
    assert "\n" not in message
