"""Time, as something a test can hold in its hand."""

from typing import Protocol


class Clock(Protocol):
    """Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar."""

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
