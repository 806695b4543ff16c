"""At most so many calls a second, in order of asking; half as many after a throttling."""

import asyncio
import math
from collections import deque

from gateway.domain.clock import Clock

# DashScope counts when a call arrives, we when it leaves: its second is a little of ours more.
_WINDOW_SECONDS = 1.08
_SLOWEST = 1 / 16
_CLIMB_SECONDS = 20.0  # from half back to full; dashscope.md 6.1: recovers within a minute


class Pace:
    """
    A sliding window: never more than *per_second* turns within any second.

    After ``throttled()`` the rate is halved, and climbs back to full by itself.
    """

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._burst = max(1, int(per_second))
        self._window = _WINDOW_SECONDS * self._burst / per_second
        self._clock = clock
        self._taken: deque[float] = deque(maxlen=self._burst)
        self._order = asyncio.Lock()
        self._slowed_at = -1e9
        self._factor = 1.0

    async def turn(self) -> None:
        """Wait until one more call may leave."""
        async with self._order:
            while (wait := self.seconds_to_turn()) > 0:
                await self._clock.sleep(wait)
            self._taken.append(self._clock.now())

    def seconds_to_turn(self) -> float:
        """Return how long the next turn is away: 0 when it is free."""
        if not self._taken:
            return 0.0
        free = -math.inf
        if len(self._taken) == self._burst:
            free = self._taken[0] + self._window
        if self.factor < 1.0:
            # A halved burst would round to nothing: space the calls out instead.
            free = max(free, self._taken[-1] + self._window / self.factor / self._burst)
        return max(0.0, free - self._clock.now())

    @property
    def factor(self) -> float:
        """The share of the full rate that is used now, 1/16 to 1."""
        if self._factor == 1.0:
            return 1.0
        climbed = self._factor * 2 ** ((self._clock.now() - self._slowed_at) / _CLIMB_SECONDS)
        if climbed >= 1.0:
            self._factor = 1.0
        return min(1.0, climbed)

    @property
    def used(self) -> float:
        """The share of the budget that the last second used, 0 to 1."""
        since = self._clock.now() - self._window
        return sum(1 for at in self._taken if at > since) / self._burst

    def throttled(self) -> None:
        """Take note of a 429: half the rate from now on, less with each."""
        self._factor = max(_SLOWEST, self.factor / 2)
        self._slowed_at = self._clock.now()
