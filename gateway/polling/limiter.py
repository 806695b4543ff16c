"""A rate limiter: so many calls a second, urgent ones first, half as many after a 429."""

import asyncio
import math
from collections import deque

from gateway.domain.clock import Clock

# DashScope counts calls when they arrive, we when they leave: the 0.08 s allow for jitter.
_WINDOW_SECONDS = 1.08
_FACTOR_MIN = 1 / 16
_DOUBLING_SECONDS = 20.0  # of a reduced rate; dashscope.md 6.1: recovers within a minute
_OTHERS_SHARE_MAX = 0.5  # of any second's calls, so that an urgent one need not wait
_OTHERS_EVERY = 10  # at least each tenth call is theirs, however many urgent ones wait


class _WaitingCalls:
    """Calls that wait, in one queue for each flow; flows take turns."""

    def __init__(self) -> None:
        self._by_flow: dict[str, deque[asyncio.Future[None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_flow)

    def join(self, flow: str) -> asyncio.Future[None]:
        granted = asyncio.get_running_loop().create_future()
        self._by_flow.setdefault(flow, deque()).append(granted)
        return granted

    def grant(self) -> bool:
        """Let the first call of the flow go that has waited longest; return whether one went."""
        while self._by_flow:
            flow = next(iter(self._by_flow))
            waiting = self._by_flow.pop(flow)
            granted = waiting.popleft()
            if waiting:
                self._by_flow[flow] = waiting
            if not granted.done():  # otherwise the call was cancelled
                granted.set_result(None)
                return True
        return False


class RateLimiter:
    """
    A sliding window: never more than *per_second* calls within any second.

    Urgent calls go first. The others get at most half of any second's calls, and at least
    each tenth. ``slow_down()`` halves the rate, which then recovers by itself.
    """

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._clock = clock
        self._sent: deque[float] = deque()
        self._sent_by_others: deque[float] = deque()
        self.set_rate(per_second)
        self._urgent = _WaitingCalls()
        self._others = _WaitingCalls()
        self._passed_over = 0
        """Urgent calls since the last other one, while others waited."""
        self._joined = asyncio.Event()
        self._granting: asyncio.Task[None] | None = None
        self._slowed_at = -1e9
        self._factor = 1.0

    def set_rate(self, per_second: float) -> None:
        """Change the rate; calls that left already count."""
        self._burst = max(1, int(per_second))
        self._window = _WINDOW_SECONDS * self._burst / per_second
        self._sent = deque(self._sent, self._burst)
        self._sent_by_others = deque(
            self._sent_by_others, max(1, int(self._burst * _OTHERS_SHARE_MAX))
        )

    async def acquire(self, flow: str = "", *, urgent: bool = True) -> None:
        """
        Wait until one more call may leave.

        Flows of equal urgency take turns, so that a hundred calls of one flow delay a call of
        another flow by one call.
        """
        if self._granting is None and self.seconds_until_free() == 0:
            if urgent:
                self._count(self._sent)
                return
            if self._seconds_until_others() == 0:
                self._count(self._sent, self._sent_by_others)
                return
        granted = (self._urgent if urgent else self._others).join(flow)
        self._joined.set()
        if self._granting is None:
            # In no task group: the caller may be cancelled before the others' calls are granted.
            self._granting = asyncio.create_task(self._grant())  # noqa: TID251 - it is kept here
        await granted

    async def _grant(self) -> None:
        """Let calls go as long as any wait."""
        while self._urgent or self._others:
            if (wait := self.seconds_until_free()) > 0:
                await self._clock.sleep(wait)
            elif self._others and self._others_are_next():
                self._passed_over = 0
                if self._others.grant():
                    self._count(self._sent, self._sent_by_others)
            elif self._urgent:
                self._passed_over += bool(self._others)
                if self._urgent.grant():
                    self._count(self._sent)
            else:
                await self._wait_for_others()
        self._granting = None

    def _others_are_next(self) -> bool:
        if self._seconds_until_others() > 0:
            return False
        return not self._urgent or self._passed_over >= _OTHERS_EVERY - 1

    async def _wait_for_others(self) -> None:
        """Wait until another call may go, or an urgent one has come."""
        self._joined.clear()
        try:
            async with asyncio.timeout(self._seconds_until_others()):
                await self._joined.wait()
        except TimeoutError:
            return

    def _seconds_until_others(self) -> float:
        if len(self._sent_by_others) < (self._sent_by_others.maxlen or 1):
            return 0.0
        return max(0.0, self._sent_by_others[0] + self._window - self._clock.now())

    def _count(self, *windows: deque[float]) -> None:
        for window in windows:
            window.append(self._clock.now())

    def seconds_until_free(self) -> float:
        """Return the seconds until one more call may leave; 0: now."""
        if not self._sent:
            return 0.0
        free = -math.inf
        if len(self._sent) == self._burst:
            free = self._sent[0] + self._window
        if self.factor < 1.0:
            # A halved burst could round to nothing, so calls are spaced out instead.
            free = max(free, self._sent[-1] + self._window / self.factor / self._burst)
        return max(0.0, free - self._clock.now())

    @property
    def factor(self) -> float:
        """The share of the full rate that may be used now, 1/16 to 1."""
        if self._factor == 1.0:
            return 1.0
        recovered = self._factor * 2 ** ((self._clock.now() - self._slowed_at) / _DOUBLING_SECONDS)
        if recovered >= 1.0:
            self._factor = 1.0
        return min(1.0, recovered)

    @property
    def used(self) -> float:
        """The share of the limit that the last second used, 0 to 1."""
        since = self._clock.now() - self._window
        return sum(1 for at in self._sent if at > since) / self._burst

    def slow_down(self) -> None:
        """Halve the rate after a 429; it doubles again each 20 s."""
        self._factor = max(_FACTOR_MIN, self.factor / 2)
        self._slowed_at = self._clock.now()
