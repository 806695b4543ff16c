"""The database of a process: two connections, the thread of its leases, and the first steps."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import asyncpg

from gateway.domain.clock import Clock
from gateway.ledger.errors import database_error
from gateway.ledger.postgres_connection import BROKEN, Outage, Reader, Session
from gateway.ledger.postgres_lease import LeaseRenewal
from gateway.ledger.postgres_schema import prepare
from gateway.ledger.postgres_writer import PostgresWriter

_T = TypeVar("_T")
RETRY_SECONDS = 1.0

_REMEDIES = {
    asyncpg.exceptions.ClientConfigurationError: "correct the URL",
    asyncpg.InvalidPasswordError: "give the role's password in the URL",
    asyncpg.InvalidAuthorizationSpecificationError: "give a role that may log in",
    asyncpg.InvalidCatalogNameError: "create the database",
    asyncpg.InsufficientPrivilegeError: "let the role create a schema in the database",
}


class EngineAwayError(Exception):
    """PostgreSQL cannot be reached at the moment; the message says why, in words for a log."""


class Database:
    """
    What all ledgers of a process share. Use as an async context manager.

    Args:
        url: ``postgres://USER:PASSWORD@HOST/DATABASE``; never printed.
        clock: For pauses and patience.
        node: How the operator knows this process.
        lease_seconds: How long after this process has died another one may write.
        close_seconds: How long a ledger tries at its end to write what is queued.
        on_failure: Called with each new failure, for the operator.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        node: str,
        lease_seconds: float = 10.0,
        close_seconds: float = 5.0,
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self.clock = clock
        self.node = node
        self.lease_seconds = lease_seconds
        self.close_seconds = close_seconds
        outage = Outage(clock)
        self.reader = Reader(Session(url, outage), outage, clock, on_failure)
        self.writer = PostgresWriter(Session(url, outage), outage, clock, on_failure)
        self.renewal = LeaseRenewal(Session(url, Outage(clock)), lease_seconds, clock)
        self._group = asyncio.TaskGroup()
        self._prepared = False

    async def prepare(self) -> str:
        """
        Create or migrate the tables.

        Returns:
            Why that has to be tried again later; empty once it is done.

        Raises:
            LedgerError: the database cannot be used.
        """
        if not self._prepared:
            try:
                await self.attempt(prepare)
            except EngineAwayError as away:
                return str(away)
            self._prepared = True
        return ""

    async def attempt(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """
        Return the result of *work*, which is given a connection inside a transaction.

        Raises:
            EngineAwayError: it may succeed later.
            LedgerError: the database cannot be used; the message says what to do.
        """
        session = self.reader.session
        try:
            return await session.run(work)
        except tuple(_REMEDIES) as error:
            session.cut()
            remedy = next(text for kind, text in _REMEDIES.items() if isinstance(error, kind))
            raise database_error(str(error).rstrip("."), remedy) from error
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            raise EngineAwayError(f"PostgreSQL cannot be reached ({reason})") from error
        except asyncpg.PostgresError as error:
            session.cut()
            what = f"cannot be used ({str(error).rstrip('.')})"
            raise database_error(what, "see the server's log") from error

    async def __aenter__(self) -> Self:
        """
        Wait for the engine, then begin to write.

        Raises:
            LedgerError: as for ``prepare``.
        """
        reason = await self.prepare()
        while reason:
            await self.clock.sleep(RETRY_SECONDS)
            reason = await self.prepare()
        await self._group.__aenter__()
        self._writing = self._group.create_task(self.writer.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections; the ledgers have written what was queued."""
        self._writing.cancel()
        await self._group.__aexit__(None, None, None)
        await self.renewal.stop()
        await self.writer.session.close()
        await self.reader.session.close()
