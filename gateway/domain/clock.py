"""Time, as something a test can hold in its hand."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """
    Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar.

    *now* goes on while the machine sleeps, where the system has such a clock; *sleep* does not.
    """

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


def clock_that_counts_sleep(names: Sequence[str]) -> Callable[[], float]:
    """
    Return the first of these clocks of the system that there is.

    Linux' CLOCK_MONOTONIC stands still while the machine sleeps, and with it what we knew of
    when a submit began; CLOCK_BOOTTIME does not. macOS has only the other one, which counts.
    """
    for name in names:
        number = getattr(time, name, None)
        with suppress(OSError):
            if number is not None:
                time.clock_gettime(number)
                return partial(time.clock_gettime, number)
    return time.monotonic


_monotonic = clock_that_counts_sleep(("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"))


class SystemClock:
    """The machine's own time; made once, in the app, and handed down."""

    def now(self) -> float:
        return _monotonic()

    def epoch(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
