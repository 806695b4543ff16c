"""Both keepers answer gateway.journey.ports.Keepsakes alike; what only files do comes after."""

import os
import stat
from pathlib import Path

import pytest

from gateway.domain.edit import Keepsake
from gateway.domain.errors import LedgerUnavailable
from gateway.journey.ports import Keepsakes
from gateway.ledger.keepsakes import FileKeepsakes, MemoryKeepsakes, open_keepsakes

pytestmark = pytest.mark.anyio

ONE = Keepsake(original=b"original" * 9, mask=b"mask")
TWO = Keepsake(original=b"", mask=b"")


def files_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.fixture(params=["memory", "files"])
def keepsakes(request: pytest.FixtureRequest, tmp_path: Path) -> Keepsakes:
    if request.param == "memory":
        return MemoryKeepsakes()
    return FileKeepsakes(tmp_path / "state" / "gateway.db.keep", durable=False)


async def test_what_was_put_is_had_again(keepsakes: Keepsakes) -> None:
    """Byte for byte and as often as it is wanted; the last put counts."""
    await keepsakes.put("edit_1", TWO)
    await keepsakes.put("edit_1", ONE)
    await keepsakes.put("edit_2", TWO)

    assert [await keepsakes.get(name) for name in ("edit_1", "edit_1", "edit_2")] == [ONE, ONE, TWO]
    assert sorted(await keepsakes.kept()) == ["edit_1", "edit_2"]


async def test_what_is_not_there(keepsakes: Keepsakes) -> None:
    """Nothing was kept yet: that is no error."""
    await keepsakes.drop("edit_1")

    assert await keepsakes.get("edit_1") is None
    assert await keepsakes.kept() == []


async def test_what_was_dropped_is_gone(keepsakes: Keepsakes) -> None:
    """Another edit's stays."""
    await keepsakes.put("edit_1", ONE)
    await keepsakes.put("edit_2", ONE)

    await keepsakes.drop("edit_1")

    assert await keepsakes.get("edit_1") is None
    assert await keepsakes.kept() == ["edit_2"]


async def test_memory_has_an_end() -> None:
    """The oldest leave first; the last one stays, however big it is."""
    keepsakes = MemoryKeepsakes(most=100)

    for name in ("edit_1", "edit_2"):
        await keepsakes.put(name, Keepsake(original=b"x" * 40, mask=b"x" * 10))
    both = await keepsakes.kept()
    await keepsakes.put("edit_3", Keepsake(original=b"x", mask=b""))
    two = await keepsakes.kept()
    await keepsakes.put("edit_4", Keepsake(original=b"x" * 200, mask=b""))

    assert both == ["edit_1", "edit_2"]
    assert two == ["edit_2", "edit_3"]
    assert await keepsakes.kept() == ["edit_4"]


@pytest.mark.parametrize("sync", ["normal", "full"])
async def test_files_are_private_and_outlive_the_process(tmp_path: Path, sync: str) -> None:
    """They lie beside the ledger, for its user alone, and another process finds them."""
    ledger = tmp_path / "gateway.db"

    await open_keepsakes(str(ledger), sync).put("edit_1", ONE)

    folder = tmp_path / "gateway.db.keep"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [
        ("edit_1", 0o600)
    ]
    assert await open_keepsakes(str(ledger), sync).get("edit_1") == ONE


async def test_full_survives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `sync = "full"` the file and its name are on the disk before the submit begins."""
    synced: list[bool] = []
    fsync = os.fsync

    def told(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", told)

    await open_keepsakes(str(tmp_path / "a.db"), "normal").put("edit_1", ONE)
    without = list(synced)
    await open_keepsakes(str(tmp_path / "b.db"), "full").put("edit_1", ONE)

    assert without == []
    assert synced == [False, True]


def test_memory_for_a_ledger_in_memory(tmp_path: Path) -> None:
    """Without a file for the ledger nothing goes to the disk."""
    assert isinstance(open_keepsakes("memory", "normal"), MemoryKeepsakes)


async def test_what_a_killed_process_left_half_is_found_and_dropped(tmp_path: Path) -> None:
    """A file that was never renamed is not given out, and goes with its edit."""
    keepsakes = FileKeepsakes(tmp_path, durable=False)
    (tmp_path / "edit_1.k2jf").write_bytes(b"half")

    got, kept = await keepsakes.get("edit_1"), await keepsakes.kept()
    await keepsakes.drop("edit_1")

    assert got is None
    assert kept == ["edit_1"]
    assert files_in(tmp_path) == []


async def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves nothing behind, and is told to the customer and the operator."""
    told: list[Exception] = []
    keepsakes = FileKeepsakes(tmp_path, durable=True, on_failure=told.append)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(LedgerUnavailable) as refused:
        await keepsakes.put("edit_1", ONE)

    assert refused.value.retry
    assert refused.value.retry_after == 5.0
    assert [str(error) for error in told] == ["[Errno 28] No space left on device"]
    assert files_in(tmp_path) == []


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "keep").write_text("")

    with pytest.raises(LedgerUnavailable):
        await FileKeepsakes(tmp_path / "keep", durable=False).put("edit_1", ONE)
