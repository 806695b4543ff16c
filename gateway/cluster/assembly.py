"""All that a node of a cluster has beside a single gateway, made once and joined."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from starlette.middleware import Middleware

from gateway import __version__
from gateway.cluster.body_buffer import BodyBuffers
from gateway.cluster.front_door import FrontDoor
from gateway.cluster.node import Node
from gateway.cluster.node_request import NodeRequests
from gateway.cluster.owners import Owners
from gateway.cluster.peers import PeerClient
from gateway.cluster.shard_host import ShardHost, ShardLedger
from gateway.cluster.shards import Shard, shards_of
from gateway.config.schema import Config
from gateway.domain.tenant import Tenant, Upstream
from gateway.downstream.auth import Keyring
from gateway.downstream.body import BodyLimits
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.routes import EditEndpoints
from gateway.edits.ports import Notify, Ports
from gateway.edits.service import EditService
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_database import Database
from gateway.ledger.postgres_nodes import NodeTable
from gateway.observe.metrics import Metrics

_BUFFERED_SHARE = 4
"""Bodies that are kept for another owner may hold this part of the bytes in flight."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """This node's part in a cluster."""

    service: ShardHost
    door: FrontDoor
    node: Node
    routing: "LiveRouting"
    middleware: Middleware
    """Takes what other nodes say of a request; within the access log."""
    resources: Sequence[AbstractAsyncContextManager[object]]
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]]

    @property
    def replaced(self) -> bool:
        """Whether another process has this node's name, so that this one has to end."""
        return self.node.replaced

    def guard_of(
        self, config: Config, keyring: Keyring, limits: BodyLimits
    ) -> Callable[[EditEndpoints], EditEndpoints]:
        """Return what makes endpoints of *config* answer as they do at the owner of the tenant."""
        door = replace(
            self.door,
            shard_by_tenant=_shard_by_tenant(_shards_of(config)),
            keyring=keyring,
            limits=limits,
            max_wait_seconds=config.server.max_wait_seconds,
            heartbeat_seconds=config.server.heartbeat_seconds,
        )
        return door.guard_all

    def plan_reload(self, config: Config) -> Callable[[], None]:
        """
        Return what makes this node go by another config; that cannot fail (D116).

        Raises:
            AccountsChangedError: accounts would come, go, or be joined by a tenant: each node
                would own other shards than the nodes with the old config.
        """
        routing = LiveRouting.of(config)
        reload_edits = self.service.plan_reload(_shards_of(config), routing.of_shard)

        def reload() -> None:
            self.routing.tenants = routing.tenants
            self.routing.upstreams = routing.upstreams
            reload_edits()
            self.node.reconfigure(shared_config(config))

        return reload

    async def counts(self) -> Mapping[str, int]:
        """Return how many edits of the owned shards are in the ledger, by state."""
        return await self.service.counts()

    @property
    def busy(self) -> int:
        """How many clients wait here, and how many submits must not be cut."""
        return self.service.busy + self.door.busy

    def drain(self, seconds: float) -> bool:
        """Hand the shards over; return whether new edits have to be refused from now on."""
        return not self.node.drain(seconds)

    def turn_away(self) -> None:
        """Answer the clients that still wait for an answer of another node."""
        self.door.turn_away()


@dataclass(slots=True)
class LiveRouting:
    """The tenants and upstreams of the config in force."""

    tenants: Mapping[str, Tenant]
    upstreams: Mapping[str, Upstream]

    @classmethod
    def of(cls, config: Config) -> "LiveRouting":
        return cls(config.tenants, config.upstreams)

    def of_shard(self, shard: Shard) -> tuple[list[Tenant], list[Upstream]]:
        """Return those of one shard."""
        return (
            [self.tenants[name] for name in shard.tenants],
            [up for up in self.upstreams.values() if up.account.name in shard.accounts],
        )


