"""The folder itself: durable, private, whole files, and failures of the disk."""

import os
import stat
from pathlib import Path

import pytest

from gateway.domain.errors import ResultStoreUnavailable
from gateway.results.folder import FolderStore
from tests.results.pictures import NAME, PICTURE, Failures, MovableCalendar, names_in, read

pytestmark = pytest.mark.anyio


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


async def test_files_are_private(folder: FolderStore, tmp_path: Path) -> None:
    """Folders and files are for the gateway's user only."""
    await folder.put(NAME, PICTURE)

    (file,) = (tmp_path / "kept" / NAME.owner).iterdir()
    assert file.name == str(NAME)
    for path in (tmp_path / "kept", file.parent, file):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


async def test_the_time_is_the_gateways(folder: FolderStore, calendar: MovableCalendar) -> None:
    """A picture is as old as the gateway's clock says, whatever the disk's own clock does."""
    put = await folder.put(NAME, PICTURE)
    found = await folder.find(NAME)

    assert put.modified == calendar.time
    assert found == put


@pytest.mark.parametrize(("durable", "expected"), [(False, []), (True, ["dir", "file", "dir"])])
async def test_durable(
    tmp_path: Path,
    calendar: MovableCalendar,
    failures: Failures,
    monkeypatch: pytest.MonkeyPatch,
    durable: bool,
    expected: list[str],
) -> None:
    """As durable as the ledger: the file, its name and the name of its folder are on the disk."""
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("dir" if is_folder else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store = FolderStore(tmp_path, durable=durable, clock=calendar, on_failure=failures)

    await store.put(NAME, PICTURE)

    assert synced == expected


async def test_a_full_disk(
    tmp_path: Path, calendar: MovableCalendar, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of a picture that does not fit; client and operator are told."""
    store = FolderStore(tmp_path, durable=True, clock=calendar, on_failure=failures)
    await store.put(NAME, b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ResultStoreUnavailable, match="response_format=b64_json") as refused:
            await store.put(NAME, PICTURE)

    assert (refused.value.status, refused.value.retry, refused.value.retry_after) == (503, True, 5)
    assert failures.operations == ["put"]
    assert files_in(tmp_path) == [f"{NAME.owner}/{NAME}"]
    assert await read(store, NAME) == b"before"


async def test_a_disk_that_fails(folder: FolderStore, tmp_path: Path, failures: Failures) -> None:
    """A file in the folder's place makes every operation fail with the client's error."""
    (tmp_path / "kept").write_text("no folder")

    with pytest.raises(ResultStoreUnavailable):
        await folder.put(NAME, PICTURE)
    with pytest.raises(ResultStoreUnavailable):
        await names_in(folder)

    assert failures.operations == ["put", "list"]


async def test_an_empty_file_is_none(folder: FolderStore, tmp_path: Path) -> None:
    """A loss of power may leave a name without content: the picture is made again."""
    await folder.put(NAME, PICTURE)
    (tmp_path / "kept" / NAME.owner / str(NAME)).write_bytes(b"")

    assert await folder.find(NAME) is None
    assert await read(folder, NAME) is None


async def test_a_file_that_is_cut_while_it_is_read(folder: FolderStore, tmp_path: Path) -> None:
    """The reader hears of it: it does not take a part for the whole."""
    await folder.put(NAME, PICTURE)

    async with folder.open(NAME) as opened:
        assert opened is not None
        chunks = opened.chunks(0, len(PICTURE))
        await anext(chunks)
        os.truncate(tmp_path / "kept" / NAME.owner / str(NAME), 1)
        with pytest.raises(ResultStoreUnavailable):
            await anext(chunks)


async def test_foreign_files_stay(folder: FolderStore, tmp_path: Path) -> None:
    """What others put into the folder is neither listed nor deleted."""
    kept = tmp_path / "kept"
    theirs = [kept / "README", kept / NAME.owner / "photo.png", kept / "x" / str(NAME)]
    await folder.put(NAME, PICTURE)
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("theirs")

    listed = await names_in(folder)
    await folder.delete(listed)
    await folder.delete_remains(2e9)

    assert listed == {NAME}
    assert all(file.exists() for file in theirs)
    assert len(files_in(kept)) == 3


async def test_remains(folder: FolderStore, tmp_path: Path, calendar: MovableCalendar) -> None:
    """What a process that was killed in a write left behind is deleted once it is old."""
    await folder.put(NAME, PICTURE)
    remains = tmp_path / "kept" / NAME.owner / f"{NAME}.k2jf0_x"
    remains.write_bytes(b"half")
    os.utime(remains, (calendar.time, calendar.time))

    await folder.delete_remains(calendar.time)
    young = remains.exists()
    await folder.delete_remains(calendar.time + 1)

    assert young
    assert not remains.exists()
    assert await names_in(folder) == {NAME}
