"""A private folder beside the ledger: whole files or none, and none of it on the event loop."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.edit_files import EditFiles

pytestmark = pytest.mark.anyio


def a_folder(
    path: Path, *, durable: bool = False, on_failure: Callable[[Exception], None] = lambda _: None
) -> EditFiles:
    return EditFiles(path, durable=durable, message="It cannot be kept.", on_failure=on_failure)


def files_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The pieces in their order; the last write counts."""
    folder = a_folder(tmp_path / "a" / "b")

    await folder.write("edit_1.0", (b"old",))
    await folder.write("edit_1.0", (b"ne", b"", b"w"))

    assert await folder.read("edit_1.0") == b"new"
    assert await folder.read("edit_1.1") is None
    assert files_in(tmp_path / "a" / "b") == ["edit_1.0"]


async def test_it_is_for_its_user_alone(tmp_path: Path) -> None:
    """Nobody else can list the folder or read a file."""
    await a_folder(tmp_path / "keep").write("edit_1", (b"x",))

    assert (tmp_path / "keep").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keep" / "edit_1").stat().st_mode & 0o777 == 0o600


async def test_all_files_of_an_edit_go_together(tmp_path: Path) -> None:
    """Those of another edit stay, even of one whose id only begins alike."""
    folder = a_folder(tmp_path)
    for name in ("edit_1", "edit_1.0", "edit_1.1", "edit_10", "edit_10.0"):
        await folder.write(name, (b"x",))

    await folder.remove({"edit_1"})

    assert await folder.list_ids() == ["edit_10"]
    assert sorted(files_in(tmp_path)) == ["edit_10", "edit_10.0"]


async def test_full_survives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `sync = "full"` the file and its name are on the disk before the submit begins."""
    synced: list[bool] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)

    await a_folder(tmp_path / "a").write("edit_1", (b"x",))
    without = list(synced)
    await a_folder(tmp_path / "b", durable=True).write("edit_1", (b"x",))

    assert without == []
    assert synced == [False, True]


async def test_what_a_killed_process_left_half_is_found_and_dropped(tmp_path: Path) -> None:
    """A file that was never renamed is not given out, and goes with its edit."""
    folder = a_folder(tmp_path)
    (tmp_path / "edit_1.k2jf").write_bytes(b"half")

    got, kept = await folder.read("edit_1"), await folder.list_ids()
    await folder.remove({"edit_1"})

    assert got is None
    assert kept == ["edit_1"]
    assert files_in(tmp_path) == []


async def test_a_file_that_is_no_edits(tmp_path: Path) -> None:
    """What a file manager or NFS leaves behind stays, and stops nobody from tidying."""
    folder = a_folder(tmp_path)
    await folder.write("edit_1", (b"x",))
    (tmp_path / ".nfs01").write_bytes(b"theirs")

    for edit_id in await folder.list_ids():
        await folder.remove(edit_id)

    assert files_in(tmp_path) == [".nfs01"]


async def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves nothing behind, and is told to the client and the operator."""
    reported: list[Exception] = []
    folder = a_folder(tmp_path, durable=True, on_failure=reported.append)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(LedgerUnavailable, match="It cannot be kept") as refused:
        await folder.write("edit_1", (b"x",))

    assert refused.value.retry
    assert refused.value.retry_after == 5.0
    assert [str(error) for error in reported] == ["[Errno 28] No space left on device"]
    assert files_in(tmp_path) == []


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "keep").write_text("")

    with pytest.raises(LedgerUnavailable):
        await a_folder(tmp_path / "keep").write("edit_1", (b"x",))
