"""Turns for work on the event loop, so that a crowd of requests does not hold it up (P18)."""

import asyncio
from collections import OrderedDict, deque

from gateway.domain.clock import Clock

MOST = 16
"""Turns in one round of the event loop."""
ROUND_SECONDS = 0.01
"""A round that takes longer has half as many turns in the next, one that does not has one more."""


class Pacer:
    """
    Lets a few requests work in each round of the event loop, tenant after tenant (D115).

    When hundreds of bodies arrive together, their tasks would all run in one round, and from
    then on in step: every further stage of their edits would be a round of hundreds, too.

    Args:
        clock: Measures the rounds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._size = MOST
        self._left = MOST
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Who waits, by tenant; the first tenant is next. None is empty."""
        self._round_began: float | None = None

    async def turn(self, tenant: str) -> None:
        """Return in a round in which *tenant* has a turn: in this one, unless it is crowded."""
        loop = asyncio.get_running_loop()
        if self._round_began is None:
            self._round_began = self._clock.now()
            loop.call_soon(self._next_round, loop)
        if self._left and not self._queues:
            self._left -= 1
            return
        waiter = loop.create_future()
        self._queues.setdefault(tenant, deque()).append(waiter)
        await waiter

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._round_began is not None
        now = self._clock.now()
        slow = now - self._round_began > ROUND_SECONDS
        self._size = max(1, self._size // 2) if slow else min(MOST, self._size + 1)
        self._left = self._size
        while self._left and self._queues:
            self._left -= self._grant()
        self._round_began = None
        if self._left < self._size:
            self._round_began = now
            loop.call_soon(self._next_round, loop)  # runs after those that have a turn

    def _grant(self) -> bool:
        """Give the next tenant's first waiter its turn; return whether it is still there."""
        tenant, waiters = self._queues.popitem(last=False)
        waiter = waiters.popleft()
        if waiters:
            self._queues[tenant] = waiters
        if waiter.done():  # its client has left
            return False
        waiter.set_result(None)
        return True
