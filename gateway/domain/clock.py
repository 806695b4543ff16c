"""Time, as something a test can hold in its hand."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar."""

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time; made once, in the app, and handed down."""

    def now(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
