"""Ledgers in PostgreSQL for tests, and a proxy before the server that breaks connections."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.domain.clock import SystemClock
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_database import Database
from gateway.ledger.postgres_files import EditRows
from gateway.ledger.postgres_lease import ALL
from tests.postgres.server import fetch


class AnyTenant(dict[str, str]):
    """Every tenant's edits are stored under one account."""

    def __missing__(self, tenant: str) -> str:
        return "acme-cn"


class MovingClock(SystemClock):
    """The system's clock, which a test can set ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


def database_at(url: str, node: str = "a", **options: Any) -> Database:
    return Database(url, options.pop("clock", None) or SystemClock(), node=node, **options)


def ledger_of(database: Database, names: Sequence[str] = (ALL,)) -> PostgresLedger:
    return PostgresLedger(database, names, home_of=AnyTenant())


class OldRows(EditRows):
    """Rows that are old when they are listed: young ones may be of an edit that begins."""

    def __init__(self, url: str, database: Database, table: str) -> None:
        super().__init__(database.reader, table)
        self._url = url
        rows = f"wan_gateway.{table}"
        self._age = f"UPDATE {rows} SET stored = stored - interval '2 hours'"  # noqa: S608 - ours

    async def list_ids(self) -> list[str]:
        await fetch(self._url, self._age)
        return await super().list_ids()


@asynccontextmanager
async def opened(url: str, node: str = "a", **options: Any) -> AsyncIterator[PostgresLedger]:
    """Open a ledger as a process does; a lease lasts a minute unless the test says otherwise."""
    options = {"lease_seconds": 60, **options}
    async with database_at(url, node, **options) as database, ledger_of(database) as ledger:
        yield ledger


async def steal(url: str) -> None:
    """Take every lease, as another node does once it has expired."""
    await fetch(url, "UPDATE wan_gateway.leases SET holder = 'thief', node = 'thief'")


async def until(fact: Callable[[], bool]) -> None:
    """Wait for what happens in the server or in a thread, where no clock can be handed in."""
    async with asyncio.timeout(30):
        while not fact():  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.02)


class BreakingProxy:
    """Passes bytes to the server on *port*, until a test breaks something."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._away = False
        self.cut_next_commit = False
        """Cut the connection between the next COMMIT and its answer."""
        self.cuts = 0
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers |= {writer, ours}
            if self._away:
                self.leave()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, ours))
                group.create_task(self._pass(theirs, writer, may_cut=True))
            self._writers -= {writer, ours}
        finally:
            self.connections -= 1

    def leave(self) -> None:
        """Be away: close all connections, and every new one at once."""
        self._away = True
        for writer in self._writers:
            writer.close()

    def come_back(self) -> None:
        self._away = False

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, may_cut: bool = False
    ) -> None:
        try:
            while piece := await source.read(65536):
                if may_cut and self.cut_next_commit and b"COMMIT\0" in piece:
                    self.cut_next_commit = False
                    self.cuts += 1
                    break
                sink.write(piece)
        except ConnectionError:
            pass
        sink.close()


@asynccontextmanager
async def breaking(url: str) -> AsyncIterator[tuple[str, BreakingProxy]]:
    """Run a proxy before the server of *url*; yield the URL through it."""
    host, _, database = url.rpartition("/")
    front, _, port = host.rpartition(":")
    proxy = BreakingProxy(int(port))
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    try:
        yield f"{front}:{server.sockets[0].getsockname()[1]}/{database}", proxy
    finally:
        server.close()
        proxy.leave()
        await until(lambda: not proxy.connections)
