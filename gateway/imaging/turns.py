"""Who decodes next: a few threads and a bounded memory, shared fairly among tenants."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from gateway.domain.errors import Overloaded

SMALL = 64 * 1024 * 1024
"""Bytes. A job that needs no more is counted by its thread alone, so that it never waits for
a large one to let go of its memory."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Who stands in line, and until when it waits there."""

    tenant: str
    until: float | None = None
    """By the loop's clock; ``None`` waits as long as it takes and is never refused."""

    @classmethod
    def of(cls, tenant: str, patience: float | None) -> Self:
        """Return one that waits *patience* seconds from now on, in all of its turns together."""
        return cls(tenant, None if patience is None else _now() + patience)


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(eq=False, slots=True)
class _Waiter:
    tenant: str
    cost: int
    turn: asyncio.Future[None] = field(repr=False)

    @property
    def is_large(self) -> bool:
        return self.cost > SMALL


class Turns:
    """
    Threads and memory for decoding.

    The next turn goes to the tenant that has the fewest jobs running, then to the one whose
    last turn is longest ago. Beyond *threads* there is one more thread for a tenant that has
    no job running: another tenant's slow pictures do not hold it up.

    Args:
        threads: Jobs at once.
        memory: Bytes that all large jobs may need together.
        waiting: Jobs of one tenant that may wait for a turn.
    """

    def __init__(self, threads: int, memory: int, waiting: int) -> None:
        self._threads = threads
        self._waiting = waiting
        self._free_memory = memory
        self._running: Counter[str] = Counter()
        self._queues: dict[str, deque[_Waiter]] = {}
        self._last_turn: dict[str, int] = {}
        self._turns = 0

    @property
    def busy(self) -> bool:
        """Whether a job would have to wait, or take the thread that is kept for others."""
        return self._running.total() >= self._threads

    async def take(self, stand: Stand, cost: int) -> None:
        """
        Wait for a thread and for *cost* bytes, at most all there are; to be given back.

        Raises:
            Overloaded: too many jobs of this tenant wait, or it waits no longer.
        """
        queue = self._queues.setdefault(stand.tenant, deque())
        if stand.until is not None and len(queue) >= self._waiting:
            raise Overloaded("Too many pictures are being read; try again.", retry_after=1)
        waiter = _Waiter(stand.tenant, cost, asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self._give()
        try:
            async with asyncio.timeout_at(stand.until):
                await waiter.turn
        except TimeoutError as exc:
            self._withdraw(waiter)
            message = "Pictures are being read too slowly; try again."
            raise Overloaded(message, retry_after=5) from exc
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def give_back(self, tenant: str, cost: int) -> None:
        """End the turn of a job of *tenant* that took *cost* bytes."""
        self._running[tenant] -= 1
        if cost > SMALL:
            self._free_memory += cost
        self._give()

    def _withdraw(self, waiter: _Waiter) -> None:
        """Take *waiter* out of the line; a turn that it was given meanwhile goes on."""
        if waiter.turn.done() and not waiter.turn.cancelled():
            self.give_back(waiter.tenant, waiter.cost)
        else:
            self._queues[waiter.tenant].remove(waiter)
            self._give()

    def _give(self) -> None:
        """Give turns as long as there is room for one."""
        while (waiter := self._next()) is not None:
            self._queues[waiter.tenant].remove(waiter)
            self._turns += 1
            self._last_turn[waiter.tenant] = self._turns
            self._running[waiter.tenant] += 1
            if waiter.is_large:
                self._free_memory -= waiter.cost
            waiter.turn.set_result(None)

    def _next(self) -> _Waiter | None:
        """Return who has the next turn; a large job never overtakes another one."""
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

    def _first_of_each_tenant(self) -> Iterator[_Waiter]:
        for queue in self._queues.values():
            # Who was cancelled stands here until its task runs again, and takes no turn.
            present = (waiter for waiter in queue if not waiter.turn.done())
            if (first := next(present, None)) is not None:
                yield first

    def _rank(self, tenant: str) -> tuple[int, int]:
        return self._running[tenant], self._last_turn.get(tenant, 0)

    def _has_thread(self, tenant: str) -> bool:
        spare = 0 if self._running[tenant] else 1
        return self._running.total() < self._threads + spare
