"""When to look at a task next: learned from how long such tasks took."""

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field

_FEW = 8  # below so many known durations of a kind, all kinds together tell more
_KEPT = 128  # so many ends back is what is known: enough to see a shape, few enough to follow it
_SMOOTH = 0.15  # of the spread of what is known is looked at, to both sides
_DOUBT = 0.1  # ends expected in the next 15 % of a task's age that no known duration foretells
_KAPPA = 0.02  # seconds of lag that one fetch is worth, by benchmarks/polling.py
_SHORTEST, _LONGEST = 0.2, 8.0


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
    """How long the last tasks ran, in seconds, the time in upstream's line left out."""

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
        """Return the mean of all, or a careful guess."""
        known = self._of_all.sorted
        return sum(known) / len(known) if known else 45.0


def hazard(known: list[float], age: float) -> float:
    """
    Return how many ends a second are to be expected of a task that has run *age* seconds.

    It is the number of known durations around *age*, by the length of that stretch, over
    the number of those beyond. A little is added for what is not known: it keeps an eye open
    where nothing ended so far, and is all there is before the first ends are known.
    """
    density = _DOUBT / max(1.0, 0.15 * age)
    if known:
        spread = known[len(known) * 9 // 10] - known[len(known) // 10]
        reach = max(0.25, _SMOOTH * spread)
        around = bisect_right(known, age + reach) - bisect_right(known, age - reach)
        density += around / (2 * reach)
    return density / (len(known) - bisect_right(known, age) + 0.5)


def pause(known: list[float], age: float) -> float:
    """
    Return the seconds to wait before fetching a task again that has run *age* seconds.

    A fetch costs a call, a late one costs lag: with ends expected at the rate h, a pause
    of sqrt(2k/h) makes lag + k calls least, for a call worth k seconds of lag. Where few
    ends are expected yet, it ends where the next known duration does, and not behind it.
    """
    wait = _best(known, age)
    later = bisect_right(known, age)
    if later < len(known):
        wait = min(wait, known[later] - age + _best(known, known[later]))
    return min(_LONGEST, max(_SHORTEST, wait))


def _best(known: list[float], age: float) -> float:
    return float((2 * _KAPPA / hazard(known, age)) ** 0.5)


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
