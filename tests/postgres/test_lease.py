"""Leases: who may own what, until when, and how the next one comes to it."""

import asyncio
import threading
from typing import Any, cast

import asyncpg
import pytest

from gateway.domain.clock import SystemClock
from gateway.ledger import postgres_connection
from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.postgres_connection import BROKEN, Session
from gateway.ledger.postgres_lease import Lease, LeaseRenewal
from tests.ledger.records import EDIT, FIRST, SECOND, edit
from tests.postgres.ledgers import breaking, database_at, ledger_of, opened, steal, until
from tests.postgres.server import fetch, own_server

pytestmark = pytest.mark.anyio


async def test_the_renewal_notices_that_the_lease_is_lost(postgres_url: str) -> None:
    """Also without a write, and though the event loop does nothing for it."""
    async with opened(postgres_url, lease_seconds=0.4) as ledger:
        await steal(postgres_url)

        await until(lambda: ledger.lease.lost)


async def test_the_lease_is_renewed_while_the_loop_lags(postgres_url: str) -> None:
    """A thread renews it: a second without the event loop loses nothing."""
    async with opened(postgres_url, lease_seconds=3) as ledger:
        threading.Event().wait(4.5)  # the lag that is tested
        lasts = "SELECT until > clock_timestamp() AS lasts FROM wan_gateway.leases"
        rows = await fetch(postgres_url, lasts)

        assert rows[0]["lasts"]
        assert not ledger.lease.lost


async def test_a_renewal_outlasts_a_broken_connection(postgres_url: str) -> None:
    """The server closes every connection: the lease and the writes go on over new ones."""
    async with opened(postgres_url, lease_seconds=1.2) as ledger:
        await asyncio.sleep(0.4)  # a renewal was made
        await fetch(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND datname = current_database()",
        )
        await ledger.intend(EDIT, FIRST)
        before = await _end(postgres_url)
        async with asyncio.timeout(30):
            while await _end(postgres_url) <= before:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.05)
        await ledger.intend(EDIT, SECOND)

        found = await ledger.find("edit_1")
        assert found is not None
        assert found.tasks == (FIRST, SECOND)


async def test_submits_stop_before_the_lease_ends(postgres_url: str) -> None:
    """By this machine's clock, with the engine away or not; renewed, they go on."""
    async with (
        breaking(postgres_url) as (url, proxy),
        opened(url, lease_seconds=1.2) as ledger,
    ):
        assert ledger.may_submit
        proxy.leave()
        await until(lambda: not ledger.may_submit)
        assert not ledger.lost
        proxy.come_back()
        await until(lambda: ledger.may_submit)


async def test_a_lease_that_is_given_back_during_its_renewal_was_not_lost() -> None:
    """The engine says that nobody holds it, and nobody else has taken it."""

    class EmptySession:
        def __init__(self) -> None:
            self.asked = threading.Event()

        async def run(self, work: object) -> list[object]:
            renewal.remove(lease)
            self.asked.set()
            return []

        async def close(self) -> None:
            """There is nothing to close."""

    lease = Lease("a", ["acme-cn"], 10.0)
    session = EmptySession()
    renewal = LeaseRenewal(cast("Session", session), 0.04, SystemClock())
    renewal.add(lease)
    await until(session.asked.is_set)
    await renewal.stop()

    assert not lease.lost


@pytest.mark.parametrize(
    ("age", "lost", "may"),
    [(8.9, False, True), (9.1, False, False), (1.0, True, False)],
)
def test_a_tenth_of_a_lease_is_not_used(age: float, *, lost: bool, may: bool) -> None:
    """Of ten seconds nine, from just before the renewal was sent; nothing of a lost lease."""
    lease = Lease("a", ["acme-cn"], 10.0)
    assert not lease.may_submit(0.0)
    lease.renewed_at = 100.0
    lease.lost = lost

    assert lease.may_submit(100.0 + age) is may


