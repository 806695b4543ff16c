"""The offset of upstream's clock, learned from the ``Date`` header of its responses (D71)."""

from collections import deque
from email.utils import parsedate_to_datetime

import httpx

# ``Date`` is cut to whole seconds, and some servers write it once a second beforehand.
_MOST_BEHIND = 2.0
_SAMPLES = 64
# 2000 to 2100: a Date outside is invalid, and could not be written into a query.
_EARLIEST = 946_684_800.0
_LATEST = 4_102_444_800.0


class ServerClock:
    """
    Upstream's time by our monotonic clock, so that a jump of our wall clock does not move it.

    A ``Date`` is never ahead of the clock that wrote it, so each response bounds, from both
    sides, the epoch at which our monotonic clock was 0. The bounds of the last responses
    intersect until upstream's clock jumps; then they are learned again.
    """

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)

    def offset(self, zero: float) -> float:
        """
        Return upstream's time less ours in seconds; 0 as long as the two may agree.

        Args:
            zero: The epoch of our monotonic clock's 0, by our wall clock now.
        """
        if not self._bounds:
            return 0.0
        least = max(bound[0] for bound in self._bounds)
        most = min(bound[1] for bound in self._bounds)
        return 0.0 if least <= zero <= most else least - zero

    def learn(self, answer: httpx.Response, *, requested: float, answered: float) -> None:
        """Learn from the ``Date`` of *answer*; *requested* and *answered* are monotonic times."""
        try:
            date = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, OverflowError):
            return
        if not _EARLIEST < date < _LATEST:
            return
        least = date - answered
        most = date + _MOST_BEHIND - requested
        if any(
            least > other_most or most < other_least for other_least, other_most in self._bounds
        ):
            self._bounds.clear()
        self._bounds.append((least, most))
