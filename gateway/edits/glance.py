"""One list call in place of many fetches: when it pays, and what it tells."""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.domain.errors import GatewayError, UpstreamUnavailable
from gateway.domain.task import TaskRow, TaskStatus
from gateway.edits.watch import Watch, Watches
from gateway.polling.schedule import Durations, hazard, until_known_end

_KAPPA = 0.05  # seconds of lag that one list call is worth, by benchmarks/polling.py
_SHORTEST = 0.47
_LONGEST = 5.0  # below half a second a look buys little
_PAYS_FROM = 3
_PAYS_UNTIL = 2  # running tasks a page; with fewer, fetches tell as much
_SHARE = 0.6  # of the account's calls that looks may use; the rest confirms ends
_STALE_SECONDS = 0.4
_NEW_SECONDS = 0.3  # so young a task may be missing from a list that is not stale
_FULL_SECONDS = 5.0  # so long one may wait though by order it should run: strangers take slots too
_SPARED_SECONDS = 2.0
_SPARED_MOST = 30.0
_REST_SECONDS = 30.0
_REST_MOST = 1800.0
_FALSE_ALARMS = 8  # more of them than true ones, and the list is of no use
_OVERLOOKED = 3  # an end that the list hides counts as so many
_PROOFS = 20
_SAMPLE = 20  # tasks that stand for all when the ends to expect are counted


@dataclass(slots=True)
class Glances:
    """What is known of an account's task list, and when to look at it next."""

    calls_per_second: float
    pages: int = 1
    """That the running tasks filled last time."""
    stale: float = 0.0
    """Seconds by which the list lags behind the tasks, smoothed."""
    resting_until: float = 0.0
    """Monotonic: until then the list is not asked, since it refused or did not help."""
    together: bool = False
    _rests: int = 0
    _failed: int = 0
    _alarms: int = 0
    _proofs: int = 0
    _measured: int = 0

    def pay(self, running: int, now: float) -> bool:
        """Say whether one look at the list tells more than the fetches that it replaces."""
        enough = _PAYS_UNTIL if self.together else _PAYS_FROM
        self.together = now >= self.resting_until and running >= enough * self.pages
        return self.together

    def pause(self, watches: Collection[Watch], durations: Durations, now: float) -> float:
        """
        Return the seconds until the next look, by how many ends are expected a second.

        A pause of sqrt(2kp/h) makes the sum of calls and lag least, for p pages and h ends
        a second; it is the rule of schedule.pause for all tasks at once, and like that it
        does not leap over the next end that is to be expected.
        """
        # In order of submission, every so many stand for all ages.
        sample = list(watches)[:: 1 + len(watches) // _SAMPLE]
        asked = [(durations.known(w.kind), now - w.runs_since) for w in sample]
        if not asked:
            return _LONGEST
        price = 2 * _KAPPA * self.pages * len(asked) / len(watches)
        wait = _best(price, asked)
        next_end = min(until_known_end(known, age) for known, age in asked)
        if next_end < wait:
            wait = min(wait, next_end + _best(price, [(k, age + next_end) for k, age in asked]))
        return max(self._shortest, min(_LONGEST, wait))

    def read(
        self, rows: Collection[TaskRow], watches: Watches, slots: int, now: float
    ) -> list[Watch]:
        """
        Return the watches to fetch now: those that ran and are gone from the RUNNING rows.

        One that was never seen running may be pending, or so quick that no look met it: it is
        fetched soon when slots are free, so that nothing should be pending, else later.
        """
        listed = {row.task_id for row in rows if row.status is TaskStatus.RUNNING}
        self._failed = 0
        for watch in [w for w in watches.behind.values() if w.task_id in listed]:
            watches.promote(watch)
            watch.runs_since = now
        gone = []
        for watch in watches.running.values():
            if watch.task_id in listed:
                # It may have been missed before it ran, and its fetch be waiting for a turn.
                watch.listed_at = now
                watch.spared_until = 0.0
                watch.missing_at = 0.0
            elif now >= watch.spared_until and (
                watch.listed_at or self._must_show(watch, now, full=len(listed) >= slots)
            ):
                watch.missing_at = now
                gone.append(watch)
        return gone

    def confirmed(self, watch: Watch, running: int) -> None:
        """Learn that the list was right about *watch*: the fetch found it ended."""
        self._alarms = max(0, self._alarms - 1)
        self._proofs += 1
        if self._proofs == _PROOFS:
            self._rests = 0
        if not watch.listed_at or not watch.ended_at:
            return
        # The end came into the list between two looks.
        shown = (watch.listed_at + watch.missing_at) / 2
        self._measured += 1
        self.stale += (shown - watch.ended_at - self.stale) / min(8, self._measured)
        alone = running / (2 * self.calls_per_second)  # how late fetches alone would be
        if self._measured >= 3 and self.stale > max(_STALE_SECONDS, alone - self._shortest / 2):
            self.suspend(watch.missing_at)

    def denied(self, watch: Watch, now: float) -> None:
        """Learn that *watch* has not ended, though the list did not show it as running."""
        watch.alarms += 1
        spared = min(_SPARED_MOST, _SPARED_SECONDS * 2 ** min(watch.alarms - 1, 5))
        watch.spared_until = now + spared + max(0.0, self.stale)
        if watch.status is TaskStatus.RUNNING and (watch.listed_at or watch.alarms > 1):
            self._accuse(now)

    def overlooked(self, now: float) -> None:
        """Learn that a task had ended which the list went on to show."""
        self._accuse(now, _OVERLOOKED)

    def failed(self, error: GatewayError, now: float) -> None:
        """Leave a list alone that refuses, or fails three times in a row."""
        self._failed += 1
        if self._failed > 2 or isinstance(error, UpstreamUnavailable):
            self.suspend(now)

    def suspend(self, now: float) -> None:
        """Leave the list alone for a while, longer each time: fetches do its work."""
        self.resting_until = now + min(_REST_MOST, _REST_SECONDS * 2 ** min(self._rests, 10))
        self._rests += 1
        self._failed = self._alarms = self._proofs = self._measured = 0
        self.stale = 0.0
        self.pages = 1

    def _accuse(self, now: float, weight: int = 1) -> None:
        self._alarms += weight
        if self._alarms > _FALSE_ALARMS:
            self.suspend(now)

    @property
    def _shortest(self) -> float:
        return max(_SHORTEST, self.pages / (_SHARE * self.calls_per_second))

    def _must_show(self, watch: Watch, now: float, *, full: bool) -> bool:
        doubtful = _FULL_SECONDS if full else _NEW_SECONDS
        return now - watch.runs_since > doubtful + max(0.0, self.stale)


def _best(price: float, asked: list[tuple[list[float], float]]) -> float:
    """Return the pause that is best as long as ends come as at these ages."""
    return float((price / sum(hazard(known, age) for known, age in asked)) ** 0.5)
