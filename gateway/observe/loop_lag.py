"""How late the event loop wakes a sleeper: what blocks it shows here first."""

from collections.abc import Callable
from typing import NoReturn

from gateway.domain.clock import Clock

_EVERY = 1.0  # seconds


async def measure_loop_lag(clock: Clock, tell: Callable[[float], None]) -> NoReturn:
    """Sleep a second at a time and *tell* by how many seconds it was too long; cancel to end."""
    while True:
        due = clock.now() + _EVERY
        await clock.sleep(_EVERY)
        tell(max(0.0, clock.now() - due))
