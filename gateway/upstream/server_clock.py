"""How far upstream's clock is from ours, learned from the ``Date`` of its answers."""

from email.utils import parsedate_to_datetime

import httpx

# ``Date`` is cut to whole seconds: the instant it means is half a second later on average.
_CUT = 0.5
# The first samples average out the cut; later ones still follow a clock that drifts.
_LEAST_WEIGHT = 0.05
# A slow answer says little about when its ``Date`` was written.
_LONGEST = 2.0


class ServerClock:
    """A smoothed offset in seconds: upstream's time less ours."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._samples = 0

    def learn(self, answer: httpx.Response, *, asked: float, answered: float) -> None:
        """Take in the ``Date`` of *answer*, between two instants of our calendar clock."""
        if not 0 <= answered - asked <= _LONGEST:
            return
        try:
            said = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, OverflowError):
            return
        sample = said + _CUT - (asked + answered) / 2
        self._samples += 1
        weight = max(1 / self._samples, _LEAST_WEIGHT)
        self.offset += weight * (sample - self.offset)
