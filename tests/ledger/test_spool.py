import stat
from pathlib import Path

import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.edit import Picture, Size
from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.open import open_stores
from gateway.ledger.spool import FileSpool

pytestmark = pytest.mark.anyio

LARGE = (
    Picture(content=b"a" * 200_000, media_type="image/png", size=Size(400, 400)),
    Picture(url="https://a.example/b.png"),
    Picture(content=b"c" * 100_000, media_type="image/jpeg"),
)


async def test_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    """What was spooled is read back, more than once, and its file is gone once it is let go."""
    async with FileSpool(tmp_path / "spool") as spool:
        spooled = await spool.put(LARGE)
        assert spooled is not None
        first, second = await spooled.pictures(), await spooled.pictures()
        mode = stat.S_IMODE(spooled.path.stat().st_mode)
        spooled.close()
        spooled.close()

        assert first == second == LARGE
        assert mode == 0o600
        assert list((tmp_path / "spool").iterdir()) == []
    assert not (tmp_path / "spool").exists()


async def test_small_pictures_stay_in_memory(tmp_path: Path) -> None:
    """A file costs more than some kilobytes of memory."""
    async with FileSpool(tmp_path / "spool") as spool:
        assert await spool.put((Picture(content=b"a" * 1000),)) is None


async def test_what_another_process_left_is_removed(tmp_path: Path) -> None:
    """Nobody can finish an edit that died in the queue."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "left").write_bytes(b"a picture")

    async with FileSpool(folder):
        assert list(folder.iterdir()) == []


async def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """The pictures stay in memory, and the operator hears of it."""
    reported: list[Exception] = []
    async with FileSpool(tmp_path / "spool", reported.append) as spool:
        (tmp_path / "spool").rmdir()

        assert await spool.put(LARGE) is None

    assert len(reported) == 1


@pytest.mark.parametrize("left", [None, 299_999], ids=["gone", "short"])
async def test_a_disk_that_does_not_give_back(tmp_path: Path, left: int | None) -> None:
    """A picture that is not read back whole refuses its edit before it is paid for."""
    async with FileSpool(tmp_path / "spool") as spool:
        spooled = await spool.put(LARGE)
        assert spooled is not None
        if left is None:
            spooled.path.unlink()
        else:
            spooled.path.write_bytes(b"a" * left)

        with pytest.raises(LedgerUnavailable):
            await spooled.pictures()


@pytest.mark.parametrize("state", ["memory", "file"])
async def test_where_it_lies(tmp_path: Path, state: str) -> None:
    """Beside the ledger's file, or in a temporary folder; either way it goes with the process."""
    path = "memory" if state == "memory" else str(tmp_path / "gateway.db")

    async with open_stores(path, "normal", SystemClock()).spool as spool:
        spooled = await spool.put(LARGE)
        assert spooled is not None
        place = spooled.path.parent

    assert (place == tmp_path / "gateway.db.spool") == (state == "file")
    assert not place.exists()
