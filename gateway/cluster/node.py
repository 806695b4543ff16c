"""This node among the others: looks at the leases, takes free shards, and hands its own over."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, Self

from gateway.cluster.owners import Owners, shards_to_take
from gateway.cluster.shard_host import ShardHost
from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerUnavailable
from gateway.edits.ports import Notify
from gateway.ledger.nodes import ClusterView

_LOOK_SECONDS = 1.0
_LONGEST_LOOK = 3.0
_OVERDUE_SECONDS = 3.0
"""So long a free shard is left to the node that has fewest."""


class NodeRows(Protocol):
    """The nodes' rows in the database; gateway.ledger.postgres_nodes implements it."""

    config: str
    """A short name of what this node's config says."""

    async def look(self, *, takes: bool) -> ClusterView | None:
        """
        Show that this node lives, and return what the others have written.

        ``None``: another process has taken this node's name.

        Raises:
            LedgerUnavailable: the database is away.
        """
        ...

    async def register(self) -> None:
        """
        Take the name of this node.

        Raises:
            LedgerError: another process has it and lives.
        """
        ...

    async def leave(self) -> None: ...


class NodeObserver(Protocol):
    """Counts; gateway.observe.metrics implements it. Nothing here may raise."""

    def peers_up(self, number: int) -> None: ...
    def config_differs(self, *, differs: bool) -> None: ...


class Node:
    """
    One node of the cluster. Use as an async context manager, around ``run``.

    Args:
        name: Its name.
        config: A short name of what its config says.
        rows: Shows that it lives, and sees the others.
        owners: Hears who owns what.
        host: Carries the shards that this node owns.
        clock: Time.
        observer: Counts.
        notify: Notifies the operator.
    """

    def __init__(
        self,
        *,
        name: str,
        config: str,
        rows: NodeRows,
        owners: Owners,
        host: ShardHost,
        clock: Clock,
        observer: NodeObserver,
        notify: Notify,
    ) -> None:
        self.name = name
        self._config = config
        self._rows = rows
        self._owners = owners
        self._host = host
        self._clock = clock
        self._observer = observer
        self._notify = notify
        self.replaced = False
        """Whether another process has this node's name, so that this one has to end."""
        self._takes = True
        self._free_since: Mapping[str, float] = {}
        self._peers: tuple[str, ...] = ()
        self._differing: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        """
        Register this node.

        Raises:
            LedgerError: another process has its name.
        """
        await self._rows.register()
        return self

    async def __aexit__(self, *exc: object) -> None:
        with suppress(LedgerUnavailable, TimeoutError):
            async with asyncio.timeout(_LONGEST_LOOK):
                await self._rows.leave()

    async def run(self) -> None:
        """Look at the database once a second, until another process has this node's name."""
        while True:
            self._host.drop_lost()
            with suppress(LedgerUnavailable, TimeoutError):  # the ledger tells the operator
                async with asyncio.timeout(_LONGEST_LOOK):
                    view = await self._rows.look(takes=self._takes)
                if view is None:
                    self.replaced = True
                    self._notify("node_replaced", node=self.name)
                    return
                self._update(view)
            await self._clock.sleep(_LOOK_SECONDS)

    def reconfigure(self, config: str) -> None:
        """Show the others that this node has another config from now on."""
        self._config = config
        self._rows.config = config

    def drain(self, seconds: float) -> bool:
        """
        Hand all shards over, and be a front door from now on; return whether that is possible.

        Without another node there is nobody to hand them to: then the running edits go on for
        *seconds*, as without a cluster.
        """
        self._takes = False
        if self._peers:
            self._host.hand_over(seconds)
        else:
            self._host.drain(seconds)
        return bool(self._peers)

    def _update(self, view: ClusterView) -> None:
        self._owners.update(view)
        self._compare(view)
        if self._takes:
            self._take_free(view)

    def _compare(self, view: ClusterView) -> None:
        others = [one for one in view.nodes if one.node != self.name]
        self._peers = tuple(one.node for one in others if one.takes)
        self._observer.peers_up(len(others))
        differing = tuple(one.node for one in others if one.config != self._config)
        self._observer.config_differs(differs=bool(differing))
        if differing and differing != self._differing:
            self._notify("config_differs", nodes=", ".join(differing))
        self._differing = differing

    def _take_free(self, view: ClusterView) -> None:
        now = self._clock.now()
        free = shards_to_take(
            self._host.shards,
            view,
            self.name,
            overdue=[
                name for name, since in self._free_since.items() if now - since > _OVERDUE_SECONDS
            ],
        )
        self._free_since = self._still_free(view, now)
        for shard in free:
            if self._host.may_take(shard):
                self._host.take(shard)

    def _still_free(self, view: ClusterView, now: float) -> Mapping[str, float]:
        leases = view.leases
        free = [
            shard.name
            for shard in self._host.shards
            if not any(name in leases and leases[name].lasts for name in shard.accounts)
        ]
        return {name: self._free_since.get(name, now) for name in free}
