"""The waiting line of an account: fair among its tenants, full slots, nobody forgotten."""

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
"""By number; the second number only keeps places from being compared."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One edit's place: kept while its client is away for a moment, never given up for it."""

    queue: "FairQueue"
    tenant: Tenant
    cost: int
    number: int
    prompt: str | None = None
    """Its submit is of this prompt, and may not be open beside another of the same."""
    holds_prompt: bool = False
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    """Nobody is connected: others go first, but the place in the order stays."""
    queued: bool = False
    listed: bool = False
    """It has its one entry in a heap of its tenant."""


@dataclass(slots=True, eq=False)
class _Queue:
    """One tenant's waiting edits, in order of arrival."""

    tenant: Tenant
    clock: float = 0.0
    """Virtual time: what this tenant has had so far, by its weight."""
    running: int = 0
    waiting: int = 0
    cost: int = 0
    """Of all that wait."""
    offered: bool = False
    """Whether it is among those that may be next; its clock stands still as long."""
    places: _Heap = field(default_factory=list)
    held_back: dict[str, _Heap] = field(default_factory=dict)
    """By prompt: those whose prompt had an open submit when it was their turn."""

    @property
    def may_run(self) -> bool:
        return not self.tenant.max_running or self.running < self.tenant.max_running

    @property
    def step(self) -> float:
        """How far a turn moves the clock, on average."""
        return (self.cost / self.waiting if self.waiting else 1.0) / self.tenant.weight

    def lose(self, ticket: Ticket) -> None:
        ticket.queued = False
        self.waiting -= 1
        self.cost -= ticket.cost

    def before(self, ticket: Ticket) -> int:
        """Return how many wait that came before *place*."""
        heaps = (self.places, *self.held_back.values())
        return sum(
            other.queued and number < ticket.number for heap in heaps for number, _, other in heap
        )

    def turns_before(self, clock: float) -> int:
        """Return how many of those that wait have their turn before *clock*."""
        return min(self.waiting, max(0, math.ceil((clock - self.clock) / self.step)))


