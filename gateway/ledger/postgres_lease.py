"""A lease by the clock of PostgreSQL, and the thread that renews all leases of a process."""

import asyncio
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import asyncpg

from gateway.domain.clock import Clock
from gateway.ledger.postgres_connection import BROKEN, Session

ALL = "*"
"""The name that a node without shards takes: it excludes every other lease."""

_SUBMITTING = 0.9
"""So much of a lease is used for submits: of 10 seconds, all but the last one."""


class Lease:
    """
    The right of one node to write for some names, until a time by the engine's clock.

    A lease decides when another node begins; that nothing is written twice rests on the fence,
    which compares *holder* in every transaction (D105).

    Args:
        node: How the operator knows this process.
        names: The rows to hold, all of them or none; ``*`` excludes every other lease.
        seconds: How long a lease lasts without renewal.
    """

    def __init__(self, node: str, names: Sequence[str], seconds: float) -> None:
        self.holder = uuid4().hex  # never used again, unlike a number after a failover
        self.node = node
        self.names = list(names)
        self.seconds = seconds
        self.lost = False
        """Whether another node has taken a row: nothing is written with this lease any more."""
        self.expired = False
        """Whether the rows were taken from a holder that did not give them back, and may live."""
        self.renewed_at = float("-inf")
        """Monotonic: just before the last statement was sent that took or renewed it."""

    def may_submit(self, now: float) -> bool:
        """
        Say whether no other node can have the lease by this node's own clock (D105).

        A holder that cannot renew stops its submits by itself, before another node begins its
        own. Nothing rests on it: the fence and the age of an intent do not compare clocks.

        Args:
            now: Monotonic.
        """
        return not self.lost and now < self.renewed_at + _SUBMITTING * self.seconds

    async def take(self, connection: Any) -> tuple[str, float]:
        """
        Take all rows if no other lease on any of them lasts.

        Returns:
            ``("", 0.0)``; or the node in the way, and for how many seconds it still is.
        """
        await connection.execute("LOCK TABLE wan_gateway.leases IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(
            "INSERT INTO wan_gateway.leases (name) SELECT unnest($1::text[]) "
            "ON CONFLICT DO NOTHING",
            self.names,
        )
        # An engine that has just started must not give away what its owners could not renew;
        # a lease that was given back with a submit still out has its holder, and no end.
        row = await connection.fetchrow(
            "SELECT node, extract(epoch FROM ends - clock_timestamp())::float8 AS left FROM ("
            "SELECT node, greatest(until, pg_postmaster_start_time() + make_interval(secs => $2)) "
            "AS ends FROM wan_gateway.leases "
            "WHERE holder <> $3 AND holder <> '' AND until > '-infinity' "
            "AND (name = ANY ($1::text[]) OR name = '*' OR '*' = ANY ($1::text[]))"
            ") AS others WHERE ends > clock_timestamp() ORDER BY ends DESC LIMIT 1",
            self.names,
            self.seconds,
            self.holder,
        )
        if row is not None:
            return row["node"], row["left"]
        self.expired = await connection.fetchval(
            "SELECT EXISTS (SELECT 1 FROM wan_gateway.leases WHERE holder NOT IN ('', $2) "
            "AND (name = ANY ($1::text[]) OR name = '*' OR '*' = ANY ($1::text[])))",
            self.names,
            self.holder,
        )
        # A row of another name would let its holder write on: `*` and a name exclude each other.
        await connection.execute(
            "UPDATE wan_gateway.leases SET holder = '' WHERE holder <> $2 "
            "AND (name = '*' OR '*' = ANY ($1::text[]))",
            self.names,
            self.holder,
        )
        await connection.execute(
            "UPDATE wan_gateway.leases SET holder = $2, node = $3, "
            "until = clock_timestamp() + make_interval(secs => $4) WHERE name = ANY ($1::text[])",
            self.names,
            self.holder,
            self.node,
            self.seconds,
        )
        return "", 0.0


class LeaseRenewal:
    """
    Renews leases from a thread and over a connection of its own: the event loop may lag.

    Args:
        session: Used in the thread alone.
        seconds: How long a lease lasts; each is renewed four times in that.
        clock: Tells when a renewal was sent.
    """

    def __init__(self, session: Session, seconds: float, clock: Clock) -> None:
        self._session = session
        self._seconds = seconds
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._stopping = Event()
        self._thread: Thread | None = None

    def add(self, lease: Lease) -> None:
        """Renew *lease*, which is taken, from now on."""
        self._leases = {**self._leases, lease.holder: lease}
        if self._thread is None:
            self._thread = Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def remove(self, lease: Lease) -> None:
        """Renew *lease* no more; it then ends by itself, or is given back."""
        self._leases = {k: other for k, other in self._leases.items() if other is not lease}

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while not self._stopping.wait(self._seconds / 4):
                runner.run(self._renew(self._leases))
            runner.run(self._session.close())

    async def _renew(self, leases: dict[str, Lease]) -> None:
        sent = self._clock.now()
        try:
            rows = await self._session.run(
                lambda connection: connection.fetch(
                    "UPDATE wan_gateway.leases "
                    "SET until = clock_timestamp() + make_interval(secs => $2) "
                    "WHERE holder = ANY ($1::text[]) AND until > '-infinity' RETURNING holder",
                    list(leases),
                    self._seconds,
                )
            )
        except (*BROKEN, asyncpg.PostgresError):
            return  # the writer reports an engine that is away
        held = [row["holder"] for row in rows]
        for holder, lease in leases.items():
            if held.count(holder) == len(lease.names):
                lease.renewed_at = sent
            elif holder in self._leases:
                lease.lost = True
