"""An event loop whose time jumps to the next timer, so that hours pass in milliseconds."""

import asyncio
import heapq
import math
import selectors
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

_Args = TypeVarTuple("_Args")

_START = 1_000.0
_EPOCH = 1_750_000_000.0
_LONGEST = 3 * 24 * 3600.0
_MOST_TURNS = 200_000
"""Turns of the loop without time moving on: more are an endless loop."""


class EndlessWarpError(RuntimeError):
    """Nothing will ever happen again, or the same for ever: a test that would hang."""


class _WarpSelector(selectors.SelectSelector):
    """Never waits: where a real selector would sleep, the loop's time jumps."""

    loop: "WarpLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            self.loop.warp()
        else:
            self.loop.count_turn()
        return events


class WarpLoop(asyncio.SelectorEventLoop):
    """
    Runs timers in exact order without waiting for them.

    Raises:
        EndlessWarpError: nothing is ready and no timer is set (a deadlock), the same moment
            never ends, or the test's time has run for three days.
    """

    def __init__(self) -> None:
        self._now = _START
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        selector = _WarpSelector()
        selector.loop = self
        super().__init__(selector)
        self._be_exact()

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def warp(self) -> None:
        """Jump to the next timer."""
        while self._timers and (self._timers[0][2].cancelled() or self._timers[0][0] <= self._now):
            heapq.heappop(self._timers)
        if not self._timers:
            raise EndlessWarpError("Nothing is ready and no timer is set: a deadlock.")
        self._now = self._timers[0][0]
        self._turns = 0
        self._be_exact()
        if self._now - _START > _LONGEST:
            raise EndlessWarpError("The test's time ran for three days.")

    def count_turn(self) -> None:
        """Count a turn of the loop in the same moment."""
        self._turns += 1
        if self._turns > _MOST_TURNS:
            raise EndlessWarpError(f"The moment {self._now} does not end.")

    def _be_exact(self) -> None:
        # A timer runs when it is earlier than now plus this: no timer runs early.
        self._clock_resolution = math.ulp(self._now)


class WarpClock:
    """Answers gateway.domain.clock.Clock by the running loop's time; *jump* moves the calendar."""

    def __init__(self) -> None:
        self.jump = 0.0
        self._last_loop: asyncio.AbstractEventLoop | None = None
        self._remember_loop()

    def now(self) -> float:
        self._remember_loop()
        assert self._last_loop is not None
        return self._last_loop.time()

    def epoch(self) -> float:
        return _EPOCH + self.now() + self.jump

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _remember_loop(self) -> None:
        with suppress(RuntimeError):  # a thread of the loop, such as the ledger's, has none
            self._last_loop = asyncio.get_running_loop()


WARP: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": WarpLoop})
"""What an ``anyio_backend`` fixture returns to run its tests in warped time."""
