"""What is known of an account's task list, and whether calling it is worthwhile."""

import math
from dataclasses import dataclass

from gateway.domain.errors import GatewayError, UpstreamUnavailable

_PAUSE_MIN = 0.47  # seconds between lists; less gains little,
_PAUSE_SHORT = 0.2  # unless tasks are short: then down to this,
_SHORT_SHARE = 0.67  # by this share of a task's seconds, so that one list at least meets each
_CALL_SHARE = 0.6  # of the account's calls that lists may use; the rest fetches what has ended
_STARTS_FROM = 3  # running tasks a page from which lists replace fetches,
_STOPS_BELOW = 2  # and below which fetches replace lists
_STALE_SECONDS = 0.4
_STALE_SAMPLES = 3  # measured ends before a list is called stale
_SUSPENDED_SECONDS = 30.0
_SUSPENDED_MAX = 1800.0
_FALSE_ALARMS = 8  # more of them than confirmed ends, and the list is suspended
_HIDDEN_END = 3  # an end that the list hides counts as so many false alarms
_FAILURES = 3
_PROOFS = 20  # confirmed ends after which the next suspension is a short one again


@dataclass(slots=True)
class ListPolicy:
    """
    Decides when one list call finds more than the fetches that it replaces (D20).

    The list may refuse, fail, lag behind the tasks, miss tasks that run, or go on to show
    tasks that have ended. It is then suspended: for 30 s, twice as long each time, at most
    for half an hour.

    Args:
        calls_per_second: The account's limit.
    """

    calls_per_second: float
    pages: int = 1
    """That the running tasks filled last time."""
    staleness: float = 0.0
    """Seconds by which the list lags behind the tasks, smoothed."""
    suspended_until: float = 0.0
    """Monotonic."""
    false_alarms: int = 0
    """Tasks missed that had not ended, less those that had."""
    _suspensions: int = 0
    _failures: int = 0
    _proofs: int = 0
    _samples: int = 0

    def pause_min(self, seconds: float = math.inf) -> float:
        """
        Return the fewest seconds between two lists, by their share of the account's calls.

        Args:
            seconds: How long the shortest of the running tasks takes.
        """
        wanted = min(_PAUSE_MIN, max(_PAUSE_SHORT, _SHORT_SHARE * seconds))
        return max(wanted, self.pages / (_CALL_SHARE * self.calls_per_second))

    def is_worthwhile(self, running: int, now: float, *, in_use: bool) -> bool:
        """Return whether one list finds more than fetches of *running* tasks."""
        least = _STOPS_BELOW if in_use else _STARTS_FROM
        return now >= self.suspended_until and running >= least * self.pages

    def record_failure(self, error: GatewayError, now: float) -> None:
        """Suspend a list that refuses, or fails three times in a row."""
        self._failures += 1
        if self._failures >= _FAILURES or isinstance(error, UpstreamUnavailable):
            self.suspend(now)

    def record_success(self) -> None:
        self._failures = 0

    def record_end(self) -> None:
        """A task that the list missed had ended."""
        self.false_alarms = max(0, self.false_alarms - 1)
        self._proofs += 1
        if self._proofs == _PROOFS:
            self._suspensions = 0

    def record_lag(self, seconds: float, running: int, now: float) -> None:
        """
        An end came into the list *seconds* after it happened.

        The list is suspended when it lags by more than fetches of *running* tasks would.
        """
        self._samples += 1
        self.staleness += (seconds - self.staleness) / min(8, self._samples)
        lag_of_fetches = running / (2 * self.calls_per_second)
        limit = max(_STALE_SECONDS, lag_of_fetches - self.pause_min() / 2)
        if self._samples >= _STALE_SAMPLES and self.staleness > limit:
            self.suspend(now)

    def record_false_alarm(self, now: float) -> None:
        """A task that the list missed had not ended."""
        self._accuse(1, now)

    def record_hidden_end(self, now: float) -> None:
        """A task had ended that the list went on to show."""
        self._accuse(_HIDDEN_END, now)

    def suspend(self, now: float) -> None:
        """Use fetches only for a while, longer each time."""
        seconds = _SUSPENDED_SECONDS * 2 ** min(self._suspensions, 10)
        self.suspended_until = now + min(_SUSPENDED_MAX, seconds)
        self._suspensions += 1
        self._failures = 0
        self._proofs = 0
        self._samples = 0
        self.false_alarms = 0
        self.staleness = 0.0
        self.pages = 1

    def _accuse(self, weight: int, now: float) -> None:
        self.false_alarms += weight
        if self.false_alarms > _FALSE_ALARMS:
            self.suspend(now)
