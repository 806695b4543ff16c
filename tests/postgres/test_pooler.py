"""Through pgbouncer in transaction mode: connections change between transactions."""

import asyncio
from pathlib import Path

import pytest

from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.postgres_reading import describe
from tests.ledger.records import FIRST, edit
from tests.postgres.ledgers import opened
from tests.postgres.server import own_server, pooler

pytestmark = pytest.mark.anyio


async def test_behind_a_pooler(tmp_path: Path) -> None:
    """Writes, reads, renewals, the fence and the tables work; no prepared statement is missed."""
    with own_server() as server, pooler(server, tmp_path) as url:
        async with opened(url, lease_seconds=3) as ledger:
            await asyncio.gather(*(ledger.intend(edit(f"edit_{n}"), FIRST) for n in range(50)))
            await asyncio.gather(
                *(ledger.accept(f"edit_{n}", 0, "beijing-main", f"t{n}") for n in range(50)),
                *(ledger.find(f"edit_{n}") for n in range(50)),
            )
            await asyncio.sleep(4.0)  # renewals keep the lease

            assert len(await ledger.owed()) == 50
            assert not ledger.lease.lost
            with pytest.raises(LedgerHeldError):
                async with opened(url, "b", lease_seconds=3):
                    pass
        assert (await asyncio.to_thread(describe, url)).startswith("PostgreSQL ")
