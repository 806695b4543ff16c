"""An event loop whose seconds are short, for whole apps that talk over real sockets."""

import asyncio
import selectors
from collections.abc import Mapping
from time import monotonic
from typing import Any

SPEED = 8.0
"""Seconds of the loop in one real second of waiting; a fast machine's I/O is not sped up."""


class _RushSelector(selectors.DefaultSelector):
    """Waits an eighth of what the loop asks for."""

    loop: "FastLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.pause()
        began = monotonic()
        events = super().select(None if timeout is None else timeout / SPEED)
        self.loop.go_on(monotonic() - began, timeout)
        return events


class FastLoop(asyncio.SelectorEventLoop):
    """
    Every timer runs early by the same factor, in whoever lives in this loop.

    Other than in tests.warp, time also passes while sockets and threads work. Only waiting is
    hurried: the loop's own work takes the real time that it takes, and no wait ends later than
    it was to, so that a slow or a busy machine does not turn every deadline into a short one.
    """

    longest_turn = 0.25
    """Seconds that one turn's own work can cost: a machine that stalls costs nobody a deadline."""

    def __init__(self) -> None:
        self._at, self._since = monotonic(), monotonic()
        selector = _RushSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._at + min(monotonic() - self._since, self.longest_turn)

    def pause(self) -> None:
        """Count the turn that ends here."""
        self._at, self._since = self.time(), monotonic()

    def go_on(self, waited: float, query: float | None) -> None:
        """Count a wait of so many real seconds, which was to end after *query* of the loop's."""
        passed = waited * SPEED
        self._at += passed if query is None else min(passed, max(query, 0.0))
        self._since = monotonic()


class ExactFastLoop(FastLoop):
    """Its own work takes no time at all, so that two readings of one moment are the same."""

    longest_turn = 0.0


FAST_TIME: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": FastLoop})
"""What an ``anyio_backend`` fixture returns to run its tests in short seconds."""
EXACT_FAST_TIME: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": ExactFastLoop})
"""The same, for tests that add times up."""
