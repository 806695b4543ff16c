"""The shards that this node owns: it carries their edits until it hands them over (D107)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, Self

from gateway.cluster.owners import Owners
from gateway.cluster.shards import Shard
from gateway.domain.clock import Clock, Phases
from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import GatewayError, LedgerUnavailable
from gateway.domain.record import EditState
from gateway.domain.snapshot import Snapshot
from gateway.domain.tenant import Tenant, Upstream
from gateway.edits.account import AccountsChangedError
from gateway.edits.ports import Ledger, Notify
from gateway.edits.request import EditRequest, EditStatus, ShardMoved
from gateway.edits.service import EditService
from gateway.edits.snapshot import take_snapshot
from gateway.edits.takeover import OrphanedEditsError
from gateway.edits.waiter import Waiter

_SETTLE_SECONDS = 1.5
_REFUSED_SECONDS = 60.0


class ShardLedger(Ledger, Protocol):
    """The ledger of one shard; gateway.ledger.postgres implements it. An async context manager."""

    submits_end_at: float

    @property
    def may_submit(self) -> bool:
        """Whether the lease lasts for a while yet, by this machine's clock."""
        ...

    async def take(self) -> str:
        """Take the lease; return why that is not possible, or nothing."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None:
        """Write what is owed, and give the lease back."""
        ...

    @property
    def lost(self) -> bool:
        """Whether another node has the lease."""
        ...

    async def counts(self) -> dict[str, int]: ...

    def mark_unsettled(self) -> None:
        """A submit is still out: giving the lease back proves nothing of it."""
        ...


RoutingOf = Callable[[Shard], tuple[Iterable[Tenant], Iterable[Upstream]]]


class HostObserver(Protocol):
    """Counts; gateway.observe.metrics implements it."""

    def shard_held(self, shard: str, *, held: bool) -> None: ...
    def shard_taken(self, why: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Hosted:
    """One shard that is owned here, or is being taken."""

    shard: Shard
    ledger: ShardLedger
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is to be handed over, or was lost."""
    service: EditService | None = None
    """While it takes edits."""


