"""The queue for an account's slots, fair among its tenants (P8, D18)."""

import asyncio
import heapq
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.domain.errors import RateLimited
from gateway.domain.tenant import Tenant
from gateway.edits.prompts import Prompts

_Heap = list[tuple[int, int, "Ticket"]]
"""By ticket number; the second number only keeps tickets from being compared."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One part's place in the queue, which it keeps while its client is gone for a moment."""

    queue: "FairQueue"
    tenant: Tenant
    cost: int
    number: int
    prompt: str | None = None
    """The digest of its prompt; no two submits of one prompt may be open at once (P5)."""
    holds_prompt: bool = False
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    """No client is connected: others go first, but it keeps its place in the order."""
    queued: bool = False
    in_heap: bool = False
    """It has an entry in a heap of its tenant; it never has two."""


@dataclass(slots=True, eq=False)
class _TenantQueue:
    """The tickets of one tenant, in order of arrival."""

    tenant: Tenant
    clock: float = 0.0
    """Virtual time: the cost of the slots that this tenant has had, by its weight."""
    running: int = 0
    waiting: int = 0
    cost: int = 0
    """Of all waiting tickets."""
    is_candidate: bool = False
    """Whether it is in the heap of those that may be next; its clock does not change there."""
    tickets: _Heap = field(default_factory=list)
    blocked: dict[str, _Heap] = field(default_factory=dict)
    """By prompt: tickets that were first while their prompt had an open submit."""

    @property
    def may_run(self) -> bool:
        return not self.tenant.max_running or self.running < self.tenant.max_running

    @property
    def step(self) -> float:
        """How far one slot moves the clock, on average."""
        return (self.cost / self.waiting if self.waiting else 1.0) / self.tenant.weight

    def remove(self, ticket: Ticket) -> None:
        ticket.queued = False
        self.waiting -= 1
        self.cost -= ticket.cost

    def before(self, ticket: Ticket) -> int:
        """Return how many waiting tickets came before *ticket*."""
        heaps = (self.tickets, *self.blocked.values())
        return sum(
            other.queued and number < ticket.number for heap in heaps for number, _, other in heap
        )

    def slots_before(self, clock: float) -> int:
        """Return how many waiting tickets get their slot before *clock*."""
        return min(self.waiting, max(0, math.ceil((clock - self.clock) / self.step)))


