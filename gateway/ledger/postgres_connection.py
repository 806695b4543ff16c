"""A connection to PostgreSQL that is made again when it breaks, and reads over it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerUnavailable

_T = TypeVar("_T")
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 10.0
RECONNECT_SECONDS = 0.25
_PATIENCE_SECONDS = 10.0
_PROBE_SECONDS = 2.0
IDLE_SECONDS = 5.0
"""
Until then the engine waits for the next statement of a transaction. Whoever stops within one,
or is dead without its connection being closed, would keep the rows of its leases locked (D105).
"""

# After these the outcome of a transaction is unknown, or another try may succeed.
BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)


class Outage:
    """
    Since when the engine has been away, as the connections of this process see it.

    Calls wait for it during the first 10 seconds; after those they fail at once, so that an
    edit that runs is not held up by each of its writes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self) -> None:
        if self._since is None:
            self._since = self._clock.now()

    def end(self) -> None:
        self._since = None

    @property
    def patience(self) -> float:
        """For how many seconds a call may still wait; 0 once the engine has been away long."""
        if self._since is None:
            return _PATIENCE_SECONDS
        return max(0.0, self._since + _PATIENCE_SECONDS - self._clock.now())


class Session:
    """
    One connection that is made again when it breaks; one transaction at a time.

    Every statement runs in an explicit transaction, which a pooler in transaction mode sends to
    one server connection, and none is a named prepared statement (D104).

    Args:
        url: ``postgres://USER:PASSWORD@HOST/DATABASE``; never printed.
        outage: Begins and ends with what this connection sees.
    """

    def __init__(self, url: str, outage: Outage) -> None:
        self._url = url
        self._outage = outage
        self._lock = asyncio.Lock()
        self._connection: Any = None

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    async def run(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """
        Return the result of *work*, which is given the connection inside a transaction.

        Raises:
            Exception: any of BROKEN; the outcome is unknown then.
            PostgresError: the server refused a statement; nothing was written.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(_COMMAND_SECONDS):
                    if self._connection is None:
                        self._connection = await asyncpg.connect(
                            self._url, timeout=_CONNECT_SECONDS, statement_cache_size=0
                        )
                    result = await _in_transaction(self._connection, work)
            except BROKEN:
                self._outage.begin()
                self.cut()
                raise
            except asyncpg.PostgresError:
                raise
            except BaseException:
                self.cut()
                raise
            self._outage.end()
            return result

    def cut(self) -> None:
        """Close the connection at once; the next call makes a new one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*BROKEN):
                await connection.close(timeout=1)


async def _in_transaction(connection: Any, work: Callable[[Any], Awaitable[_T]]) -> _T:
    """Return the result of *work*, committed; the limit comes with BEGIN, in one round trip."""
    limit = f"SET LOCAL idle_in_transaction_session_timeout = {1000 * IDLE_SECONDS:.0f}"
    await connection.execute(f"BEGIN; {limit}")
    try:
        result = await work(connection)
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return result


class Reader:
    """
    Idempotent statements on a connection of their own; wait for an engine that is away.

    Args:
        session: The connection.
        outage: How long a call may wait.
        clock: For the pauses between two tries.
        on_failure: Called with each failure that a caller sees, for the operator.
    """

    def __init__(
        self,
        session: Session,
        outage: Outage,
        clock: Clock,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.session = session
        self._outage = outage
        self._clock = clock
        self._on_failure = on_failure

    async def run(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """
        Return the result of *work*, which must be idempotent.

        Raises:
            LedgerUnavailable: the engine is away, or refuses.
        """
        patience = self._outage.patience
        if not patience and self.session.busy:
            raise unavailable(None)  # one call at a time finds out whether the engine is back
        try:
            async with asyncio.timeout(max(patience, _PROBE_SECONDS)):
                return await self._run(work)
        except (*BROKEN, asyncpg.PostgresError) as error:
            self._on_failure(error)
            raise unavailable(error) from error

    async def _run(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await self.session.run(work)
            except BROKEN:
                if not self._outage.patience:
                    raise
            await self._clock.sleep(RECONNECT_SECONDS)

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        rows: list[Any] = await self.run(lambda connection: connection.fetch(sql, *values))
        return rows


def unavailable(cause: Exception | None) -> LedgerUnavailable:
    error = LedgerUnavailable(
        "The gateway cannot keep its records at the moment; nothing was submitted for this "
        "request. Send it again.",
        retry_after=5.0,
    )
    error.__cause__ = cause
    return error
