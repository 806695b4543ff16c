"""How far upstream's clock is from ours, learned from the ``Date`` of its answers."""

from collections import deque
from email.utils import parsedate_to_datetime

import httpx

# ``Date`` is cut to whole seconds, and some servers write it once a second beforehand.
_MOST_BEHIND = 2.0
_SAMPLES = 64
# 2000 to 2100: a Date beyond is no time, and could not be written into a query.
_EARLIEST = 946_684_800.0
_LATEST = 4_102_444_800.0


class ServerClock:
    """
    Upstream's time by our monotonic clock, so that no jump of our calendar moves it.

    A ``Date`` is never ahead of the clock that wrote it, so each answer bounds the epoch at
    which our monotonic clock began from both sides; the bounds of the last answers hold
    together until upstream's clock jumps.
    """

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)

    def offset(self, zero: float) -> float:
        """
        Return upstream's time less ours in seconds; 0 as long as the two may agree.

        Args:
            zero: The epoch of our monotonic clock's 0, by our calendar now.
        """
        if not self._bounds:
            return 0.0
        least = max(bound[0] for bound in self._bounds)
        most = min(bound[1] for bound in self._bounds)
        return 0.0 if least <= zero <= most else least - zero

    def learn(self, answer: httpx.Response, *, asked: float, answered: float) -> None:
        """Take in the ``Date`` of *answer*, between two instants of our monotonic clock."""
        try:
            said = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, OverflowError):
            return
        if not _EARLIEST < said < _LATEST:
            return
        least = said - answered
        most = said + _MOST_BEHIND - asked
        if any(
            least > other_most or most < other_least for other_least, other_most in self._bounds
        ):
            self._bounds.clear()
        self._bounds.append((least, most))
