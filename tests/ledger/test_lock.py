import errno
import fcntl
import os
from pathlib import Path

import pytest

from gateway.ledger.lock import only_holder
from gateway.ledger.trouble import LedgerError


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
