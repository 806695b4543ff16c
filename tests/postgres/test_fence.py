"""The fence: whose lease is lost writes nothing, whatever it has in memory."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from gateway.domain.errors import LedgerUnavailable, TaskFoundError
from gateway.domain.record import EditState, StrayTask, TaskState
from gateway.ledger.reading import list_strays
from tests.ledger.records import EDIT, FIRST, SECOND, edit
from tests.postgres.ledgers import database_at, ledger_of, opened, steal
from tests.postgres.server import fetch

pytestmark = pytest.mark.anyio


async def test_without_the_lease_a_batch_is_refused_whole(postgres_url: str) -> None:
    """Another node has the lease: nothing is written, now or later, so nothing is submitted."""
    async with opened(postgres_url) as ledger:
        await ledger.intend(EDIT, FIRST)
        await steal(postgres_url)

        writes = [ledger.intend(edit(f"edit_{number}"), FIRST) for number in range(2, 5)]
        refused = await asyncio.gather(*writes, ledger.void("edit_1", 0), return_exceptions=True)

        assert [type(error) for error in refused] == [LedgerUnavailable] * 4
        assert ledger.lease.lost
        assert await ledger.find("edit_1") == replace(EDIT, tasks=(FIRST,))
        assert await ledger.find("edit_2") is None
        with pytest.raises(LedgerUnavailable):
            await ledger.intend(edit("edit_9"), FIRST)
    rows = await fetch(postgres_url, "SELECT holder FROM wan_gateway.leases")
    assert [row["holder"] for row in rows] == ["thief"]  # it was not given away at the end


async def test_a_lost_shard_does_not_stop_another(postgres_url: str) -> None:
    """Two ledgers of one process share a commit; each is fenced by its own lease."""
    async with (
        database_at(postgres_url, lease_seconds=60) as database,
        ledger_of(database, ["one", "two"]) as both,
        ledger_of(database, ["three"]) as third,
    ):
        await fetch(postgres_url, "UPDATE wan_gateway.leases SET holder = 'b' WHERE name = 'two'")

        results = await asyncio.gather(
            both.intend(edit("edit_1"), replace(FIRST, account="one")),
            third.intend(edit("edit_3"), replace(FIRST, account="three")),
            both.intend(edit("edit_2"), replace(FIRST, account="two")),
            return_exceptions=True,
        )

        assert [type(it) for it in results] == [LedgerUnavailable, type(None), LedgerUnavailable]
        assert both.lease.lost
        assert not third.lease.lost
        assert [it.edit_id for it in await third.owed()] == ["edit_3"]


async def test_a_shard_owns_the_edits_of_its_accounts(postgres_url: str) -> None:
    """An edit is owed by whoever holds the account of its last intent, or its tenant's first."""
    async with database_at(postgres_url, lease_seconds=60) as database:
        async with ledger_of(database, ["acme-cn", "two"]) as ledger:
            await ledger.promise(edit("edit_1"))
            await ledger.intend(edit("edit_2"), replace(FIRST, account="acme-cn"))
            await ledger.intend(edit("edit_2"), replace(SECOND, account="two"))

        async with ledger_of(database, ["two"]) as two, ledger_of(database, ["acme-cn"]) as first:
            assert [it.edit_id for it in await two.owed()] == ["edit_2"]
            assert [it.edit_id for it in await first.owed()] == ["edit_1"]
            assert (await two.counts())["open"] == 1
        async with ledger_of(database) as every:
            assert [it.edit_id for it in await every.owed()] == ["edit_1", "edit_2"]
            assert (await every.counts())["open"] == 2


async def test_a_takeover_waits_for_a_batch(postgres_url: str) -> None:
    """A batch that has passed the fence is committed before another node has the lease."""
    async with opened(postgres_url) as ledger:
        writing = await asyncpg.connect(postgres_url)
        async with writing.transaction():
            write = "SELECT wan_gateway.write($1, $2, '[]')::text"
            assert await writing.fetchval(write, ledger.lease.holder, ["*"]) == "[]"
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(steal(postgres_url))
                await asyncio.sleep(0.3)
                assert not taking.done()
                await writing.execute("COMMIT; BEGIN")
        assert await writing.fetchval(write, ledger.lease.holder, ["*"]) == '"lost"'
        await writing.close()


# ---------------------------------------------------------------- attempts and strays


