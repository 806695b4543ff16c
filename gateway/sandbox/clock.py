"""Time of the sandbox: the machine's own, or one that a test moves."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar."""

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return datetime.now(UTC).timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
