"""All keepers answer gateway.edits.ports.MaskSources alike; what only files do comes after."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.edit import MaskSource
from gateway.edits.ports import MaskSources
from gateway.ledger.edit_files import DurableMaskSources, MemoryMaskSources
from gateway.ledger.open import open_stores
from tests.postgres.ledgers import OldRows, database_at

pytestmark = pytest.mark.anyio

ONE = MaskSource(original=b"original" * 9, mask=b"mask")
TWO = MaskSource(original=b"", mask=b"")


def files_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.fixture(params=["memory", "files", "postgres"])
async def mask_sources(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[MaskSources]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        async with database_at(url) as database:
            yield DurableMaskSources(OldRows(url, database, "mask_sources"))
        return
    path = "memory" if request.param == "memory" else str(tmp_path / "state" / "gateway.db")
    yield open_stores(path, "normal", SystemClock()).mask_sources


async def test_what_was_put_is_had_again(mask_sources: MaskSources) -> None:
    """Byte for byte and as often as it is wanted; the last put counts."""
    await mask_sources.put("edit_1", TWO)
    await mask_sources.put("edit_1", ONE)
    await mask_sources.put("edit_2", TWO)

    assert [await mask_sources.get(name) for name in ("edit_1", "edit_1", "edit_2")] == [
        ONE,
        ONE,
        TWO,
    ]
    assert sorted(await mask_sources.list_ids()) == ["edit_1", "edit_2"]


async def test_what_is_not_there(mask_sources: MaskSources) -> None:
    """Nothing was kept yet: that is no error."""
    await mask_sources.drop("edit_1")

    assert await mask_sources.get("edit_1") is None
    assert await mask_sources.list_ids() == []


async def test_what_was_dropped_is_gone(mask_sources: MaskSources) -> None:
    """Another edit's stays."""
    await mask_sources.put("edit_1", ONE)
    await mask_sources.put("edit_2", ONE)

    await mask_sources.drop("edit_1")

    assert await mask_sources.get("edit_1") is None
    assert await mask_sources.list_ids() == ["edit_2"]


async def test_memory_has_an_end() -> None:
    """The oldest leave first; the last one stays, however big it is."""
    mask_sources = MemoryMaskSources(max_bytes=100)

    for name in ("edit_1", "edit_2"):
        await mask_sources.put(name, MaskSource(original=b"x" * 40, mask=b"x" * 10))
    both = await mask_sources.list_ids()
    await mask_sources.put("edit_3", MaskSource(original=b"x", mask=b""))
    two = await mask_sources.list_ids()
    await mask_sources.put("edit_4", MaskSource(original=b"x" * 200, mask=b""))

    assert both == ["edit_1", "edit_2"]
    assert two == ["edit_2", "edit_3"]
    assert await mask_sources.list_ids() == ["edit_4"]


@pytest.mark.parametrize("sync", ["normal", "full"])
async def test_files_are_private_and_outlive_the_process(tmp_path: Path, sync: str) -> None:
    """They lie beside the ledger, for its user alone, and another process finds them."""
    ledger = tmp_path / "gateway.db"

    await open_stores(str(ledger), sync, SystemClock()).mask_sources.put("edit_1", ONE)

    folder = tmp_path / "gateway.db.keep"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [
        ("edit_1", 0o600)
    ]
    assert await open_stores(str(ledger), sync, SystemClock()).mask_sources.get("edit_1") == ONE


def test_memory_for_a_ledger_in_memory(tmp_path: Path) -> None:
    """Without a file for the ledger nothing goes to the disk."""
    assert isinstance(
        open_stores("memory", "normal", SystemClock()).mask_sources, MemoryMaskSources
    )
