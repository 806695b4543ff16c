"""The nodes' rows in a real PostgreSQL, and what a hand-over leaves there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.edit import MaskSource
from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.edit_files import DurableMaskSources
from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.nodes import LeaseView, NodeView
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_database import Database
from gateway.ledger.postgres_files import EditRows
from gateway.ledger.postgres_nodes import NodeTable
from tests.ledger.records import EDIT, FIRST
from tests.postgres.server import fetch

pytestmark = pytest.mark.anyio

HOME = {EDIT.tenant: FIRST.account}


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds: the engine knows no others."""
    return "asyncio"


@asynccontextmanager
async def database(url: str, node: str = "a") -> AsyncIterator[Database]:
    async with Database(url, SystemClock(), node=node, lease_seconds=60.0) as opened:
        yield opened


def table(opened: Database, node: str = "a") -> NodeTable:
    return NodeTable(
        opened.reader,
        node=node,
        url=f"http://{node}",
        version="1",
        config="c",
        lease_seconds=60.0,
    )


def ledger_of(opened: Database) -> PostgresLedger:
    return PostgresLedger(opened, [FIRST.account], home_of=HOME)


async def test_nodes_see_each_other(postgres_url: str) -> None:
    """A look shows which nodes live and which take shards, and who holds which lease."""
    async with database(postgres_url) as opened, ledger_of(opened) as ledger:
        one, two = table(opened), table(opened, "b")
        await one.register()
        await two.register()
        await one.look(takes=True)
        await two.look(takes=False)
        view = await one.look(takes=True)
        assert view is not None
        assert view.nodes == (NodeView("a", "c", True), NodeView("b", "c", False))
        held = LeaseView(ledger.lease.holder, "a", "http://a", True)
        assert view.leases == {FIRST.account: held}

        await two.leave()
        view = await one.look(takes=True)
        assert view is not None
        assert [node.node for node in view.nodes] == ["a"]


async def test_a_name_that_a_living_process_has(postgres_url: str) -> None:
    """It is refused in one line: the other's row is written again and again."""
    async with database(postgres_url) as opened:
        first = table(opened)
        await first.register()

        async def live() -> None:
            while True:
                await first.look(takes=True)
                await asyncio.sleep(0.1)

        await first.look(takes=True)
        living = asyncio.get_running_loop().create_task(live())
        with pytest.raises(LedgerHeldError, match="another process is the node a"):
            await table(opened).register()
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living


async def test_a_name_that_a_dead_process_had(postgres_url: str) -> None:
    """Its row is not written any more, so the name is free; who had it is replaced."""
    async with database(postgres_url) as opened:
        first, second = table(opened), table(opened)
        await first.register()
        await first.look(takes=True)
        await second.register()
        assert await second.look(takes=True) is not None
        assert await first.look(takes=True) is None
        await first.leave()
        assert await second.look(takes=True) is not None


@pytest.mark.parametrize("settled", [True, False])
async def test_given_back(postgres_url: str, *, settled: bool) -> None:
    """The next owner takes it at once; it waits for a submit that was left out as after a death."""
    async with database(postgres_url) as opened:
        async with ledger_of(opened) as ledger:
            await ledger.intend(EDIT, FIRST)
            if not settled:
                ledger.mark_unsettled()
        async with database(postgres_url, "b") as other, ledger_of(other) as next_ledger:
            assert (next_ledger.submits_end_at == 0.0) is settled
            assert not next_ledger.lost


async def test_a_lease_that_was_given_back_is_not_renewed(postgres_url: str) -> None:
    """Nor is one that kept its holder since a submit was out: a renewal may come after that."""
    async with Database(postgres_url, SystemClock(), node="a", lease_seconds=0.4) as opened:
        async with ledger_of(opened) as ledger:
            ledger.mark_unsettled()
        opened.renewal.add(ledger.lease)
        async with asyncio.timeout(30):
            while not ledger.lost:  # noqa: ASYNC110 - a thread finds it
                await asyncio.sleep(0.02)


async def test_delivered_after_the_shard_has_left(postgres_url: str) -> None:
    """That an answer was sent is true whoever owns the edit; nothing else is written."""
    async with database(postgres_url) as opened:
        async with ledger_of(opened) as ledger:
            await ledger.intend(EDIT, FIRST)
        with pytest.raises(LedgerUnavailable):
            await ledger.end_task(EDIT.edit_id, 0, "succeeded")
        assert ledger.lost
        with pytest.raises(LedgerUnavailable):
            await ledger.deliver(EDIT.edit_id, ago=1.0)
        sql = (
            "SELECT delivered, tasks.state "
            "FROM wan_gateway.edits JOIN wan_gateway.tasks USING (edit_id)"
        )
        rows = await fetch(postgres_url, sql)
        assert [tuple(row) for row in rows] == [(True, "submitting")]


async def test_what_was_kept_a_moment_ago_is_not_listed(postgres_url: str) -> None:
    """Another node may be about to write its edit: only what is an hour old may be an orphan."""
    async with database(postgres_url) as opened:
        sources = DurableMaskSources(EditRows(opened.reader, "mask_sources"))
        kept: Any = MaskSource(original=b"original", mask=b"mask")
        await sources.put("edit_1", kept)
        assert await sources.list_ids() == []
        await fetch(
            postgres_url,
            "UPDATE wan_gateway.mask_sources SET stored = stored - interval '2 hours'",
        )
        assert await sources.list_ids() == ["edit_1"]
