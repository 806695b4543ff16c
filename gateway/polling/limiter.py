"""At most so many calls a second, the urgent ones first; half as many after a throttling."""

import asyncio
import math
from collections import deque

from gateway.domain.clock import Clock

# DashScope counts when a call arrives, we when it leaves: its second is a little of ours more.
_WINDOW_SECONDS = 1.08
_SLOWEST = 1 / 16
_CLIMB_SECONDS = 20.0  # from half back to full; dashscope.md 6.1: recovers within a minute
_OTHERS_AT_MOST = 0.5  # share of the calls of a second, so that an urgent one finds room at once
_OTHERS_AT_LEAST = 10  # one turn of so many is theirs, however many urgent calls wait


class _Waiting:
    """Those who wait for a turn: flows take turns, each in its order of asking."""

    def __init__(self) -> None:
        self._by_flow: dict[str, deque[asyncio.Future[None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_flow)

    def join(self, flow: str) -> asyncio.Future[None]:
        turn = asyncio.get_running_loop().create_future()
        self._by_flow.setdefault(flow, deque()).append(turn)
        return turn

    def give(self) -> bool:
        """Give a turn to the first of the flow whose last turn was longest ago, if there is one."""
        while self._by_flow:
            flow = next(iter(self._by_flow))
            waiting = self._by_flow.pop(flow)
            turn = waiting.popleft()
            if waiting:
                self._by_flow[flow] = waiting
            if not turn.done():  # else its call was cancelled
                turn.set_result(None)
                return True
        return False


class RateLimiter:
    """
    A sliding window: never more than *per_second* turns within any second.

    Urgent calls go first. The others have at most half of any second's turns, and at least
    every tenth turn. After ``slow_down()`` the rate is halved, and climbs back by itself.
    """

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._burst = max(1, int(per_second))
        self._window = _WINDOW_SECONDS * self._burst / per_second
        self._clock = clock
        self._taken: deque[float] = deque(maxlen=self._burst)
        self._taken_by_others: deque[float] = deque(
            maxlen=max(1, int(self._burst * _OTHERS_AT_MOST))
        )
        self._urgent, self._others = _Waiting(), _Waiting()
        self._passed_over = 0
        """Urgent turns since the others had one, while they waited."""
        self._came = asyncio.Event()
        self._giving: asyncio.Task[None] | None = None
        self._slowed_at = -1e9
        self._factor = 1.0

    async def acquire(self, flow: str = "", *, urgent: bool = True) -> None:
        """
        Wait until one more call may leave.

        Among those of equal urgency flows take turns, so that a hundred calls of one flow
        delay a call of another by one turn.
        """
        if self._giving is None and self.seconds_until_free() == 0:
            if urgent:
                self._take(self._taken)
                return
            if self._seconds_to_others() == 0:
                self._take(self._taken, self._taken_by_others)
                return
        turn = (self._urgent if urgent else self._others).join(flow)
        self._came.set()
        if self._giving is None:
            # Of nobody's group: who waits for a turn may leave before others have theirs.
            self._giving = asyncio.create_task(self._give())  # noqa: TID251 - it is kept here
        await turn

    async def _give(self) -> None:
        """Give turns as long as somebody waits for one."""
        while self._urgent or self._others:
            if (wait := self.seconds_until_free()) > 0:
                await self._clock.sleep(wait)
            elif self._others and self._is_for_others():
                self._passed_over = 0
                if self._others.give():
                    self._take(self._taken, self._taken_by_others)
            elif self._urgent:
                self._passed_over += bool(self._others)
                if self._urgent.give():
                    self._take(self._taken)
            else:
                await self._until_others_may()
        self._giving = None

    def _is_for_others(self) -> bool:
        if self._seconds_to_others() > 0:
            return False
        return not self._urgent or self._passed_over >= _OTHERS_AT_LEAST - 1

    async def _until_others_may(self) -> None:
        """Wait for a turn that the others may take, or for an urgent call."""
        self._came.clear()
        try:
            async with asyncio.timeout(self._seconds_to_others()):
                await self._came.wait()
        except TimeoutError:
            return

    def _seconds_to_others(self) -> float:
        if len(self._taken_by_others) < (self._taken_by_others.maxlen or 1):
            return 0.0
        return max(0.0, self._taken_by_others[0] + self._window - self._clock.now())

    def _take(self, *windows: deque[float]) -> None:
        for window in windows:
            window.append(self._clock.now())

    def seconds_until_free(self) -> float:
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

    def slow_down(self) -> None:
        """Take note of a 429: half the rate from now on, less with each."""
        self._factor = max(_SLOWEST, self.factor / 2)
        self._slowed_at = self._clock.now()
