"""Which node owns which shard, as the leases in the database say (D106)."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.cluster.shards import Shard
from gateway.ledger.nodes import ClusterView


@dataclass(frozen=True, slots=True)
class Here:
    """This node owns the shard."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node owns the shard."""

    node: str
    url: str
    """``http://HOST:PORT``, as ``[cluster] url`` of that node says."""
    token: str = ""
    """Of its lease: a node that lost a shard and took it again is another owner."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """No node owns the shard at the moment."""


Owner = Here | Peer | Nobody


class Owners:
    """
    Who owns which shard; as fresh as the last look at the leases.

    Args:
        shards: All of them.
        node: The name of this node, whose own shards are told by ``opened`` and ``closed``.
    """

    def __init__(self, shards: Iterable[Shard], node: str) -> None:
        self._shards = {shard.name: shard for shard in shards}
        self._node = node
        self._here: set[str] = set()
        self._elsewhere: Mapping[str, Peer] = {}
        self._changed = asyncio.Event()

    def owner_of(self, shard: str) -> Owner:
        """Return the owner; costs a look-up in memory."""
        return Here() if shard in self._here else self._elsewhere.get(shard, Nobody())

    async def changed(self, shard: str, since: Owner) -> Owner:
        """Wait until the owner is another one than *since*, and return it."""
        while (owner := self.owner_of(shard)) == since:
            await self._changed.wait()
        return owner

    def opened(self, shard: str) -> None:
        """This node carries the edits of *shard* from now on."""
        self._here.add(shard)
        self._wake()

    def closed(self, shard: str) -> None:
        """It does not any more."""
        self._here.discard(shard)
        self._wake()

    def update(self, view: ClusterView) -> None:
        """Take over what the leases say of the other nodes."""
        found = {name: _peer(shard, view, self._node) for name, shard in self._shards.items()}
        elsewhere = {name: peer for name, peer in found.items() if peer is not None}
        if elsewhere != self._elsewhere:
            self._elsewhere = elsewhere
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _peer(shard: Shard, view: ClusterView, node: str) -> Peer | None:
    """Return the other node that holds every lease of *shard*, if there is one."""
    held = [view.leases.get(name) for name in shard.accounts]
    leases = [lease for lease in held if lease is not None and lease.lasts]
    owners = {(lease.node, lease.url) for lease in leases}
    if len(leases) < len(held) or len(owners) != 1:
        return None
    ((name, url),) = owners
    if name == node or not url:
        return None
    return Peer(name, url, token=" ".join(lease.holder for lease in leases))


def shards_to_take(
    shards: Iterable[Shard], view: ClusterView, node: str, *, overdue: Iterable[str] = ()
) -> list[Shard]:
    """
    Return the free shards that *node* takes now.

    Each goes to the node that has fewest, and of equals to the first by name. All nodes decide
    by the same view, so that mostly one of them tries; the lease decides where two do.

    Args:
        shards: All of them.
        view: The leases, and the nodes that live.
        node: This one.
        overdue: Names of shards that were free for a while although another node should have
            taken them: this one does.
    """
    shards = list(shards)
    load = dict.fromkeys((one.node for one in view.nodes if one.takes), 0)
    free = []
    for shard in shards:
        holders = {
            lease.node
            for name in shard.accounts
            if (lease := view.leases.get(name)) is not None and lease.lasts
        }
        if not holders:
            free.append(shard)
        for holder in holders & load.keys():
            load[holder] += 1
    taken = []
    for shard in free:
        taker = min(load, key=lambda name: (load[name], name), default=node)
        load[taker] = load.get(taker, 0) + 1
        if taker == node or shard.name in overdue:
            taken.append(shard)
    return taken
