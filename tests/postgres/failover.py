"""
What a failover of PostgreSQL forgets of the ledger: a primary, and a standby that is behind.

``python -m tests.postgres.failover`` prints the figures of docs/howto/postgresql.md, in a minute.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from statistics import quantiles

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.postgres import PostgresLedger
from tests.ledger.records import FIRST, edit
from tests.postgres.ledgers import opened
from tests.postgres.server import PostgresServer, fetch

_WRITERS = 8
_SECONDS = 5.0
_NEVER = 1e9


class Link:
    """The network between both: what the primary sends arrives after *lag*, in seconds."""

    def __init__(self, port: int, lag: float) -> None:
        self.lag = lag
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:  # a connection without a word would delay the primary's end
            writer.transport.abort()
            return
        self._writers.add(writer)
        with suppress(ConnectionError):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(ours)
            await asyncio.gather(self._pass(reader, ours), self._delay(theirs, writer))
        writer.transport.abort()

    def hold(self) -> None:
        """Let nothing arrive from now on."""
        self.lag = _NEVER

    def cut(self) -> None:
        """Lose what is under way, as when the primary's machine vanishes."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()

    async def _delay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while piece := await source.read(65536):
            loop.call_later(self.lag, sink.write, piece)
        loop.call_later(self.lag, sink.close)


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its standby."""

    primary: PostgresServer
    standby: PostgresServer
    link: Link
    database: str

    @property
    def url(self) -> str:
        """Of the ledger, at the primary."""
        return self.primary.url(self.database)

    @property
    def url_of_both(self) -> str:
        """Of the ledger, at whichever of the two is the primary."""
        hosts = f"127.0.0.1:{self.standby.port},127.0.0.1:{self.primary.port}"
        return f"postgres://postgres@{hosts}/{self.database}?target_session_attrs=primary"

    async def fail_over(self) -> None:
        """Let the primary's machine vanish, and make the standby the primary."""
        self.link.cut()
        await asyncio.to_thread(self.primary.stop)
        await asyncio.to_thread(self.standby.promote)

    async def remembered(self) -> set[str]:
        """Return the edits that the standby has."""
        url = self.standby.url(self.database)
        return {row["edit_id"] for row in await fetch(url, "SELECT edit_id FROM wan_gateway.edits")}


@asynccontextmanager
async def pair(*, synchronous: bool, lag: float = 0.0) -> AsyncIterator[Pair]:
    """Run both; with *synchronous* a COMMIT is answered when the standby has it."""
    async with AsyncExitStack() as stack:
        primary = await asyncio.to_thread(PostgresServer)
        stack.callback(primary.remove)
        database = primary.create().rpartition("/")[2]
        link = Link(primary.port, 0.0)
        server = await asyncio.start_server(link, "127.0.0.1", 0)
        stack.callback(link.cut)
        stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        source = f"postgres://postgres@127.0.0.1:{port}/?application_name=standby_1"
        standby = await asyncio.to_thread(PostgresServer, source)
        stack.callback(standby.remove)
        if synchronous:
            url = primary.url("postgres")
            await fetch(url, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby_1)'")
            await fetch(url, "SELECT pg_reload_conf()")
        link.lag = lag
        yield Pair(primary, standby, link, database)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of edits whose intents were written until the primary vanished."""

    acknowledged: int
    forgotten: int
    milliseconds: tuple[float, float]
    """From the write to its acknowledgement: the median, and the 99th percentile."""


async def measure(*, synchronous: bool, lag: float, seconds: float) -> Outcome:
    """Let eight writers write as fast as they can for *seconds*, then fail over."""
    async with (
        pair(synchronous=synchronous, lag=lag) as servers,
        opened(servers.url, close_seconds=0.1) as ledger,
    ):
        loop, numbers = asyncio.get_running_loop(), count()
        took: dict[str, float] = {}

        async def write(ledger: PostgresLedger) -> None:
            for number in numbers:
                name, start = f"edit_{number}", loop.time()
                await ledger.intend(edit(name, key=name), FIRST)
                took[name] = loop.time() - start

        writers = [loop.create_task(write(ledger)) for _ in range(_WRITERS)]
        await asyncio.sleep(seconds)
        for writer in writers:
            writer.cancel()
        acknowledged = set(took)
        await servers.fail_over()
        forgotten = acknowledged - await servers.remembered()
        with suppress(LedgerUnavailable):
            await asyncio.gather(*writers, return_exceptions=True)
    cuts = quantiles(took.values(), n=100)
    return Outcome(
        len(acknowledged), len(forgotten), (round(cuts[49] * 1000, 1), round(cuts[98] * 1000, 1))
    )


async def _main() -> None:
    for synchronous in (False, True):
        for lag in (0.0, 0.02, 0.3):
            outcome = await measure(synchronous=synchronous, lag=lag, seconds=_SECONDS)
            kind = "synchronous" if synchronous else "asynchronous"
            sys.stdout.write(f"{kind}, {lag * 1000:.0f} ms behind: {outcome}\n")


if __name__ == "__main__":
    asyncio.run(_main())
