"""One process per ledger: an advisory lock beside the file, which dies with its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.ledger.trouble import LedgerError, LedgerHeldError, unusable


@contextmanager
def only_holder(path: Path) -> Iterator[None]:
    """
    Hold ``PATH.lock`` for the length of the block.

    The file itself stays and means nothing by itself: between a removal and the next
    opening two processes could hold two files of one name. The ledger's own file is not
    locked: SQLite locks it by other means, which closing a second descriptor would undo.

    Raises:
        LedgerHeldError: another process holds it; it says which.
        LedgerError: it cannot be locked.
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
