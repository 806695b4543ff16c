"""When to look at a task next: learned from how long such tasks took."""

import math
from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass, field

_FEW = 8  # below so many known durations of a kind, all kinds together tell more
_KEPT = 256  # so many ends back is what is known: enough to see a shape, few enough to follow it
_SMOOTH = 0.15  # of the spread of what is known, to both sides, is looked at as one
# Ends expected within 15 % of a task's age though no known duration foretells them: when
_DOUBT = 0.03  # longer ones are known, and
_BLIND = 0.1  # when none are.
_KAPPA = 0.018  # seconds of lag that one fetch is worth, by benchmarks/polling.py
_SHORTEST = 0.2
_LONGEST = 20.0


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
    """
    How long an account's last tasks ran, in seconds, the time in upstream's line left out.

    Until it has seen enough of a kind itself, *elsewhere* tells: its region's other accounts.
    """

    def __init__(self, elsewhere: "Durations | None" = None) -> None:
        self._of_kind: dict[Kind, _Sample] = {}
        self._of_all = _Sample()
        self._elsewhere = elsewhere

    def learn(self, kind: Kind, seconds: float) -> None:
        self._of_kind.setdefault(kind, _Sample()).add(seconds)
        self._of_all.add(seconds)
        if self._elsewhere is not None:
            self._elsewhere.learn(kind, seconds)

    def known(self, kind: Kind) -> list[float]:
        """Return the durations to go by, sorted; empty while too few are known."""
        own = self._of_kind.get(kind)
        if own is not None and len(own.sorted) >= _FEW:
            return own.sorted
        if self._elsewhere is not None:
            return self._elsewhere.known(kind)
        return self._of_all.sorted if len(self._of_all.sorted) >= _FEW else []

    def typical(self) -> float:
        """Return the mean of all, or a careful guess."""
        known = self._of_all.sorted
        if known:
            return sum(known) / len(known)
        return 45.0 if self._elsewhere is None else self._elsewhere.typical()


def hazard(known: list[float], age: float) -> float:
    """
    Return how many ends a second are to be expected of a task that has run *age* seconds.

    It is the number of known durations around *age*, by the length of that stretch, over
    the number of those beyond. A little is added for what is not known: it keeps an eye open
    where nothing ended so far, and is all there is before the first ends are known.
    """
    beyond = len(known) - bisect_right(known, age)
    density = (_DOUBT if beyond else _BLIND) / max(1.0, _SMOOTH * age)
    if known and age >= known[0]:
        spread = known[len(known) * 9 // 10] - known[len(known) // 10]
        reach = max(0.25, _SMOOTH * spread)
        around = bisect_right(known, age + reach) - bisect_right(known, age - reach)
        # Nothing is known before the first and after the last, so that is no part of the stretch.
        stretch = min(age + reach, known[-1]) - max(age - reach, known[0])
        density += around / max(reach, stretch)
    return density / (beyond + 0.5)


def pause(known: list[float], age: float) -> float:
    """
    Return the seconds to wait before fetching a task again that has run *age* seconds.

    A fetch costs a call, a late one costs lag: with ends expected at the rate h, a pause
    of sqrt(2k/h) makes lag + k calls least, for a call worth k seconds of lag. Where few
    ends are expected yet, it ends where the next known duration does, and not behind it.
    """
    wait = _best(known, age)
    next_end = until_known_end(known, age)
    if next_end < wait:
        wait = min(wait, next_end + _best(known, age + next_end))
    return min(_LONGEST, max(_SHORTEST, wait))


def until_known_end(known: list[float], age: float) -> float:
    """Return the seconds until a task of *age* is as old as the next of *known*; or infinity."""
    later = bisect_right(known, age)
    return known[later] - age if later < len(known) else math.inf


def _best(known: list[float], age: float) -> float:
    return float((2 * _KAPPA / hazard(known, age)) ** 0.5)


def remaining(known: list[float], age: float, share: float) -> float:
    """
    Return the seconds within which *share* of such tasks of *age* seconds have ended.

    Without knowledge, and beyond it: what has lasted so long lasts as long again, at least 15 s.
    """
    later = bisect_right(known, age)
    left = len(known) - later
    if left < 1:
        return max(15.0, age) * (1.0 if share <= 0.5 else 2.5)
    return max(0.1, known[min(len(known) - 1, later + int(share * left))] - age)
