"""When to fetch a task next, learned from how long such tasks took."""

import math
from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field

_SAMPLE_MIN = 8  # with fewer known durations of a kind, those of all kinds are used
_SAMPLE_MAX = 256  # enough durations to show a shape, few enough to follow its changes
_SMOOTHING = 0.15  # of the spread of the known durations, on both sides of an age
_PRIOR = 0.03  # ends expected per 15 % of age beyond what the known durations show
_PRIOR_UNKNOWN = 0.1  # the same where no longer duration is known
_KAPPA = 0.018  # seconds of lag that one fetch is worth, by benchmarks/polling.py
_FETCHES_A_SPREAD = 1.9  # more of a task, for each second that the known durations spread
_BETWEEN_SECONDS = 0.2  # from one task's end to the next one's start
_PAUSE_MIN = 0.2
_PAUSE_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tasks, which take about as long as each other."""

    model: str
    n: int
    megapixels: int
    """The requested size, rounded; -1 if DashScope chooses it."""


@dataclass(slots=True)
class _Sample:
    """The last durations, in order of arrival and of length."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLE_MAX))
    sorted: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        if len(self.recent) == _SAMPLE_MAX:
            self.sorted.pop(bisect_right(self.sorted, self.recent[0]) - 1)
        self.recent.append(seconds)
        insort(self.sorted, seconds)


class Durations:
    """
    How long an account's last tasks ran, in seconds, without the time that they were PENDING.

    Args:
        elsewhere: The durations of all accounts of the region, used for a kind of which this
            account has too few.
    """

    def __init__(self, elsewhere: "Durations | None" = None) -> None:
        self._of_kind: dict[Kind, _Sample] = {}
        self._of_model: dict[str, _Sample] = {}
        self._of_all = _Sample()
        self._elsewhere = elsewhere

    def learn(self, kind: Kind, seconds: float) -> None:
        self._of_kind.setdefault(kind, _Sample()).add(seconds)
        self._of_model.setdefault(kind.model, _Sample()).add(seconds)
        self._of_all.add(seconds)
        if self._elsewhere is not None:
            self._elsewhere.learn(kind, seconds)

    def known(self, kind: Kind) -> list[float]:
        """Return the known durations of a kind, sorted; empty while there are too few."""
        own = self._of_kind.get(kind)
        if own is not None and len(own.sorted) >= _SAMPLE_MIN:
            return own.sorted
        if self._elsewhere is not None:
            return self._elsewhere.known(kind)
        return self._of_all.sorted if len(self._of_all.sorted) >= _SAMPLE_MIN else []

    def typical(self, model: str = "") -> float:
        """Return the mean of a model's durations, else of all, or 45 s while none is known."""
        for known in (self.of_model(model), self._of_all.sorted):
            if known:
                return sum(known) / len(known)
        return 45.0 if self._elsewhere is None else self._elsewhere.typical()

    def of_model(self, model: str) -> list[float]:
        """Return the durations of a model, sorted, from elsewhere if there are none here."""
        own = self._of_model.get(model)
        if own is not None:
            return own.sorted
        return [] if self._elsewhere is None else self._elsewhere.of_model(model)


def hazard(known: list[float], age: float) -> float:
    """
    Return the ends per second to expect of a task that has run for *age* seconds.

    It is the density of known durations near *age*, over the number of those beyond. A small
    prior is added for ends where none were seen so far; before the first durations are known
    it is all there is.
    """
    beyond = len(known) - bisect_right(known, age)
    density = (_PRIOR if beyond else _PRIOR_UNKNOWN) / max(1.0, _SMOOTHING * age)
    if known and age >= known[0]:
        reach = max(0.25, _SMOOTHING * _spread(known))
        near = bisect_right(known, age + reach) - bisect_right(known, age - reach)
        # Nothing is known before the first and after the last, so that part does not count.
        stretch = min(age + reach, known[-1]) - max(age - reach, known[0])
        density += near / max(reach, stretch)
    return density / (beyond + 0.5)


def pause(known: list[float], age: float) -> float:
    """
    Return the seconds to wait before a task that has run for *age* seconds is fetched again.

    A fetch costs a call, a late one costs lag. With ends expected at the rate h, a pause of
    sqrt(2k/h) minimizes lag + k calls, for a call that is worth k seconds of lag. Where few
    ends are expected yet, it reaches only a little beyond the next known duration.
    """
    wait = _best(known, age)
    next_end = until_known_end(known, age)
    if next_end < wait:
        wait = min(wait, next_end + _best(known, age + next_end))
    return min(_PAUSE_MAX, max(_PAUSE_MIN, wait))


def median(known: list[float]) -> float:
    """Return the median of *known*; infinity if nothing is known."""
    return known[len(known) // 2] if known else math.inf


def fetches_a_second(known: list[float]) -> float:
    """
    Return how often a slot's tasks are fetched, one task after another of these durations.

    It holds for tasks of a few seconds, whose ends ``pause`` meets the better the more equal
    they are; measured by benchmarks/polling.py.
    """
    return (1 + _FETCHES_A_SPREAD * _spread(known)) / (median(known) + _BETWEEN_SECONDS)


def _spread(known: list[float]) -> float:
    return known[len(known) * 9 // 10] - known[len(known) // 10]


def until_known_end(known: list[float], age: float) -> float:
    """Return the seconds until a task of *age* reaches the next of *known*, or infinity."""
    later = bisect_right(known, age)
    return known[later] - age if later < len(known) else math.inf


def _best(known: list[float], age: float) -> float:
    return float((2 * _KAPPA / hazard(known, age)) ** 0.5)


def remaining(known: list[float], age: float, share: float) -> float:
    """
    Return the seconds within which *share* of the tasks of *age* seconds will have ended.

    Beyond the known durations a task is taken to last as long again, and at least 15 s.
    """
    later = bisect_right(known, age)
    left = len(known) - later
    if left < 1:
        return max(15.0, age) * (1.0 if share <= 0.5 else 2.5)
    return max(0.1, known[min(len(known) - 1, later + int(share * left))] - age)
