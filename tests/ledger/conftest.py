"""The ledger on disk, with a calendar in the hand."""

from pathlib import Path

import pytest

from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import Calendar


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway.db"


@pytest.fixture
def ledger(path: Path, calendar: Calendar) -> SqliteLedger:
    return SqliteLedger(path, sync="normal", epoch=calendar)