class ShardHost:
    """
    Carries the edits of the shards that this node owns; what it does not own is ShardMoved.

    Implements gateway.downstream.ports.EditAccess. Use as an async context manager.

    Args:
        shards: All of them.
        owners: Hears which shards are owned here.
        make_ledger: Makes the ledger of a shard, for one time of owning it.
        make_service: Makes the service that carries its edits with that ledger.
        routing_of: Returns the tenants and upstreams of a shard, by the config in force.
        clock: Time.
        observer: Counts.
        notify: Notifies the operator.
        on_bug: Told of what must not happen.
    """

    def __init__(
        self,
        shards: Iterable[Shard],
        owners: Owners,
        *,
        make_ledger: Callable[[Shard], ShardLedger],
        make_service: Callable[[Shard, ShardLedger], EditService],
        routing_of: RoutingOf,
        clock: Clock,
        observer: HostObserver,
        notify: Notify,
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self.shards = tuple(shards)
        self._shard_by_tenant = {name: one.name for one in self.shards for name in one.tenants}
        self._owners = owners
        self._make_ledger = make_ledger
        self._make_service = make_service
        self._routing_of = routing_of
        self._clock = clock
        self._observer = observer
        self._notify = notify
        self._on_bug = on_bug
        self._hosted: dict[str, _Hosted] = {}
        self._refused: dict[str, float] = {}
        self._one_shot_seconds = 0.0
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for shard in self.shards:
            self._observer.shard_held(shard.name, held=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Hand every shard over."""
        self.hand_over()
        await self._group.__aexit__(None, None, None)

    def plan_reload(self, shards: Iterable[Shard], routing_of: RoutingOf) -> Callable[[], None]:
        """
        Return what makes every service here go by other tenants and upstreams.

        Raises:
            AccountsChangedError: the shards would have other accounts.
        """
        shards = tuple(shards)
        _refuse_other_accounts(self.shards, shards)
        by_name = {shard.name: shard for shard in shards}
        plans = [
            hosted.service.plan_reload(*routing_of(by_name[name]))
            for name, hosted in self._hosted.items()
            if hosted.service is not None
        ]

        def reload() -> None:
            self.shards = shards
            self._shard_by_tenant = {name: one.name for one in shards for name in one.tenants}
            for name, hosted in self._hosted.items():
                hosted.shard = by_name[name]
            for plan in plans:
                plan()

        return reload

    # ------------------------------------------------------------ owning shards

    def may_take(self, shard: Shard) -> bool:
        """Say whether *shard* is not hosted, and was not refused in the last minute."""
        refused_at = self._refused.get(shard.name, float("-inf"))
        lately = self._clock.now() < refused_at + _REFUSED_SECONDS
        return shard.name not in self._hosted and not lately

    def take(self, shard: Shard) -> None:
        """Begin to take *shard*, and to carry its edits if that succeeds."""
        hosted = self._hosted[shard.name] = _Hosted(shard, self._make_ledger(shard))
        self._group.create_task(self._host(hosted))

    def drop_lost(self) -> None:
        """End the work on shards that other nodes have taken."""
        for hosted in self._hosted.values():
            if hosted.ledger.lost:
                hosted.ends.set()

    def hand_over(self, one_shot_seconds: float = 0.0) -> None:
        """
        Give every shard to other nodes.

        Args:
            one_shot_seconds: How long a submit may last whose answer cannot be fetched again.
        """
        self._one_shot_seconds = one_shot_seconds
        for hosted in self._hosted.values():
            hosted.ends.set()

    async def _host(self, hosted: _Hosted) -> None:
        name = hosted.shard.name
        try:
            if not await hosted.ledger.take():
                async with hosted.ledger:
                    await self._carry(hosted)
        except LedgerUnavailable:
            pass  # the ledger itself tells the operator; the shard is taken again
        except OrphanedEditsError as error:
            self._refused[name] = self._clock.now()
            self._notify("shard_refused", shard=name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the other shards go on
            self._on_bug(error)
        finally:
            del self._hosted[name]

    async def _carry(self, hosted: _Hosted) -> None:
        """Carry the edits of a shard whose lease is taken, until it ends."""
        name = hosted.shard.name
        ledger = hosted.ledger
        service = self._make_service(hosted.shard, ledger)
        async with service:
            why = "expired" if ledger.submits_end_at else "given"
            self._observer.shard_taken(why)
            self._notify("shard_taken", shard=name, why=why)
            self._observer.shard_held(name, held=True)
            service.plan_reload(*self._routing_of(hosted.shard))()  # it may have changed meanwhile
            hosted.service = service
            self._owners.opened(name)
            try:
                await hosted.ends.wait()
                if not ledger.lost and not await service.settle(
                    _SETTLE_SECONDS, self._one_shot_seconds
                ):
                    ledger.mark_unsettled()
            finally:
                hosted.service = None
                service.move()
                self._owners.closed(name)
                self._observer.shard_held(name, held=False)
        self._notify("shard_left", shard=name, why="lost" if ledger.lost else "given")

    # ------------------------------------------------------------ as EditService

    @asynccontextmanager
    async def attend(self, request: EditRequest) -> AsyncIterator[Waiter]:
        """
        Join or begin an edit, as EditService does.

        Raises:
            GatewayError: refused before anything was submitted.
            ShardMoved: another node owns the tenant's edits.
        """
        hosted = self._of(request.tenant)
        async with _moved_if_left(hosted), _service(hosted).attend(request) as waiter:
            yield waiter

    @asynccontextmanager
    async def collect(
        self,
        tenant: Tenant,
        edit_id: str,
        *,
        patience: float,
        phases: Phases,
        response_format: ResponseFormat | None = None,
    ) -> AsyncIterator[Waiter]:
        """
        Look at a known edit, as EditService does.

        Raises:
            NotFound: this tenant has no such edit (any more).
            ShardMoved: another node owns the tenant's edits.
        """
        hosted = self._of(tenant)
        found = _service(hosted).collect(
            tenant,
            edit_id,
            patience=patience,
            phases=phases,
            response_format=response_format,
        )
        async with _moved_if_left(hosted), found as waiter:
            yield waiter

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        """
        Cancel what can be cancelled at no cost.

        Raises:
            NotFound: this tenant has no such edit (any more).
            ShardMoved: another node owns the tenant's edits.
        """
        hosted = self._of(tenant)
        async with _moved_if_left(hosted):
            return await _service(hosted).withdraw(tenant, edit_id)

    @property
    def busy(self) -> int:
        """How many clients are connected to edits, and how many submits must not be cut."""
        return sum(service.busy for service in self._services)

    @property
    def recoverable(self) -> int:
        """How many tasks made pictures that nobody has got yet, nor waits for."""
        return sum(service.recoverable for service in self._services)

    @property
    def oldest_recoverable(self) -> float:
        """How many seconds ago the oldest of their edits was asked for; 0 if there is none."""
        return max((service.oldest_recoverable for service in self._services), default=0.0)

    def oldest_waits(self) -> Mapping[str, float]:
        """Return for each region the seconds that its oldest queued edit has waited here."""
        oldest = {shard.region: 0.0 for shard in self.shards}
        for service in self._services:
            for region, seconds in service.oldest_waits().items():
                oldest[region] = max(oldest[region], seconds)
        return oldest

    async def counts(self) -> Mapping[str, int]:
        """Return how many edits of the owned shards are in the ledger, by state."""
        total = {state.value: 0 for state in EditState if state is not EditState.DROPPED}
        for hosted in [one for one in self._hosted.values() if one.service is not None]:
            for state, number in (await hosted.ledger.counts()).items():
                total[state] += number
        return total

    def snapshot(self) -> Snapshot:
        """Return what goes on in the owned shards."""
        services = self._services
        return take_snapshot(
            chain.from_iterable(service.tenants for service in services),
            chain.from_iterable(service.accounts for service in services),
            chain.from_iterable(services),
            self._clock,
        )

    @property
    def draining(self) -> bool:
        """Whether a service of it refuses new edits."""
        return any(service.draining for service in self._services)

    def drain(self, seconds: float) -> None:
        """Refuse new edits from now on; the running ones go on, for so long."""
        for service in self._services:
            service.drain(seconds)

    def turn_away(self) -> None:
        """End the wait of every client that is connected to an edit of this node."""
        for service in self._services:
            service.turn_away()

    @property
    def _services(self) -> list[EditService]:
        return [one.service for one in self._hosted.values() if one.service is not None]

    def _of(self, tenant: Tenant) -> _Hosted:
        hosted = self._hosted.get(self._shard_by_tenant[tenant.name])
        if hosted is None:
            raise ShardMoved
        return hosted


def _refuse_other_accounts(old: Iterable[Shard], new: Iterable[Shard]) -> None:
    accounts = {shard.accounts for shard in new} ^ {shard.accounts for shard in old}
    if accounts:
        names = ", ".join(sorted(set().union(*accounts)))
        raise AccountsChangedError(
            f"upstreams: in a cluster no account comes or goes, and no tenant joins two of them, "
            f"while the nodes run ({names}); restart the nodes one after another, or put it back"
        )


def _service(hosted: _Hosted) -> EditService:
    if hosted.service is None:
        raise ShardMoved
    return hosted.service


@asynccontextmanager
async def _moved_if_left(hosted: _Hosted) -> AsyncIterator[None]:
    """Send the client on where an error may only say that the shard has left."""
    try:
        yield
    except GatewayError as error:
        if hosted.service is None and error.retry:
            raise ShardMoved from None
        raise
