"""The engine is away, or a connection breaks: what is owed is written, and written once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import asyncpg
import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import EditState, TaskState
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_connection import Outage, Reader, Session
from gateway.ledger.postgres_writer import PostgresWriter
from tests.ledger.records import EDIT, FIRST, edit
from tests.ports import free_port
from tests.postgres.ledgers import (
    BreakingProxy,
    MovingClock,
    breaking,
    database_at,
    ledger_of,
    opened,
    until,
)
from tests.postgres.server import fetch

pytestmark = pytest.mark.anyio


async def test_a_batch_of_unknown_outcome_is_sent_again(postgres_url: str) -> None:
    """Cut between COMMIT and its answer each write is made once, and its caller sees no error."""
    failures: list[Exception] = []
    async with (
        breaking(postgres_url) as (url, proxy),
        opened(url, on_failure=failures.append) as ledger,
    ):
        writes: list[Callable[[], Awaitable[object]]] = [
            partial(ledger.intend, EDIT, FIRST),
            partial(ledger.accept, "edit_1", 0, "beijing-main", "t1"),
            partial(ledger.end_task, "edit_1", 0, "succeeded"),
            partial(ledger.end_edit, "edit_1", EditState.SUCCEEDED),
            partial(ledger.deliver, "edit_1"),
        ]
        for write in writes:
            proxy.cut_next_commit = True
            await write()

        assert proxy.cuts == len(failures) == 5
        task = replace(FIRST, state=TaskState.ENDED, task_id="t1", outcome="succeeded")
        done = replace(EDIT, state=EditState.SUCCEEDED, delivered=True, tasks=(task,))
        assert await ledger.find("edit_1") == done


async def test_a_short_outage_refuses_nothing(postgres_url: str) -> None:
    """Writes and reads that come meanwhile wait for the engine."""
    async with breaking(postgres_url) as (url, proxy), opened(url) as ledger:
        await ledger.intend(EDIT, FIRST)
        proxy.leave()
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger.intend(edit("edit_2"), FIRST))
            reading = group.create_task(ledger.find("edit_1"))
            await asyncio.sleep(0.5)
            proxy.come_back()

        assert reading.result() == replace(EDIT, tasks=(FIRST,))
        assert await ledger.find("edit_2") is not None


async def test_after_ten_seconds_an_outage_is_told_at_once(postgres_url: str) -> None:
    """An intent is refused and never made; what a running edit owes is written afterwards."""
    clock = MovingClock()
    async with breaking(postgres_url) as (url, proxy), opened(url, clock=clock) as ledger:
        await ledger.intend(EDIT, FIRST)
        await _begin_long_outage(proxy, clock, ledger)

        with pytest.raises(LedgerUnavailable):
            await ledger.accept("edit_1", 0, "beijing-main", "t1")
        for _ in range(2):  # a write that is repeated waits in the queue once
            with pytest.raises(LedgerUnavailable):
                await ledger.end_task("edit_1", 0, "succeeded")
        with pytest.raises(LedgerUnavailable):
            await ledger.intend(edit("edit_2"), FIRST)
        with pytest.raises(LedgerUnavailable):
            await ledger.promise(edit("edit_3"))
        async with asyncio.TaskGroup() as group:
            promising = group.create_task(ledger.promise(edit("edit_4")))
            await asyncio.sleep(0)
            promising.cancel()
        readers = [ledger.find("edit_1") for _ in range(3)]
        refused = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(error) for error in refused] == [LedgerUnavailable] * 3

        proxy.come_back()
        await _repeat(ledger.deliver, "edit_1")

        task = replace(FIRST, state=TaskState.ENDED, task_id="t1", outcome="succeeded")
        assert await ledger.find("edit_1") == replace(EDIT, delivered=True, tasks=(task,))
        assert await ledger.find("edit_2") is None
        assert await ledger.find("edit_3") is None
        assert await ledger.find("edit_4") is None


async def _begin_long_outage(
    proxy: BreakingProxy, clock: MovingClock, ledger: PostgresLedger
) -> None:
    """Let a read see that the engine is away, and its patience pass."""
    proxy.leave()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_refused(ledger.find("edit_1")))
        await asyncio.sleep(0.3)
        clock.ahead += 11
    assert reading.result()


async def _refused(call: Awaitable[object]) -> bool:
    try:
        await call
    except LedgerUnavailable:
        return True
    return False


async def _repeat(write: Callable[[str], Awaitable[None]], edit_id: str) -> None:
    """Make a write again until the engine is back, as gateway.edits.owed does."""
    async with asyncio.timeout(30):
        while await _refused(write(edit_id)):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.1)


async def test_a_promise_of_unknown_outcome_is_taken_back(postgres_url: str) -> None:
    """Nobody was told 202, so no later process may submit the edit: the last word is the last."""
    async with breaking(postgres_url) as (url, proxy), opened(url) as ledger:
        proxy.cut_next_commit = True
        async with asyncio.TaskGroup() as group:
            promising = group.create_task(ledger.promise(EDIT))
            await until(lambda: bool(proxy.cuts))
            promising.cancel()
        await ledger.unpromise("edit_1")

        found = await ledger.find("edit_1")
        assert found is not None
        assert not found.promised


async def test_one_bad_write_does_not_spoil_the_others(postgres_url: str) -> None:
    """The server refuses the batch: each operation is written by itself."""
    failures: list[Exception] = []
    async with opened(postgres_url, on_failure=failures.append) as ledger:
        results = await asyncio.gather(
            ledger.intend(edit("edit_1"), FIRST),
            ledger.deliver("edit_1", ago="never"),  # type: ignore[arg-type]  # no number
            ledger.intend(edit("edit_2"), FIRST),
            return_exceptions=True,
        )

        assert [type(it) for it in results] == [type(None), LedgerUnavailable, type(None)]
        assert len(failures) == 1
        assert len(await ledger.owed()) == 2


async def test_a_full_queue_refuses(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine that is away for hours leaves in memory is bounded."""
    monkeypatch.setattr("gateway.ledger.postgres_writer._MAX_QUEUE", 2)
    database = database_at(postgres_url)
    lease = ledger_of(database).lease
    outage = Outage(SystemClock())
    writer = PostgresWriter(Session(postgres_url, outage), outage, SystemClock(), lambda _: None)
    for number in range(2):
        writer.add(lease, {"op": "deliver", "edit": {"edit_id": f"edit_{number}"}})

    with pytest.raises(LedgerUnavailable):
        writer.add(lease, {"op": "deliver", "edit": {"edit_id": "edit_3"}})


