from pathlib import Path

import pytest

from gateway.ledger.memory import MemoryLedger
from gateway.ledger.open import open_stores
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import EDIT, FIRST, NOW

pytestmark = pytest.mark.anyio


class StoppedClock:
    """Stands still."""

    def now(self) -> float:
        return 0.0

    def epoch(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def names_in(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("memory", MemoryLedger, id="memory"),
        pytest.param("state/gateway.db", SqliteLedger, id="file"),
    ],
)
async def test_the_path_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    """Either is entered alike; nothing is touched before."""
    monkeypatch.chdir(tmp_path)
    ledger = open_stores(name, "normal", StoppedClock()).ledger
    untouched = names_in(tmp_path)

    async with ledger as entered:
        await entered.intend(EDIT, FIRST)

    assert isinstance(ledger, kind)
    assert untouched == []
    assert (tmp_path / "state" / "gateway.db").exists() == (kind is SqliteLedger)