def join_cluster(
    config: Config,
    database: Database,
    *,
    ports: Ports,
    make_service: Callable[..., EditService],
    home_of: Mapping[str, str],
    keyring: Keyring,
    limits: BodyLimits,
    budget: MemoryBudget,
    metrics: Metrics,
    notify: Notify,
    on_bug: Callable[[BaseException], None],
) -> Cluster:
    """
    Make this node's part of the cluster that ``[cluster]`` names.

    Args:
        config: Checked, with ``[cluster]``.
        database: The ledger's.
        ports: As for a single gateway; each shard has a ledger of its own.
        make_service: EditService, all but its tenants, upstreams and ports.
        home_of: For each tenant the account of its first upstream; it changes with a reload.
        keyring: Who calls.
        limits: Of bodies.
        budget: Of bytes.
        metrics: Counts.
        notify: Writes what becomes of shards and nodes into the log.
        on_bug: Told of what must not happen.
    """
    settings = config.cluster
    assert settings is not None
    clock = ports.clock
    shards = _shards_of(config)
    routing = LiveRouting.of(config)
    owners = Owners(shards, settings.node)

    def make_ledger(shard: Shard) -> ShardLedger:
        return PostgresLedger(database, shard.accounts, home_of=home_of)

    def serve_shard(shard: Shard, ledger: ShardLedger) -> EditService:
        tenants, upstreams = routing.of_shard(shard)
        return make_service(
            tenants=tenants,
            upstreams=upstreams,
            ports=replace(
                ports,
                ledger=ledger,
                submits_end_at=lambda: ledger.submits_end_at,
                may_submit=lambda: ledger.may_submit,
            ),
        )

    host = ShardHost(
        shards,
        owners,
        make_ledger=make_ledger,
        make_service=serve_shard,
        routing_of=routing.of_shard,
        clock=clock,
        observer=metrics,
        notify=notify,
        on_bug=on_bug,
    )
    peers = PeerClient()
    door = FrontDoor(
        node=settings.node,
        secret=settings.secret,
        owners=owners,
        shard_by_tenant=_shard_by_tenant(shards),
        keyring=keyring,
        limits=limits,
        budget=budget,
        buffers=BodyBuffers(None, config.server.max_bytes_in_flight // _BUFFERED_SHARE),
        peers=peers,
        max_wait_seconds=config.server.max_wait_seconds,
        heartbeat_seconds=config.server.heartbeat_seconds,
        clock=clock,
        observer=metrics,
    )
    shared = shared_config(config)
    rows = NodeTable(
        database.reader,
        node=settings.node,
        url=settings.url,
        version=__version__,
        config=shared,
        lease_seconds=settings.lease_seconds,
    )
    node = Node(
        name=settings.node,
        config=shared,
        rows=rows,
        owners=owners,
        host=host,
        clock=clock,
        observer=metrics,
        notify=notify,
    )
    return Cluster(
        service=host,
        door=door,
        node=node,
        routing=routing,
        middleware=Middleware(NodeRequests, secret=settings.secret),
        resources=[peers, node, host],
        background=[partial(node.run)],
    )


def _shards_of(config: Config) -> tuple[Shard, ...]:
    return shards_of(config.tenants.values(), config.upstreams.values())


def _shard_by_tenant(shards: Iterable[Shard]) -> Mapping[str, str]:
    return {name: shard.name for shard in shards for name in shard.tenants}


def shared_config(config: Config) -> str:
    """Return a short name of what must be equal on all nodes; where each listens is not."""
    results = config.results
    parts = (
        config.tenants,
        config.upstreams,
        config.regions,
        config.accounts,
        config.models,
        config.catalogs,
        sorted(config.tenant_by_key.items()),
        config.open_tenant,
        config.prices,
        results,
        # A URL that one node signs is checked by another.
        results and sha256(results.secret.encode()).hexdigest(),
    )
    return sha256(repr(_ordered(parts)).encode()).hexdigest()[:12]


def _ordered(value: object) -> object:
    """Return *value* with an order for its sets, since each process has another one."""
    match value:
        case Mapping():
            return [(key, _ordered(it)) for key, it in value.items()]
        case list() | tuple():
            return [_ordered(it) for it in value]
        case set() | frozenset():
            return sorted(repr(_ordered(it)) for it in value)
        case _ if is_dataclass(value):
            # What repr leaves out is a secret.
            return [(it.name, _ordered(getattr(value, it.name))) for it in fields(value) if it.repr]
    return repr(value)
