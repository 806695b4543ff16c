from pathlib import Path

import pytest

from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import Calendar
from tests.postgres.server import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway.db"


@pytest.fixture
def ledger(path: Path, calendar: Calendar) -> SqliteLedger:
    return SqliteLedger(path, sync="normal", epoch=calendar)
