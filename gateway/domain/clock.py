"""Clocks, which tests replace, and the stopwatch of an edit's phases."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """
    Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar.

    *now* advances while the machine is suspended, if the system has such a clock; *sleep* does
    not.
    """

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


def clock_that_counts_sleep(names: Sequence[str]) -> Callable[[], float]:
    """
    Return the first of these system clocks that exists.

    Linux' CLOCK_MONOTONIC stops while the machine is suspended, so that the age of a submit
    would be wrong; CLOCK_BOOTTIME does not. macOS has CLOCK_MONOTONIC only, which counts it.
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
    """The machine's clock; created once, in the app, and passed down."""

    def now(self) -> float:
        return _monotonic()

    def epoch(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Phase(StrEnum):
    """In the order in which an edit goes through them."""

    READ = "read"
    QUEUE = "queue"
    SUBMIT = "submit"
    UPSTREAM_PENDING = "upstream_pending"
    UPSTREAM_RUNNING = "upstream_running"
    DETECTION = "detection"
    DOWNLOAD = "download"
    RESPOND = "respond"


@dataclass(slots=True)
class Phases:
    """
    A stopwatch that is always in one phase, so that the phases add up to the total.

    Times are seconds of one monotonic clock.
    """

    started: float
    phase: Phase = Phase.READ
    _since: float = field(default=-1.0)
    _spent: dict[Phase, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._since = self.started

    def enter(self, phase: Phase, now: float) -> None:
        """Close the running phase at *now* and begin *phase*."""
        self._spent[self.phase] = self._spent.get(self.phase, 0.0) + max(0.0, now - self._since)
        self.phase = phase
        self._since = now

    def move(self, source: Phase, target: Phase, seconds: float) -> None:
        """Move *seconds* from *source* to *target*, when upstream's times become known."""
        moved = min(max(0.0, seconds), self._spent.get(source, 0.0))
        self._spent[source] = self._spent.get(source, 0.0) - moved
        self._spent[target] = self._spent.get(target, 0.0) + moved

    def spent(self, now: float) -> dict[Phase, float]:
        """Return seconds by phase, the running one up to *now*."""
        spent = dict(self._spent)
        spent[self.phase] = spent.get(self.phase, 0.0) + max(0.0, now - self._since)
        return {phase: spent[phase] for phase in Phase if phase in spent}
