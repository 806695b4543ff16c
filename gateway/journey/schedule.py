"""When to look at a task next: learned from how long such tasks took."""

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field

_FEW = 8  # below so many known durations the guess is better than the sample
_KEPT = 256
_KAPPA = 0.015  # seconds of lag that one call is worth, by benchmarks/polling.py


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks that take about as long as each other."""

    model: str
    n: int
    megapixels: int
    """The size asked for, rounded; -1 when DashScope chooses."""


@dataclass(slots=True)
class _Sample:
    """The last durations, in order of arrival and of length."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    sorted: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        if len(self.recent) == _KEPT:
            self.sorted.pop(bisect_right(self.sorted, self.recent[0]) - 1)
        self.recent.append(seconds)
        insort(self.sorted, seconds)


class Durations:
    """What is known of how long tasks run, from submit to end, in seconds."""

    def __init__(self) -> None:
        self._of_kind: dict[Kind, _Sample] = {}
        self._of_all = _Sample()

    def learn(self, kind: Kind, seconds: float) -> None:
        self._of_kind.setdefault(kind, _Sample()).add(seconds)
        self._of_all.add(seconds)

    def known(self, kind: Kind) -> list[float]:
        """Return the durations to go by, sorted; empty while too few are known."""
        own = self._of_kind.get(kind)
        for sample in (own, self._of_all):
            if sample is not None and len(sample.sorted) >= _FEW:
                return sample.sorted
        return []

    def typical(self) -> float:
        """Return the median of all, or a careful guess."""
        known = self._of_all.sorted
        return known[len(known) // 2] if known else 45.0


def hazard(known: list[float], age: float) -> float:
    """Return how many ends a second are to be expected of a task of *age* seconds."""
    if not known:
        return 0.5 / max(5.0, age)
    later = bisect_right(known, age)
    left = len(known) - later
    if not left:
        return 1.0 / max(10.0, age)
    soon = max(1.0, 0.15 * age)
    return (bisect_right(known, age + soon) - later) / left / soon


def pause(known: list[float], age: float) -> float:
    """
    Return the seconds to wait before looking again at a task of *age* seconds.

    A look costs a call, a late look costs lag: with an end expected at the rate h, a
    pause of sqrt(2k/h) makes the sum least. Before any durations are known the pause
    grows with the age.
    """
    if not known:
        return min(1.5, max(0.25, 0.12 * age))
    later = bisect_right(known, age)
    left = len(known) - later
    if not left:  # older than all that is known
        return min(5.0, max(0.5, 0.05 * age))
    rate = hazard(known, age)
    if not rate:
        # Nothing ended in this stretch so far: skip most of it, but never sleep through a change.
        gap = known[later] - age
        return min(max(0.25, 0.9 * gap), max(2.0, 0.5 * age), 10.0)
    return float(min(5.0, max(0.2, (2 * _KAPPA / rate) ** 0.5)))


def rest(known: list[float], age: float, share: float) -> float:
    """
    Return the seconds within which *share* of such tasks of *age* seconds have ended.

    Without knowledge, and beyond it: what has lasted so long lasts as long again, at least 15 s.
    """
    later = bisect_right(known, age)
    left = len(known) - later
    if left < 1:
        return max(15.0, age) * (1.0 if share <= 0.5 else 2.5)
    return max(0.1, known[min(len(known) - 1, later + int(share * left))] - age)
