"""gateway.edits.owed: writes that are repeated until the ledger has them, or never takes them."""

import asyncio

import pytest

from gateway.domain.errors import LedgerConflict, LedgerUnavailable
from gateway.edits.owed import OwedWrites
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("last", [None, LedgerConflict("It is another edit's.")])
async def test_repeated_until_it_is_decided(last: LedgerConflict | None) -> None:
    """A write ends when the ledger has it, or says that it never will; its part waits so long."""
    clock, done = WarpClock(), list[str]()
    owed = OwedWrites(clock)
    ends = [LedgerUnavailable("full")] * 3 + [last]

    async def write() -> None:
        if (end := ends.pop(0)) is not None:
            raise end

    async with asyncio.TaskGroup() as group:
        running = group.create_task(owed.run())
        owed.add("edit", 0, write, lambda: done.append("done"))
        await owed.written("other", 0)
        assert len(owed) == 1
        await owed.written("edit", 0)
        running.cancel()

    assert done == ["done"]
    assert ends == []
    assert len(owed) == 0


async def test_a_bug_in_one_write_cuts_no_other() -> None:
    """The writes of other edits are made to their end; the one that broke stays owed."""
    clock = WarpClock()
    owed = OwedWrites(clock)
    written: list[str] = []

    async def slow() -> None:
        await clock.sleep(0.2)
        written.append("slow")

    async def broken() -> None:
        raise ValueError("bug")

    owed.add("edit-1", 0, broken)
    owed.add("edit-2", 0, slow)

    with pytest.RaisesGroup(ValueError):
        await owed.run()

    assert written == ["slow"]
    assert owed.owes("edit-1")
    assert not owed.owes("edit-2")


async def test_a_bug_in_the_last_try() -> None:
    """Who cancels the repeating is not kept waiting by a write that breaks."""
    clock = WarpClock()
    owed = OwedWrites(clock)

    async def broken() -> None:
        raise ValueError("bug")

    async with asyncio.TaskGroup() as group:
        running = group.create_task(owed.run())
        await clock.sleep(0.1)
        owed.add("edit", 0, broken)
        running.cancel()

    assert running.cancelled()
