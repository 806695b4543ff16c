"""Both keepers answer gateway.edits.ports.Keepsakes alike; what only files do comes after."""

from pathlib import Path

import pytest

from gateway.domain.edit import Keepsake
from gateway.edits.ports import Keepsakes
from gateway.ledger.keepsakes import MemoryKeepsakes, open_keepsakes

pytestmark = pytest.mark.anyio

ONE = Keepsake(original=b"original" * 9, mask=b"mask")
TWO = Keepsake(original=b"", mask=b"")


def files_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.fixture(params=["memory", "files"])
def keepsakes(request: pytest.FixtureRequest, tmp_path: Path) -> Keepsakes:
    if request.param == "memory":
        return MemoryKeepsakes()
    return open_keepsakes(str(tmp_path / "state" / "gateway.db"), "normal")


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


def test_memory_for_a_ledger_in_memory(tmp_path: Path) -> None:
    """Without a file for the ledger nothing goes to the disk."""
    assert isinstance(open_keepsakes("memory", "normal"), MemoryKeepsakes)
