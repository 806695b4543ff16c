"""A ledger in PostgreSQL whose engine reads the time from a test's calendar."""

from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from gateway.domain.clock import SystemClock
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_connection import Outage, Session
from gateway.ledger.postgres_database import Database
from tests.ledger.records import Calendar
from tests.postgres.ledgers import AnyTenant
from tests.postgres.server import fetch

_T = TypeVar("_T")
_READ_CALENDAR = """
CREATE OR REPLACE FUNCTION wan_gateway.now() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT to_timestamp(current_setting('test.epoch')::float8) $$
"""


class _TimedSession(Session):
    """Tells the engine the time in each transaction."""

    def __init__(self, url: str, calendar: Calendar) -> None:
        super().__init__(url, Outage(SystemClock()))
        self._calendar = calendar

    async def run(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        async def timed(connection: Any) -> _T:
            epoch = repr(self._calendar.epoch)
            await connection.execute("SELECT set_config('test.epoch', $1, true)", epoch)
            return await work(connection)

        return await super().run(timed)


class TimedPostgresLedger(PostgresLedger):
    """Opens its database as well."""

    def __init__(self, url: str, calendar: Calendar) -> None:
        database = Database(url, SystemClock(), node="test")
        database.reader.session = _TimedSession(url, calendar)
        database.writer.session = _TimedSession(url, calendar)
        super().__init__(database, home_of=AnyTenant())
        self._url = url

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        await fetch(self._url, _READ_CALENDAR)
        return await super().__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._database.__aexit__(*exc)
