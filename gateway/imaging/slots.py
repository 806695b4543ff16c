"""Slots for decoding: threads and memory, shared fairly among tenants."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from gateway.domain.errors import Overloaded

SMALL = 64 * 1024 * 1024
"""Bytes. A job that needs no more takes a thread only, and never waits for memory."""


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """
    Which tenant waits for slots, since when and until when; times are of the loop's clock.

    A request has one claim for all of its pictures: it is queued once.
    """

    tenant: str
    until: float | None = None
    """``None`` waits without a limit and is never refused."""
    since: float = 0.0
    """Of one tenant's jobs the earliest goes first; 0 goes before all, as what is paid for does."""

    @classmethod
    def of(cls, tenant: str, patience: float) -> Self:
        """Return a claim that begins now and waits up to *patience* seconds in all."""
        now = asyncio.get_running_loop().time()
        return cls(tenant, now + patience, now)


@dataclass(eq=False, slots=True)
class _WaitingPicture:
    tenant: str
    cost: int
    turn: asyncio.Future[None] = field(repr=False)

    @property
    def is_large(self) -> bool:
        return self.cost > SMALL


class DecodeSlots:
    """
    Threads and memory for decoding.

    As many wait as come, for as long as they will (D115): what bounds them is the budget of
    bytes that a request has to hold before it comes here. The next slot goes to the tenant with
    the fewest running jobs, then to the one whose last slot was longest ago. Beyond *threads*
    there is one more thread for a tenant that has no job running, so that another tenant's slow
    pictures do not delay it.

    Args:
        threads: Jobs at a time.
        memory: Bytes that all large jobs may need together.
    """

    def __init__(self, threads: int, memory: int) -> None:
        self._threads = threads
        self._free_memory = memory
        self._running: Counter[str] = Counter()
        self._queues: dict[str, list[tuple[float, int, _WaitingPicture]]] = {}
        """Heaps by claim; the number is that of the arrival."""
        self._arrivals = 0
        self._last_turn: dict[str, int] = {}
        self._slots = 0

    @property
    def busy(self) -> bool:
        """Whether a job would have to wait, or to take the spare thread."""
        return self._running.total() >= self._threads

    async def take(self, claim: SlotClaim, cost: int) -> None:
        """
        Wait for a thread and *cost* bytes of memory; release() returns them.

        Raises:
            Overloaded: the claim has expired.
        """
        waiter = _WaitingPicture(claim.tenant, cost, asyncio.get_running_loop().create_future())
        self._arrivals += 1
        queue = self._queues.setdefault(claim.tenant, [])
        heapq.heappush(queue, (claim.since, self._arrivals, waiter))
        self._grant()
        try:
            async with asyncio.timeout_at(claim.until):
                await waiter.turn
        except TimeoutError as exc:
            self._withdraw(waiter)
            message = "Pictures are being read too slowly; try again."
            raise Overloaded(message, retry_after=5) from exc
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def release(self, tenant: str, cost: int) -> None:
        """Release the slot of a job of *tenant* that took *cost* bytes."""
        self._running[tenant] -= 1
        if cost > SMALL:
            self._free_memory += cost
        self._grant()

    def _withdraw(self, waiter: _WaitingPicture) -> None:
        """Grant to others what *waiter* waits for; a slot that it has meanwhile is released."""
        if waiter.turn.cancelled():
            self._grant()
        else:
            self.release(waiter.tenant, waiter.cost)

    def _grant(self) -> None:
        """Grant slots as long as there is room."""
        while (waiter := self._next()) is not None:
            heapq.heappop(self._queues[waiter.tenant])
            self._slots += 1
            self._last_turn[waiter.tenant] = self._slots
            self._running[waiter.tenant] += 1
            if waiter.is_large:
                self._free_memory -= waiter.cost
            waiter.turn.set_result(None)

    def _next(self) -> _WaitingPicture | None:
        """Return the next waiter; a large job never overtakes another large one."""
        large_waits = False
        for waiter in sorted(self._first_of_each_tenant(), key=lambda it: self._rank(it.tenant)):
            if not self._has_thread(waiter.tenant):
                continue
            if not waiter.is_large:
                return waiter
            if not large_waits and waiter.cost <= self._free_memory:
                return waiter
            large_waits = True
        return None

    def _first_of_each_tenant(self) -> Iterator[_WaitingPicture]:
        for queue in self._queues.values():
            while queue and queue[0][-1].turn.done():  # cancelled: it waits no more
                heapq.heappop(queue)
            if queue:
                yield queue[0][-1]

    def _rank(self, tenant: str) -> tuple[int, int]:
        return self._running[tenant], self._last_turn.get(tenant, 0)

    def _has_thread(self, tenant: str) -> bool:
        spare = 0 if self._running[tenant] else 1
        return self._running.total() < self._threads + spare
