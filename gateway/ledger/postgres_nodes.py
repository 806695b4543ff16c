"""The nodes of a cluster as rows in PostgreSQL: each shows that it lives, and sees the others."""

import asyncio
from typing import Any
from uuid import uuid4

from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.nodes import ALIVE_SECONDS, ClusterView, LeaseView, NodeView
from gateway.ledger.postgres_connection import Reader

_LOOK_SECONDS = 3.0
_NAMED_SECONDS = 0.5

_SHOW = """
INSERT INTO wan_gateway.nodes (node, token, url, version, config, takes, seen)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
ON CONFLICT (node) DO UPDATE SET url = excluded.url, version = excluded.version,
    config = excluded.config, takes = excluded.takes, seen = excluded.seen
WHERE nodes.token = excluded.token
RETURNING node
"""
_LEASES = """
SELECT name, holder, leases.node, coalesce(url, '') AS url, holder <> '' AND until > '-infinity'
AND greatest(
    until, pg_postmaster_start_time() + make_interval(secs => $1)
) > clock_timestamp() AS lasts
FROM wan_gateway.leases LEFT JOIN wan_gateway.nodes ON nodes.node = leases.node
"""
_NODES = """
SELECT node, config, takes FROM wan_gateway.nodes
WHERE seen > clock_timestamp() - make_interval(secs => $1) ORDER BY node
"""


class NodeTable:
    """
    The row of this node, and a look at all rows.

    Args:
        reader: Its connection.
        node: This node's name.
        url: Where the others reach it.
        version: Of its program, for the operator.
        config: A short name of what its config says.
        lease_seconds: How long the leases last that an engine kept over its restart.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        node: str,
        url: str,
        version: str,
        config: str,
        lease_seconds: float,
    ) -> None:
        self._reader = reader
        self.config = config
        self._row = node, uuid4().hex, url, version
        self._lease_seconds = lease_seconds

    async def register(self) -> None:
        """
        Take the name of this node, once a process that had it before has surely ended.

        Raises:
            LedgerHeldError: another process has it and lives.
            LedgerUnavailable: the engine is away.
        """
        node = self._row[0]
        first = None
        while True:
            rows = await self._reader.fetch(
                "SELECT token, seen, seen > clock_timestamp() - make_interval(secs => $2) AS lately"
                " FROM wan_gateway.nodes WHERE node = $1",
                node,
                _LOOK_SECONDS,
            )
            if not rows or not rows[0]["lately"]:
                break
            seen = rows[0]["token"], rows[0]["seen"]
            if first is not None and seen != first:
                what = f"another process is the node {node}"
                remedy = "give each node a name of its own, or stop that process"
                raise LedgerHeldError("PostgreSQL", what, remedy, key="cluster.node")
            first = seen
            await asyncio.sleep(_NAMED_SECONDS)
        await self._reader.fetch("DELETE FROM wan_gateway.nodes WHERE node = $1", node)

    async def look(self, *, takes: bool) -> ClusterView | None:
        """
        Show that this node lives, and return what the others have written.

        ``None``: another process has taken this node's name.

        Args:
            takes: Whether this node takes shards.

        Raises:
            LedgerUnavailable: the engine is away.
        """

        async def work(connection: Any) -> tuple[list[Any], list[Any], list[Any]]:
            shown = await connection.fetch(_SHOW, *self._row, self.config, takes)
            leases = await connection.fetch(_LEASES, self._lease_seconds)
            return shown, leases, await connection.fetch(_NODES, ALIVE_SECONDS)

        shown, leases, nodes = await self._reader.run(work)
        if not shown:
            return None
        return ClusterView(
            leases={
                row["name"]: LeaseView(row["holder"], row["node"], row["url"], row["lasts"])
                for row in leases
            },
            nodes=tuple(NodeView(row["node"], row["config"], row["takes"]) for row in nodes),
        )

    async def leave(self) -> None:
        """Delete this node's row, so that a process of its name need not wait."""
        node, token, *_ = self._row
        await self._reader.fetch(
            "DELETE FROM wan_gateway.nodes WHERE node = $1 AND token = $2", node, token
        )