class FairQueue:
    """
    Gives out *slots* turns at once, by start-time fair queueing over tenants.

    The tenant that has had least, by cost and weight, goes next; a tenant with a hundred
    edits in line moves another's by one turn. Each event costs O(log waiting).

    A place whose prompt has an open submit is passed by others and takes no slot meanwhile;
    with its turn it holds the prompt, until ``submitted`` or the turn's end.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._queues: dict[str, _Queue] = {}
        self._next: list[tuple[float, int, int, _Queue]] = []
        """A heap by clock of the queues that can use a slot; of equals, who has less running."""
        self._clock = 0.0
        self._number = 0
        self._entries = 0
        self.prompts = Prompts(self._freed)

    @asynccontextmanager
    async def slot(self, ticket: Ticket) -> AsyncIterator[None]:
        """Hold one slot for the length of the block, once it is this place's turn."""
        queue = self._queue(ticket.tenant)
        self._enter(queue, ticket)
        try:
            self._grant()
            await ticket.granted.wait()
        except BaseException:
            self._quit(queue, ticket)
            raise
        try:
            yield
        finally:
            self.release_prompt(ticket)
            self._release(queue)

    def release_prompt(self, ticket: Ticket) -> None:
        """Let others of its prompt go: what became of its submit is known."""
        if ticket.holds_prompt:
            assert ticket.prompt is not None
            ticket.holds_prompt = False
            self.prompts.release(ticket.prompt)

    def issue_ticket(self, tenant: Tenant, cost: int, prompt: str | None = None) -> Ticket:
        """
        Take a number.

        Raises:
            RateLimited: the tenant has ``max_waiting`` edits in line already.
        """
        if self._queue(tenant).waiting >= tenant.max_waiting:
            raise RateLimited(f"Too many edits are waiting: {tenant.max_waiting}. Try again later.")
        self._number += 1
        return Ticket(queue=self, tenant=tenant, cost=cost, number=self._number, prompt=prompt)

    def take_slot(self, tenant: Tenant) -> None:
        """Count a task that runs already (after a restart); may go over the slots."""
        self._queue(tenant).running += 1
        self._free -= 1

    def return_slot(self, tenant: Tenant) -> None:
        """End what ``take`` began."""
        self._release(self._queue(tenant))

    def reactivate(self, ticket: Ticket) -> None:
        """Put a place whose client was away back where it stood."""
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

    def waiting_of(self, tenant: Tenant) -> int:
        return self._queue(tenant).waiting

    def slots_until(self, tenant: Tenant, ticket: Ticket | None = None) -> tuple[int, int]:
        """
        Return how many turns must end before that of *place*, or of one who comes now.

        First of its tenant's own, by ``max_running``; then of all. Others still to come do
        not count, though a tenant that has had less than this one will go before it.
        """
        queue = self._queue(tenant)
        own = self._queue(tenant).waiting
        if ticket is not None:
            own = queue.before(ticket)
        since = queue.clock if queue.waiting else max(queue.clock, self._clock)
        clock = since + own * queue.step
        others = (other for other in self._queues.values() if other is not queue and other.waiting)
        turns = own + 1 + sum(other.turns_before(clock) for other in others)
        most = queue.tenant.max_running
        return (
            max(0, own + 1 + queue.running - most) if most else 0,
            max(0, turns - self.free),
        )

    def _queue(self, tenant: Tenant) -> _Queue:
        queue = self._queues.get(tenant.name)
        if queue is None:
            queue = self._queues[tenant.name] = _Queue(tenant)
        return queue

    def _enter(self, queue: _Queue, ticket: Ticket) -> None:
        if not queue.waiting:
            # One who was away has saved nothing up.
            queue.clock = max(queue.clock, self._clock)
        ticket.granted.clear()
        ticket.queued = True
        queue.waiting += 1
        queue.cost += ticket.cost
        self._push(queue, ticket)

    def _push(self, queue: _Queue, ticket: Ticket) -> None:
        """Put *place* in order, unless its entry is still there from before it was away."""
        if not ticket.listed:
            self._entries += 1
            ticket.listed = True
            heapq.heappush(queue.places, (ticket.number, self._entries, ticket))
        self._offer(queue)

    def _quit(self, queue: _Queue, ticket: Ticket) -> None:
        if ticket.queued:
            queue.lose(ticket)
        else:  # granted in the same moment
            self.release_prompt(ticket)
            self._release(queue)

    def _release(self, queue: _Queue) -> None:
        queue.running -= 1
        self._free += 1
        self._offer(queue)
        self._grant()

    def _offer(self, queue: _Queue) -> None:
        """Let *queue* be next when it is its time, if it can use a slot."""
        if not queue.offered and queue.may_run and self._head(queue) is not None:
            queue.offered = True
            self._entries += 1
            heapq.heappush(self._next, (queue.clock, queue.running, self._entries, queue))

    def _grant(self) -> None:
        while self._free > 0 and self._next:
            queue = heapq.heappop(self._next)[3]
            queue.offered = False
            if queue.may_run and self._head(queue) is not None:
                self._give(queue)
            self._offer(queue)

    def _give(self, queue: _Queue) -> None:
        ticket = heapq.heappop(queue.places)[2]
        ticket.listed = False
        queue.lose(ticket)
        queue.running += 1
        self._free -= 1
        self._clock = queue.clock
        queue.clock += ticket.cost / queue.tenant.weight
        if ticket.prompt is not None:
            self.prompts.take(ticket.prompt)
            ticket.holds_prompt = True
        ticket.granted.set()

    def _head(self, queue: _Queue) -> Ticket | None:
        """Return the first place that may have a turn; hold back or forget those before it."""
        while queue.places:
            ticket = queue.places[0][2]
            wanted = ticket.queued and not ticket.paused
            if wanted and not self.prompts.held(ticket.prompt):
                return ticket
            entry = heapq.heappop(queue.places)
            if wanted and ticket.prompt is not None:
                heapq.heappush(queue.held_back.setdefault(ticket.prompt, []), entry)
                continue
            ticket.listed = False
            if ticket.prompt is not None and not self.prompts.held(ticket.prompt):
                self._next_of(queue, ticket.prompt)
        return None

    def _freed(self, prompt: str) -> None:
        """Let the first place of this prompt in each queue have a turn again."""
        for queue in self._queues.values():
            if prompt not in queue.held_back:
                continue
            if self._head(queue) is None:
                # As long as all of its places were held back it has saved nothing up.
                queue.clock = max(queue.clock, self._clock)
            self._next_of(queue, prompt)
            self._offer(queue)
        self._grant()

    def _next_of(self, queue: _Queue, prompt: str) -> None:
        """Put the first place of *queue* that was held back for *prompt* back in order."""
        held_back = queue.held_back.get(prompt)
        if held_back is None:
            return
        heapq.heappush(queue.places, heapq.heappop(held_back))
        if not held_back:
            del queue.held_back[prompt]
