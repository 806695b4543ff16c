"""The queue for an account's slots, by model, fair among its tenants (P8, D18, D113)."""

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import attrgetter

from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Tenant
from gateway.edits.prompts import Prompts

_Heap = list[tuple[tuple[float, int], int, "Ticket"]]
"""By place; the number only keeps tickets from being compared."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What may be granted of one model at once."""

    slots: float
    """``math.inf``: any number."""
    submits: float = math.inf
    """
    Slots whose submit still waits for the rate limit.

    Further tickets wait in the queue, where tenants take turns; the rate limit knows none.
    """


@dataclass(slots=True, eq=False)
class Ticket:
    """One part's place in the queue, which it keeps while its client is gone for a moment."""

    queue: "FairQueue"
    tenant: Tenant
    model: str
    cost: int
    place: tuple[float, int]
    """When its edit arrived, and the number of the ticket."""
    prompt: str | None = None
    """The digest of its prompt; no two submits of one prompt may be open at once (P5)."""
    holds_prompt: bool = False
    holds_submit: bool = False
    """It has a slot, and its submit still waits for the rate limit."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    """No client is connected: others go first, but it keeps its place in the order."""
    queued: bool = False
    in_heap: bool = False
    """It has an entry in a heap of its tenant; it never has two."""


@dataclass(slots=True, eq=False)
class _ModelSlots:
    """The slots of one model, and which tenant gets the next."""

    capacity: Capacity
    running: int = 0
    submits: int = 0
    waiting: int = 0
    clock: float = 0.0
    """Virtual time: where the tenant was that got the last slot."""
    queues: list["_TenantQueue"] = field(default_factory=list)
    next: list[tuple[float, int, int, "_TenantQueue"]] = field(default_factory=list)
    """A heap by clock of the queues that can use a slot; of equals, the one running less."""

    @property
    def free(self) -> float:
        capacity = self.capacity
        return max(0, min(capacity.slots - self.running, capacity.submits - self.submits))


@dataclass(slots=True, eq=False)
class _TenantUsage:
    """What one tenant has of the account, over all models."""

    tenant: Tenant
    running: int = 0
    queues: dict[str, "_TenantQueue"] = field(default_factory=dict)
    """By model."""

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self.queues.values())

    @property
    def models_compete(self) -> bool:
        """Whether a ticket of one model may keep one of another from its slot."""
        return len(self.queues) > 1 and self.tenant.max_running > 0


@dataclass(slots=True, eq=False)
class _TenantQueue:
    """The tickets of one tenant for one model, in order of arrival."""

    usage: _TenantUsage
    model: _ModelSlots
    clock: float = 0.0
    """Virtual time: the cost of the slots that this tenant has had of the model, by its weight."""
    waiting: int = 0
    cost: int = 0
    """Of all waiting tickets."""
    is_candidate: bool = False
    """Whether it is in the heap of those that may be next; its clock does not change there."""
    tickets: _Heap = field(default_factory=list)
    blocked: dict[str, _Heap] = field(default_factory=dict)
    """By prompt: tickets that were first while their prompt had an open submit."""

    @property
    def step(self) -> float:
        """How far one slot moves the clock, on average."""
        cost = self.cost / self.waiting if self.waiting else 1.0
        return cost / self.usage.tenant.weight

    def add(self, ticket: Ticket) -> None:
        ticket.queued = True
        self.waiting += 1
        self.model.waiting += 1
        self.cost += ticket.cost

    def remove(self, ticket: Ticket) -> None:
        ticket.queued = False
        self.waiting -= 1
        self.model.waiting -= 1
        self.cost -= ticket.cost

    def before(self, ticket: Ticket) -> int:
        """Return how many waiting tickets came before *ticket*."""
        heaps = (self.tickets, *self.blocked.values())
        return sum(
            other.queued and place < ticket.place for heap in heaps for place, _, other in heap
        )

    def slots_before(self, clock: float) -> int:
        """Return how many waiting tickets get their slot before *clock*."""
        return min(self.waiting, max(0, math.ceil((clock - self.clock) / self.step)))


class FairQueue:
    """
    Grants slots by start-time fair queueing over tenants, each model on its own.

    The tenant that has had least of a model, by cost and weight, goes next: a tenant with a
    hundred waiting edits delays another's by one slot, and a model that is crowded or throttled
    delays no other. Each event costs O(log waiting), for a tenant with ``max_running`` also
    O(models).

    Others pass a ticket whose prompt has an open submit, which takes no slot meanwhile. With
    its slot a ticket holds its prompt, until ``release_prompt`` or the slot's end.

    Args:
        capacity: Of each model that *by_model* does not name; a number means that many slots.
        by_model: The others.
    """

    def __init__(
        self, capacity: Capacity | int, by_model: Mapping[str, Capacity] | None = None
    ) -> None:
        self._capacity = Capacity(capacity) if isinstance(capacity, int) else capacity
        self._by_model = by_model or {}
        self._models: dict[str, _ModelSlots] = {}
        self._tenants: dict[str, _TenantUsage] = {}
        self._settings: Mapping[str, Tenant] = {}
        """By name, of the tenants of the last reload."""
        self._number = 0
        self._entries = 0
        self.prompts = Prompts(self._prompt_released)

    def reconfigure(
        self,
        capacity: Capacity,
        by_model: Mapping[str, Capacity],
        tenants: Mapping[str, Tenant],
    ) -> None:
        """Go by other limits, and by the settings of *tenants*; what has a slot keeps it."""
        self._capacity = capacity
        self._by_model = by_model
        self._settings = tenants
        for name, model in self._models.items():
            model.capacity = by_model.get(name, capacity)
        for usage in self._tenants.values():
            usage.tenant = tenants.get(usage.tenant.name, usage.tenant)
            self._reconsider(usage)

    @asynccontextmanager
    async def slot(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for this ticket's slot, and hold it for the length of the block."""
        queue = self._queue(ticket.tenant, ticket.model)
        self._join(queue, ticket)
        try:
            self._grant(queue.model)
            await ticket.granted.wait()
        except BaseException:
            self._leave(queue, ticket)
            raise
        try:
            yield
        finally:
            self._return(queue, ticket)

    def release_submit(self, ticket: Ticket) -> None:
        """Let another ticket of the model wait for the rate limit: this one's submit leaves."""
        if ticket.holds_submit:
            ticket.holds_submit = False
            model = self._queue(ticket.tenant, ticket.model).model
            model.submits -= 1
            self._grant(model)

    def release_prompt(self, ticket: Ticket) -> None:
        """Let other tickets of its prompt go on: the outcome of its submit is known."""
        if ticket.holds_prompt:
            assert ticket.prompt is not None
            ticket.holds_prompt = False
            self.prompts.release(ticket.prompt)

    def issue_ticket(
        self,
        tenant: Tenant,
        cost: int,
        prompt: str | None = None,
        *,
        model: str = "",
        arrived: float = 0.0,
    ) -> Ticket:
        """
        Return a ticket behind all others of its tenant that arrived no later.

        Args:
            tenant: Whose edit it is.
            cost: How much of the tenant's share its slot takes.
            prompt: As in Ticket.
            model: Whose slot it waits for.
            arrived: When the edit did (monotonic); only an edit that has waited at another node,
                or was promised by an earlier process, arrived before those that wait here.

        Raises:
            RateLimited: ``max_waiting`` edits of the tenant are waiting already.
        """
        if self._usage(tenant).waiting >= tenant.max_waiting:
            raise RateLimited(f"Too many edits are waiting: {tenant.max_waiting}. Try again later.")
        self._number += 1
        place = (arrived, self._number)
        return Ticket(self, tenant, model, cost, place, prompt)

    def take_slot(self, tenant: Tenant, model: str = "") -> None:
        """Count a task that runs already, after a restart; may exceed the slots."""
        queue = self._queue(tenant, model)
        queue.usage.running += 1
        queue.model.running += 1

    def return_slot(self, tenant: Tenant, model: str = "") -> None:
        """Return a slot that ``take_slot`` took."""
        self._release(self._queue(tenant, model))

    def pause(self, ticket: Ticket) -> None:
        """Let others go first: no client of this ticket is connected."""
        ticket.paused = True
        usage = self._usage(ticket.tenant)
        if ticket.queued and usage.models_compete:
            self._reconsider(usage)

    def reactivate(self, ticket: Ticket) -> None:
        """Put a paused ticket back into its place: its client has returned."""
        ticket.paused = False
        if ticket.queued:
            queue = self._queue(ticket.tenant, ticket.model)
            self._push(queue, ticket)
            self._grant(queue.model)

    @property
    def waiting(self) -> int:
        """Tickets that wait, of all models."""
        return sum(model.waiting for model in self._models.values())

    @property
    def running(self) -> Mapping[str, int]:
        """Slots in use by model, of each model that has any."""
        return {name: model.running for name, model in self._models.items() if model.running}

    def waiting_for(self, model: str) -> int:
        return self._model(model).waiting

    def free(self, model: str = "") -> float:
        """Return how many tickets of *model* would get a slot at once; may be infinite."""
        return self._model(model).free

    def slots_until(
        self, tenant: Tenant, ticket: Ticket | None = None, *, model: str = ""
    ) -> tuple[int, int]:
        """
        Return how many slots must become free before *ticket*, or a new one, gets its slot.

        The first number counts the tenant's own slots of all models, by ``max_running``; the
        second counts all of this model. Tickets still to come are not counted, though a tenant
        that has had less than this one will go before it.
        """
        queue = self._queue(tenant, model if ticket is None else ticket.model)
        usage = queue.usage
        if ticket is None:
            before, own = usage.waiting, queue.waiting
        else:
            before = sum(one.before(ticket) for one in usage.queues.values())
            own = queue.before(ticket)
        since = queue.clock if queue.waiting else max(queue.clock, queue.model.clock)
        clock = since + own * queue.step
        others = (other for other in queue.model.queues if other is not queue and other.waiting)
        slots = own + 1 + sum(other.slots_before(clock) for other in others)
        most = tenant.max_running
        return (
            max(0, before + 1 + usage.running - most) if most else 0,
            int(max(0, slots - queue.model.free)),
        )

    def _model(self, name: str) -> _ModelSlots:
        model = self._models.get(name)
        if model is None:
            capacity = self._by_model.get(name, self._capacity)
            model = self._models[name] = _ModelSlots(capacity)
        return model

    def _usage(self, tenant: Tenant) -> _TenantUsage:
        usage = self._tenants.get(tenant.name)
        if usage is None:
            settings = self._settings.get(tenant.name, tenant)
            usage = self._tenants[tenant.name] = _TenantUsage(settings)
        return usage

    def _queue(self, tenant: Tenant, model: str) -> _TenantQueue:
        usage = self._usage(tenant)
        queue = usage.queues.get(model)
        if queue is None:
            slots = self._model(model)
            queue = usage.queues[model] = _TenantQueue(usage, slots)
            slots.queues.append(queue)
        return queue

    def _join(self, queue: _TenantQueue, ticket: Ticket) -> None:
        if not queue.waiting:
            # A tenant that did not wait has earned nothing meanwhile.
            queue.clock = max(queue.clock, queue.model.clock)
        ticket.granted.clear()
        queue.add(ticket)
        self._push(queue, ticket)

    def _push(self, queue: _TenantQueue, ticket: Ticket) -> None:
        """Put *ticket* into its heap, unless its entry from before a pause is still there."""
        if not ticket.in_heap:
            self._entries += 1
            ticket.in_heap = True
            heapq.heappush(queue.tickets, (ticket.place, self._entries, ticket))
        self._offer(queue)

    def _leave(self, queue: _TenantQueue, ticket: Ticket) -> None:
        if ticket.queued:
            queue.remove(ticket)
            if queue.usage.models_compete:
                self._reconsider(queue.usage)
        else:  # granted in the same moment
            self._return(queue, ticket)

    def _return(self, queue: _TenantQueue, ticket: Ticket) -> None:
        """Give back the slot of *ticket*, and what it still holds with it."""
        self.release_prompt(ticket)
        if ticket.holds_submit:
            ticket.holds_submit = False
            queue.model.submits -= 1
        self._release(queue)

    def _release(self, queue: _TenantQueue) -> None:
        usage = queue.usage
        usage.running -= 1
        queue.model.running -= 1
        self._offer(queue)
        if usage.models_compete:
            self._reconsider(usage)
        self._grant(queue.model)

    def _reconsider(self, usage: _TenantUsage) -> None:
        """Offer all queues of a tenant whose own limit may have kept them, the oldest first."""
        heads = (self._head(queue) for queue in usage.queues.values())
        for head in sorted(filter(None, heads), key=attrgetter("place")):
            queue = usage.queues[head.model]
            self._offer(queue)
            self._grant(queue.model)

    def _offer(self, queue: _TenantQueue) -> None:
        """Make *queue* a candidate for the next slot of its model, if it can use one."""
        if not queue.is_candidate and self._may_be_next(queue):
            queue.is_candidate = True
            self._entries += 1
            entry = (queue.clock, queue.usage.running, self._entries, queue)
            heapq.heappush(queue.model.next, entry)

    def _grant(self, model: _ModelSlots) -> None:
        capacity = model.capacity
        while model.next and model.running < capacity.slots and model.submits < capacity.submits:
            queue = heapq.heappop(model.next)[3]
            queue.is_candidate = False
            if self._may_be_next(queue):
                self._assign(queue)
            self._offer(queue)

    def _assign(self, queue: _TenantQueue) -> None:
        ticket = heapq.heappop(queue.tickets)[2]
        model = queue.model
        ticket.in_heap = False
        queue.remove(ticket)
        queue.usage.running += 1
        model.running += 1
        model.submits += 1
        ticket.holds_submit = True
        model.clock = queue.clock
        queue.clock += ticket.cost / ticket.tenant.weight
        if ticket.prompt is not None:
            self.prompts.take(ticket.prompt)
            ticket.holds_prompt = True
        ticket.granted.set()

    def _may_be_next(self, queue: _TenantQueue) -> bool:
        """
        Return whether the first ticket of *queue* may get a slot, by its tenant's limit too.

        Of the slots that ``max_running`` leaves, each older ticket that is the first for another
        model keeps one: else a crowd for one model would take them all, one after another.
        """
        head = self._head(queue)
        usage = queue.usage
        most = usage.tenant.max_running
        if head is None or not most:
            return head is not None
        older = 0
        if usage.models_compete:
            heads = (self._head(other) for other in usage.queues.values() if other is not queue)
            older = sum(1 for other in heads if other is not None and other.place < head.place)
        return usage.running + older < most

    def _head(self, queue: _TenantQueue) -> Ticket | None:
        """Return the first ticket that may get a slot; block or drop those before it."""
        while queue.tickets:
            ticket = queue.tickets[0][2]
            ready = ticket.queued and not ticket.paused
            if ready and not self.prompts.held(ticket.prompt):
                return ticket
            entry = heapq.heappop(queue.tickets)
            if ready and ticket.prompt is not None:
                heapq.heappush(queue.blocked.setdefault(ticket.prompt, []), entry)
                continue
            ticket.in_heap = False
            if ticket.prompt is not None and not self.prompts.held(ticket.prompt):
                self._unblock(queue, ticket.prompt)
        return None

    def _prompt_released(self, prompt: str) -> None:
        """Unblock the first ticket of this prompt in each queue."""
        for model in self._models.values():
            freed = [queue for queue in model.queues if prompt in queue.blocked]
            for queue in freed:
                if self._head(queue) is None:
                    # While all of its tickets were blocked it has earned nothing.
                    queue.clock = max(queue.clock, model.clock)
                self._unblock(queue, prompt)
                self._offer(queue)
            if freed:
                self._grant(model)

    def _unblock(self, queue: _TenantQueue, prompt: str) -> None:
        """Put the first ticket of *queue* that is blocked by *prompt* back in order."""
        blocked = queue.blocked.get(prompt)
        if blocked is None:
            return
        heapq.heappush(queue.tickets, heapq.heappop(blocked))
        if not blocked:
            del queue.blocked[prompt]