async def test_a_refused_read_is_reported(postgres_url: str) -> None:
    """It does not become right by waiting; the connection stays good."""
    failures: list[Exception] = []
    outage = Outage(SystemClock())
    session = Session(postgres_url, outage)
    reader = Reader(session, outage, SystemClock(), failures.append)

    with pytest.raises(LedgerUnavailable):
        await reader.fetch("SELECT nonsense")

    assert [type(error) for error in failures] == [asyncpg.UndefinedColumnError]
    assert await reader.fetch("SELECT 1")
    await session.close()


async def test_a_server_that_does_not_answer_is_away() -> None:
    """It accepts connections and says nothing: a read ends with its patience, and is cut."""

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    clock = MovingClock()
    outage = Outage(clock)
    failures: list[Exception] = []
    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        reader = Reader(Session(url, outage), outage, clock, failures.append)
        outage.begin()
        clock.ahead += 11
        with pytest.raises(LedgerUnavailable):
            await reader.fetch("SELECT 1")
        await closed.wait()

    assert [type(error) for error in failures] == [TimeoutError]


async def test_an_end_while_the_server_is_away(postgres_url: str) -> None:
    """What is queued is tried for some seconds, then the process ends all the same."""
    async with (
        breaking(postgres_url) as (url, proxy),
        asyncio.TaskGroup() as group,
        opened(url, lease_seconds=1, close_seconds=0.3) as ledger,
    ):
        proxy.leave()
        group.create_task(_refused(ledger.void("edit_1", 0)))
        await asyncio.sleep(0.5)  # the renewal fails as well
    rows = await fetch(postgres_url, "SELECT node FROM wan_gateway.leases WHERE holder <> ''")
    assert [row["node"] for row in rows] == ["a"]  # it ends by itself


async def test_no_server_listens() -> None:
    """At the start that is a reason to wait, without the URL, and it is no error."""
    url = f"postgres://me:hunter2@127.0.0.1:{free_port()}/postgres"
    database = database_at(url)

    for reason in (await database.prepare(), await ledger_of(database).take()):
        assert reason.startswith("PostgreSQL cannot be reached (")
        assert "hunter2" not in reason