async def test_a_task_that_is_reported_too_late_is_taken(postgres_url: str) -> None:
    """The node that lost the lease leaves it; the next one does not pay for the part again."""
    async with opened(postgres_url) as before:
        await before.intend(EDIT, replace(FIRST, attempt="a1"))
        await steal(postgres_url)
        for _ in range(2):  # a write is repeated until it is made
            with pytest.raises(LedgerUnavailable):
                await before.accept("edit_1", 0, "beijing-two", "t1", attempt="a1")
    await fetch(postgres_url, "UPDATE wan_gateway.leases SET until = '-infinity', holder = ''")

    async with opened(postgres_url, "b") as ledger:
        assert [it.tasks for it in await ledger.owed()] == [(replace(FIRST, attempt="a1"),)]
        strays = await asyncio.to_thread(list_strays, postgres_url)
        assert strays == [StrayTask("edit_1", 0, "beijing-two", "t1")]
        await ledger.void("edit_1", 0, attempt="a1")
        again = replace(FIRST, attempt="a2", upstream="beijing-two")
        with pytest.raises(TaskFoundError) as caught:
            await ledger.intend(EDIT, again)

        assert caught.value.task_id == "t1"
        found = await ledger.find("edit_1")
        assert found is not None
        task = replace(again, state=TaskState.ACCEPTED, task_id="t1")
        assert found.tasks == (task,)
        assert await fetch(postgres_url, "SELECT * FROM wan_gateway.strays") == []


async def test_of_two_late_tasks_one_is_taken_and_the_other_stays(postgres_url: str) -> None:
    """Both were paid for: what is not followed is still there to be reported."""
    async with opened(postgres_url) as ledger:
        for attempt in ("a1", "a2"):
            await ledger.intend(EDIT, replace(FIRST, attempt=attempt))
            await ledger.void("edit_1", 0, attempt=attempt)
        for attempt, task_id in (("a1", "t1"), ("a2", "t2")):
            await ledger.accept("edit_1", 0, FIRST.upstream, task_id, attempt=attempt)
        with pytest.raises(TaskFoundError) as caught:
            await ledger.intend(EDIT, replace(FIRST, attempt="a3"))

    strays = await asyncio.to_thread(list_strays, postgres_url)
    assert {caught.value.task_id, *(stray.task_id for stray in strays)} == {"t1", "t2"}


async def test_a_task_that_is_found_already_is_no_stray(postgres_url: str) -> None:
    """The new owner has it by the task list; what the old one reports is the same task."""
    async with opened(postgres_url) as before:
        await before.intend(EDIT, replace(FIRST, attempt="a1"))
        await before.accept("edit_1", 0, "beijing-main", "t1", attempt="a1")
        await steal(postgres_url)
        with pytest.raises(LedgerUnavailable):
            await before.accept("edit_1", 0, "beijing-main", "t1", attempt="a1")

    assert await fetch(postgres_url, "SELECT * FROM wan_gateway.strays") == []


async def test_a_stray_that_cannot_be_kept_is_reported(postgres_url: str) -> None:
    """The operator learns of a task that is in no ledger."""
    failures: list[Exception] = []
    async with opened(postgres_url, on_failure=failures.append) as ledger:
        await ledger.intend(EDIT, FIRST)
        await steal(postgres_url)
        await fetch(postgres_url, "DROP FUNCTION wan_gateway.stray")
        with pytest.raises(LedgerUnavailable):
            await ledger.accept("edit_1", 0, "beijing-main", "t1", attempt="a1")

    assert any(isinstance(error, asyncpg.UndefinedFunctionError) for error in failures)


async def test_old_edits_are_purged(postgres_url: str) -> None:
    """By the clock of the server, 500 at a time; an open edit stays."""
    async with opened(postgres_url) as ledger:
        names = [f"edit_{number}" for number in range(502)]
        await asyncio.gather(*(ledger.intend(edit(name), FIRST) for name in names))
        ends = (ledger.end_edit(name, EditState.SUCCEEDED) for name in names[1:])
        await asyncio.gather(*ends)
        age = "UPDATE wan_gateway.edits SET born = born - interval '25 hours'"
        await fetch(postgres_url, f"{age} WHERE edit_id <> 'edit_501'")
    async with opened(postgres_url) as ledger:
        for _ in range(2):
            await ledger.deliver("edit_501")
            await ledger.deliver("edit_501", ago=1)

    for table in ("edits", "tasks"):
        rows = await fetch(postgres_url, f"SELECT edit_id FROM wan_gateway.{table} ORDER BY 1")  # noqa: S608 - one of two
        assert [row["edit_id"] for row in rows] == ["edit_0", "edit_501"]
