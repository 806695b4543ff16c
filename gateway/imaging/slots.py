"""Slots for decoding: threads and memory, shared fairly among tenants."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from gateway.domain.errors import Overloaded

SMALL = 64 * 1024 * 1024
"""Bytes. A job that needs no more takes a thread only, and never waits for memory."""


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """Which tenant waits for a slot, and until when."""

    tenant: str
    until: float | None = None
    """By the loop's clock; ``None`` waits without a limit and is never refused."""

    @classmethod
    def of(cls, tenant: str, patience: float | None) -> Self:
        """Return a claim that waits up to *patience* seconds in all, from now."""
        return cls(tenant, None if patience is None else _now() + patience)


def _now() -> float:
    return asyncio.get_running_loop().time()


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

    The next slot goes to the tenant with the fewest running jobs, then to the one whose last
    slot was longest ago. Beyond *threads* there is one more thread for a tenant that has no
    job running, so that another tenant's slow pictures do not delay it.

    Args:
        threads: Jobs at a time.
        memory: Bytes that all large jobs may need together.
        waiting: Jobs of one tenant that may wait for a slot.
    """

    def __init__(self, threads: int, memory: int, waiting: int) -> None:
        self._threads = threads
        self._waiting = waiting
        self._free_memory = memory
        self._running: Counter[str] = Counter()
        self._queues: dict[str, deque[_WaitingPicture]] = {}
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
            Overloaded: too many jobs of this tenant wait, or the claim has expired.
        """
        queue = self._queues.setdefault(claim.tenant, deque())
        if claim.until is not None and len(queue) >= self._waiting:
            raise Overloaded("Too many pictures are being read; try again.", retry_after=1)
        waiter = _WaitingPicture(claim.tenant, cost, asyncio.get_running_loop().create_future())
        queue.append(waiter)
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
        """Remove *waiter* from its queue; a slot that it was granted meanwhile is released."""
        if waiter.turn.done() and not waiter.turn.cancelled():
            self.release(waiter.tenant, waiter.cost)
        else:
            self._queues[waiter.tenant].remove(waiter)
            self._grant()

    def _grant(self) -> None:
        """Grant slots as long as there is room."""
        while (waiter := self._next()) is not None:
            self._queues[waiter.tenant].remove(waiter)
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
            # A cancelled waiter stays in the queue until its task runs again; it gets no slot.
            present = (waiter for waiter in queue if not waiter.turn.done())
            if (first := next(present, None)) is not None:
                yield first

    def _rank(self, tenant: str) -> tuple[int, int]:
        return self._running[tenant], self._last_turn.get(tenant, 0)

    def _has_thread(self, tenant: str) -> bool:
        spare = 0 if self._running[tenant] else 1
        return self._running.total() < self._threads + spare