class FairQueue:
    """
    Grants *slots* slots at a time, by start-time fair queueing over tenants.

    The tenant that has had least, by cost and weight, goes next: a tenant with a hundred
    waiting edits delays another's by one slot. Each event costs O(log waiting).

    Others pass a ticket whose prompt has an open submit, which takes no slot meanwhile. With
    its slot a ticket holds its prompt, until ``release_prompt`` or the slot's end.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._queues: dict[str, _TenantQueue] = {}
        self._next: list[tuple[float, int, int, _TenantQueue]] = []
        """A heap by clock of the queues that can use a slot; of equals, the one running less."""
        self._clock = 0.0
        self._number = 0
        self._entries = 0
        self.prompts = Prompts(self._prompt_released)

    @asynccontextmanager
    async def slot(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for this ticket's slot, and hold it for the length of the block."""
        queue = self._queue(ticket.tenant)
        self._join(queue, ticket)
        try:
            self._grant()
            await ticket.granted.wait()
        except BaseException:
            self._leave(queue, ticket)
            raise
        try:
            yield
        finally:
            self.release_prompt(ticket)
            self._release(queue)

    def release_prompt(self, ticket: Ticket) -> None:
        """Let other tickets of its prompt go on: the outcome of its submit is known."""
        if ticket.holds_prompt:
            assert ticket.prompt is not None
            ticket.holds_prompt = False
            self.prompts.release(ticket.prompt)

    def issue_ticket(self, tenant: Tenant, cost: int, prompt: str | None = None) -> Ticket:
        """
        Return a ticket behind all others of its tenant.

        Raises:
            RateLimited: ``max_waiting`` edits of the tenant are waiting already.
        """
        if self._queue(tenant).waiting >= tenant.max_waiting:
            raise RateLimited(f"Too many edits are waiting: {tenant.max_waiting}. Try again later.")
        self._number += 1
        return Ticket(queue=self, tenant=tenant, cost=cost, number=self._number, prompt=prompt)

    def take_slot(self, tenant: Tenant) -> None:
        """Count a task that runs already, after a restart; may exceed the slots."""
        self._queue(tenant).running += 1
        self._free -= 1

    def return_slot(self, tenant: Tenant) -> None:
        """Return a slot that ``take_slot`` took."""
        self._release(self._queue(tenant))

    def reactivate(self, ticket: Ticket) -> None:
        """Put a paused ticket back into its place: its client has returned."""
        ticket.paused = False
        if ticket.queued:
            self._push(self._queue(ticket.tenant), ticket)
            self._grant()

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self._queues.values())

    @property
    def free(self) -> int:
        return max(0, self._free)

    def slots_until(self, tenant: Tenant, ticket: Ticket | None = None) -> tuple[int, int]:
        """
        Return how many slots must become free before *ticket*, or a new one, gets its slot.

        The first number counts the tenant's own slots, by ``max_running``; the second counts
        all. Tickets still to come are not counted, though a tenant that has had less than
        this one will go before it.
        """
        queue = self._queue(tenant)
        own = self._queue(tenant).waiting
        if ticket is not None:
            own = queue.before(ticket)
        since = queue.clock if queue.waiting else max(queue.clock, self._clock)
        clock = since + own * queue.step
        others = (other for other in self._queues.values() if other is not queue and other.waiting)
        slots = own + 1 + sum(other.slots_before(clock) for other in others)
        most = queue.tenant.max_running
        return (
            max(0, own + 1 + queue.running - most) if most else 0,
            max(0, slots - self.free),
        )

    def _queue(self, tenant: Tenant) -> _TenantQueue:
        queue = self._queues.get(tenant.name)
        if queue is None:
            queue = self._queues[tenant.name] = _TenantQueue(tenant)
        return queue

    def _join(self, queue: _TenantQueue, ticket: Ticket) -> None:
        if not queue.waiting:
            # A tenant that did not wait has earned nothing meanwhile.
            queue.clock = max(queue.clock, self._clock)
        ticket.granted.clear()
        ticket.queued = True
        queue.waiting += 1
        queue.cost += ticket.cost
        self._push(queue, ticket)

    def _push(self, queue: _TenantQueue, ticket: Ticket) -> None:
        """Put *ticket* into its heap, unless its entry from before a pause is still there."""
        if not ticket.in_heap:
            self._entries += 1
            ticket.in_heap = True
            heapq.heappush(queue.tickets, (ticket.number, self._entries, ticket))
        self._offer(queue)

    def _leave(self, queue: _TenantQueue, ticket: Ticket) -> None:
        if ticket.queued:
            queue.remove(ticket)
        else:  # granted in the same moment
            self.release_prompt(ticket)
            self._release(queue)

    def _release(self, queue: _TenantQueue) -> None:
        queue.running -= 1
        self._free += 1
        self._offer(queue)
        self._grant()

    def _offer(self, queue: _TenantQueue) -> None:
        """Make *queue* a candidate for the next slot, if it can use one."""
        if not queue.is_candidate and queue.may_run and self._head(queue) is not None:
            queue.is_candidate = True
            self._entries += 1
            heapq.heappush(self._next, (queue.clock, queue.running, self._entries, queue))

    def _grant(self) -> None:
        while self._free > 0 and self._next:
            queue = heapq.heappop(self._next)[3]
            queue.is_candidate = False
            if queue.may_run and self._head(queue) is not None:
                self._assign(queue)
            self._offer(queue)

    def _assign(self, queue: _TenantQueue) -> None:
        ticket = heapq.heappop(queue.tickets)[2]
        ticket.in_heap = False
        queue.remove(ticket)
        queue.running += 1
        self._free -= 1
        self._clock = queue.clock
        queue.clock += ticket.cost / queue.tenant.weight
        if ticket.prompt is not None:
            self.prompts.take(ticket.prompt)
            ticket.holds_prompt = True
        ticket.granted.set()

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
        for queue in self._queues.values():
            if prompt not in queue.blocked:
                continue
            if self._head(queue) is None:
                # While all of its tickets were blocked it has earned nothing.
                queue.clock = max(queue.clock, self._clock)
            self._unblock(queue, prompt)
            self._offer(queue)
        self._grant()

    def _unblock(self, queue: _TenantQueue, prompt: str) -> None:
        """Put the first ticket of *queue* that is blocked by *prompt* back in order."""
        blocked = queue.blocked.get(prompt)
        if blocked is None:
            return
        heapq.heappush(queue.tickets, heapq.heappop(blocked))
        if not blocked:
            del queue.blocked[prompt]