async def test_a_holder_that_stops_in_a_transaction_is_in_nobodys_way(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with SIGSTOP or a dead machine: its row locks must not outlast its lease."""
    monkeypatch.setattr(postgres_connection, "IDLE_SECONDS", 0.5)
    stopped = asyncio.Event()
    wakes = asyncio.Event()

    async def work(connection: Any) -> None:
        await connection.execute("UPDATE wan_gateway.leases SET until = clock_timestamp()")
        stopped.set()
        await wakes.wait()

    async with database_at(postgres_url, "a") as database:
        await database.prepare()
        await fetch(
            postgres_url,
            "INSERT INTO wan_gateway.leases (name, holder, node) VALUES ('*', 'dead', 'a')",
        )
        transaction = asyncio.get_running_loop().create_task(database.reader.session.run(work))
        await stopped.wait()
        async with opened(postgres_url, "b"):
            assert not transaction.done()
            wakes.set()
            with pytest.raises(BROKEN):
                await transaction


async def _end(url: str) -> Any:
    return (await fetch(url, "SELECT until FROM wan_gateway.leases"))[0]["until"]


async def test_a_lease_that_is_given_back_is_free_at_once(postgres_url: str) -> None:
    """What was queued is written before; the next process waits for no submit of this one."""
    async with asyncio.TaskGroup() as group, opened(postgres_url) as ledger:
        group.create_task(ledger.intend(EDIT, FIRST))
        await asyncio.sleep(0)
    async with opened(postgres_url, "b") as ledger:
        assert ledger.submits_end_at == 0.0
        assert [it.edit_id for it in await ledger.owed()] == ["edit_1"]


async def test_a_second_gateway_is_refused(postgres_url: str) -> None:
    """The first one renews its lease; the message names it."""
    async with opened(postgres_url, "one", lease_seconds=3):
        with pytest.raises(LedgerHeldError) as caught:
            async with opened(postgres_url, "two", lease_seconds=3):
                pass

    assert caught.value.key == "state.url"
    assert str(caught.value) == (
        "PostgreSQL: another gateway works on this database (one); "
        "stop that one, or name another database"
    )


async def test_the_lease_of_a_dead_process_is_waited_for(postgres_url: str) -> None:
    """It was not given back, so the earlier process may live: its submits are waited for."""
    async with opened(postgres_url) as first:
        assert first.submits_end_at == 0.0
        await first.intend(edit("edit_waiting"), FIRST)
        await first.void("edit_waiting", 0)
    await fetch(
        postgres_url,
        "UPDATE wan_gateway.leases SET holder = 'dead', node = 'dead', "
        "until = clock_timestamp() + interval '0.5 s'",
    )
    async with database_at(postgres_url, "two", lease_seconds=0.5) as database:
        assert await database.prepare() == ""  # it is prepared already
        second = ledger_of(database)
        assert await second.take() == "the lease of dead is not over"
        async with second:
            assert await second.take() == ""
            assert 40 < second.submits_end_at - SystemClock().now() <= 45
            assert await second.find("edit_waiting") is None  # it waited in the dead one's memory


async def test_a_restarted_server_gives_no_lease_away() -> None:
    """Its owner could not renew: for the length of a lease nobody else gets it."""
    with own_server() as server:
        url = server.create()
        async with opened(url):
            pass
        await fetch(url, "UPDATE wan_gateway.leases SET holder = 'b', until = clock_timestamp()")
        server.stop()
        server.start()

        async with database_at(url, "c", lease_seconds=60) as database:
            assert await ledger_of(database).take() == "the lease of a is not over"


async def test_a_lease_is_on_all_its_names_or_none(postgres_url: str) -> None:
    """The name * excludes all others, so that one gateway never works beside several."""
    async with opened(postgres_url):
        connection = await asyncpg.connect(postgres_url)

        async def take(*names: str) -> tuple[str, float]:
            async with connection.transaction():
                return await Lease("b", names, 10.0).take(connection)

        assert (await take("one"))[0] == "a"
        await connection.execute("UPDATE wan_gateway.leases SET holder = '' WHERE name = '*'")
        assert await take("one", "two") == ("", 0.0)
        assert (await take("two", "three"))[0] == "b"
        held = await connection.fetch("SELECT name FROM wan_gateway.leases WHERE holder <> ''")
        assert {row["name"] for row in held} == {"one", "two"}
        assert await take("three") == ("", 0.0)
        assert (await take("*"))[0] == "b"
        await connection.close()


async def test_another_node_with_a_shard_is_no_error(postgres_url: str) -> None:
    """Only a gateway without shards is told to stop; a shard is asked for again."""
    async with database_at(postgres_url, "one", lease_seconds=60) as database:
        async with ledger_of(database, ["acme-cn"]):
            other = ledger_of(database, ["acme-cn"])
            assert await other.take() == "the lease of one is not over"
            assert await other.take() == "the lease of one is not over"
        assert await other.take() == ""
