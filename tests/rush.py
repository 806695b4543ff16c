"""An event loop whose seconds are short, for whole apps that talk over real sockets."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

SPEED = 8.0
"""Seconds of the loop in one real second; a fast machine's I/O is not sped up."""


class _RushSelector(selectors.DefaultSelector):
    """Waits an eighth of what the loop asks for."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class RushLoop(asyncio.SelectorEventLoop):
    """
    Every timer runs early by the same factor, in whoever lives in this loop.

    Other than in tests.warp, time also passes while sockets and threads work.
    """

    def __init__(self) -> None:
        super().__init__(_RushSelector())

    def time(self) -> float:
        return super().time() * SPEED


RUSH: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": RushLoop})
"""What an ``anyio_backend`` fixture returns to run its tests in short seconds."""
