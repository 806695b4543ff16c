"""What stops the start, each in one message that says what to do and shows no password."""

import asyncio
from dataclasses import dataclass

import asyncpg
import pytest

from gateway.domain.clock import SystemClock
from gateway.ledger import postgres_schema
from gateway.ledger.errors import LedgerError
from gateway.ledger.postgres_database import Database
from tests.ledger.records import EDIT, FIRST
from tests.postgres.ledgers import breaking, database_at, opened
from tests.postgres.server import PostgresServer, fetch, own_server

pytestmark = pytest.mark.anyio


async def _refusal(url: str) -> str:
    with pytest.raises(LedgerError) as caught:
        await database_at(url).prepare()
    assert caught.value.key == "state.url"
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


async def test_there_is_no_such_database(postgres_server: PostgresServer) -> None:
    """The operator has to create it."""
    assert await _refusal(postgres_server.url("nowhere")) == (
        'PostgreSQL: database "nowhere" does not exist; create the database'
    )


async def test_a_parameter_of_the_url_is_wrong(postgres_server: PostgresServer) -> None:
    """The driver says which."""
    refusal = await _refusal(postgres_server.url("postgres?target_session_attrs=odd"))

    assert refusal.endswith("; correct the URL")


async def test_the_password_is_wrong_or_missing() -> None:
    """It is not printed."""
    with own_server() as server:
        await fetch(server.url("postgres"), "CREATE ROLE guest LOGIN PASSWORD 'right'")
        await asyncio.to_thread(server.require_passwords)

        wrong = await _refusal(server.url("postgres", "guest:hunter2"))
        missing = await _refusal(server.url("postgres", "guest"))
        nobody = await _refusal(server.url("postgres", "nobody:hunter2"))

    remedy = "; give the role's password in the URL"
    assert wrong == f'PostgreSQL: password authentication failed for user "guest"{remedy}'
    assert missing.endswith(remedy)
    assert nobody == f'PostgreSQL: password authentication failed for user "nobody"{remedy}'


async def test_the_role_may_not_create(postgres_url: str) -> None:
    """The right to create a schema is missing."""
    await fetch(postgres_url, "DROP ROLE IF EXISTS guest")
    await fetch(postgres_url, "CREATE ROLE guest LOGIN")

    refusal = await _refusal(postgres_url.replace("postgres@", "guest:hunter2@"))

    assert refusal.endswith("; let the role create a schema in the database")


async def test_there_is_no_such_role(postgres_url: str) -> None:
    """The operator has to create it."""
    refusal = await _refusal(postgres_url.replace("postgres@", "nobody:hunter2@"))

    assert refusal == 'PostgreSQL: role "nobody" does not exist; give a role that may log in'


async def test_the_tables_are_of_another_program(postgres_url: str) -> None:
    """A schema of that name that is not ours is left as it is."""
    await fetch(postgres_url, "CREATE SCHEMA wan_gateway")
    await fetch(postgres_url, "CREATE TABLE wan_gateway.meta (a int)")

    refusal = await _refusal(postgres_url)

    assert refusal.startswith("PostgreSQL: cannot be used (column ")


@dataclass(frozen=True, slots=True)
class _OldServer:
    async def fetchval(self, _sql: str) -> int:
        return 120_022


async def test_the_server_is_too_old() -> None:
    """Versions before 13 are not tried."""
    with pytest.raises(LedgerError) as caught:
        await postgres_schema.prepare(_OldServer())

    assert str(caught.value) == (
        "PostgreSQL: the server is PostgreSQL 12; use PostgreSQL 13 or newer"
    )


async def test_the_tables_are_of_a_newer_gateway(postgres_url: str) -> None:
    """They are used as long as they only add something; then the old gateway is stopped."""
    async with opened(postgres_url):
        pass
    await fetch(postgres_url, "UPDATE wan_gateway.meta SET version = 7")
    async with opened(postgres_url) as ledger:
        await ledger.intend(EDIT, FIRST)
    await fetch(postgres_url, "UPDATE wan_gateway.meta SET oldest_gateway = 7")

    assert "its tables need version 7, this one knows up to 1" in await _refusal(postgres_url)


async def test_tables_are_migrated_once(postgres_url: str) -> None:
    """Nodes that start at once agree; each step is made by one of them, and rows stay."""
    steps = (*postgres_schema.MIGRATIONS, "CREATE TABLE wan_gateway.more (a int)")

    async def migrate() -> None:
        connection = await asyncpg.connect(postgres_url)
        async with connection.transaction():
            await postgres_schema.prepare(connection, steps)
        await connection.close()

    async with opened(postgres_url) as ledger:
        await ledger.intend(EDIT, FIRST)
    await asyncio.gather(*(migrate() for _ in range(3)))

    rows = await fetch(postgres_url, "SELECT version FROM wan_gateway.meta")
    assert [row["version"] for row in rows] == [2]
    async with opened(postgres_url) as ledger:
        assert [it.edit_id for it in await ledger.owed()] == ["edit_1"]


async def test_an_engine_that_is_away_is_waited_for(postgres_url: str) -> None:
    """The start goes on once it is there."""
    async with breaking(postgres_url) as (url, proxy), asyncio.TaskGroup() as group:
        proxy.leave()

        async def start() -> None:
            async with opened(url) as ledger:
                await ledger.intend(EDIT, FIRST)

        starting = group.create_task(start())
        await asyncio.sleep(0.3)
        assert not starting.done()
        proxy.come_back()


class _AwayOnce(Database):
    """Says so itself: coverage loses its place where the driver's connection breaks."""

    def __init__(self, url: str) -> None:
        super().__init__(url, SystemClock(), node="a")
        self.reasons = ["It is away.", ""]

    async def prepare(self) -> str:
        return self.reasons.pop(0)


async def test_a_database_is_entered_once_it_is_prepared(postgres_url: str) -> None:
    """Not before."""
    async with _AwayOnce(postgres_url) as database:
        assert database.reasons == []


class Migrated:
    """A database whose tables another gateway has just made."""

    async def fetchval(self, query: str) -> bool:
        return True

    async def fetchrow(self, query: str) -> dict[str, int]:
        return {"version": len(postgres_schema.MIGRATIONS), "oldest_gateway": 1}


async def test_another_gateway_was_quicker() -> None:
    """Nothing is done twice: a statement would be an AttributeError."""
    await postgres_schema._migrate(Migrated(), postgres_schema.MIGRATIONS)
