"""The ledger in PostgreSQL as an operator's commands read it, beside a running gateway."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from re import sub
from typing import Any, TypeVar

import asyncpg

from gateway.domain.clock import SystemClock
from gateway.domain.record import EditRecord, StrayTask
from gateway.ledger.errors import LedgerHeldError, database_error
from gateway.ledger.nodes import NodeStatus
from gateway.ledger.postgres import ROWS, record_of
from gateway.ledger.postgres_connection import BROKEN, Outage, Session

_T = TypeVar("_T")
_HELD = "holder <> '' AND until > clock_timestamp()"


def read(url: str, where: str, values: Sequence[Any]) -> list[EditRecord]:
    """
    Return the edits that *where* selects; none from a database that no gateway has used yet.

    Raises:
        LedgerError: the database cannot be read.
    """
    numbers = count(1)
    sql = ROWS + sub(r"\?", lambda _: f"${next(numbers)}", where)

    async def work(connection: Any) -> list[EditRecord]:
        if not await _has_tables(connection):
            return []
        return [record_of(row) for row in await connection.fetch(sql, *values)]

    return _run(url, work)


def read_strays(url: str) -> list[StrayTask]:
    """
    Return the tasks that reached the ledger too late, and which no edit has taken.

    Raises:
        LedgerError: the database cannot be read.
    """

    async def work(connection: Any) -> list[StrayTask]:
        if not await _has_tables(connection):
            return []
        sql = "SELECT edit_id, part, upstream, task_id FROM wan_gateway.strays ORDER BY seen"
        return [StrayTask(*row) for row in await connection.fetch(sql)]

    return _run(url, work)


def refuse_if_held(url: str) -> None:
    """
    Make sure that no gateway has a lease on the ledger.

    Raises:
        LedgerHeldError: a gateway has one.
        LedgerError: the database cannot be read.
    """

    async def work(connection: Any) -> Any:
        sql = f"SELECT node FROM wan_gateway.leases WHERE {_HELD}"  # noqa: S608 - our own
        return await connection.fetchval(sql) if await _has_tables(connection) else None

    if (node := _run(url, work)) is not None:
        what = f"a gateway works on this database ({node})"
        raise LedgerHeldError("PostgreSQL", what, "stop it first", key="state.url")


def read_nodes(url: str) -> list[NodeStatus]:
    """
    Return the nodes that have not left, by name, and what each of them owns.

    Raises:
        LedgerError: the database cannot be read.
    """

    async def work(connection: Any) -> list[NodeStatus]:
        if not await _has_tables(connection):
            return []
        rows = await connection.fetch(
            "SELECT node, url, version, config, takes, "  # noqa: S608 - our own
            "extract(epoch FROM clock_timestamp() - seen)::float8 AS silent, ARRAY("
            "SELECT name FROM wan_gateway.leases WHERE leases.node = nodes.node "
            f"AND {_HELD} ORDER BY name) AS owned FROM wan_gateway.nodes ORDER BY node"
        )
        return [NodeStatus(**{**row, "owned": tuple(row["owned"])}) for row in rows]

    return _run(url, work)


def read_owners(url: str, edit_ids: Sequence[str]) -> dict[str, str]:
    """
    Return for each of some edits the node that owns it, where a node does.

    Raises:
        LedgerError: the database cannot be read.
    """

    async def work(connection: Any) -> dict[str, str]:
        if not await _has_tables(connection):
            return {}
        rows = await connection.fetch(
            "SELECT edit_id, node FROM wan_gateway.edits JOIN wan_gateway.leases ON name = account "  # noqa: S608 - our own
            f"WHERE edit_id = ANY ($1::text[]) AND {_HELD}",
            list(edit_ids),
        )
        return {row["edit_id"]: row["node"] for row in rows}

    return _run(url, work)


def describe(url: str) -> str:
    """
    Return the server's version and how long one statement takes, for ``wan-gateway doctor``.

    Raises:
        LedgerError: the database cannot be read.
    """

    async def work(connection: Any) -> str:
        version = await connection.fetchval("SELECT current_setting('server_version')")
        began = time.monotonic()
        await connection.fetchval("SELECT 1")
        return f"PostgreSQL {version}, {1000 * (time.monotonic() - began):.1f} ms a statement"

    return _run(url, work)


async def _has_tables(connection: Any) -> bool:
    return await connection.fetchval("SELECT to_regclass('wan_gateway.meta')") is not None


def _run(url: str, work: Callable[[Any], Awaitable[_T]]) -> _T:
    async def once() -> _T:
        session = Session(url, Outage(SystemClock()))
        try:
            return await session.run(work)
        finally:
            await session.close()

    try:
        return asyncio.run(once())
    except (*BROKEN, asyncpg.PostgresError) as error:
        what = f"cannot be read ({str(error).rstrip('.') or type(error).__name__})"
        raise database_error(what, "see that it runs and that the URL is right") from error
