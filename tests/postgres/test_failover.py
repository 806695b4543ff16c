"""A failover of the engine: a synchronous standby forgets nothing, an asynchronous one does."""

import asyncio

import pytest

from tests.harness import eventually
from tests.ledger.records import FIRST, edit
from tests.postgres.failover import pair
from tests.postgres.ledgers import opened

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
_BEFORE = {f"before_{number}" for number in range(3)}
_AFTER = {f"after_{number}" for number in range(3)}


async def test_an_asynchronous_standby_forgets() -> None:
    """What was acknowledged while the standby was behind is not there after a failover."""
    async with pair(synchronous=False) as servers, opened(servers.url, close_seconds=0.1) as ledger:
        for name in _BEFORE:
            await ledger.intend(edit(name), FIRST)

        async def has_all() -> bool:
            return await servers.remembered() == _BEFORE

        await eventually(has_all)
        servers.link.hold()
        for name in _AFTER:
            await ledger.intend(edit(name), FIRST)
        await servers.fail_over()

        assert await servers.remembered() == _BEFORE


async def test_a_synchronous_standby_forgets_nothing() -> None:
    """
    What it does not have is not acknowledged; the ledger finds it by a URL that names both, and
    writes there what is owed.
    """
    async with pair(synchronous=True) as servers, opened(servers.url_of_both) as ledger:
        for name in _BEFORE:
            await ledger.intend(edit(name), FIRST)
        servers.link.hold()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(ledger.intend(edit(name), FIRST)) for name in _AFTER]
            await asyncio.sleep(0.5)
            acknowledged = [writing.done() for writing in waiting]
            await servers.fail_over()

        assert acknowledged == [False] * 3
        assert await servers.remembered() == _BEFORE | _AFTER
