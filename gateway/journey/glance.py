"""One list call in place of many fetches: when it pays, and what it tells."""

import random
from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.domain.task import TaskRow, TaskStatus
from gateway.journey.schedule import Durations, hazard
from gateway.journey.watch import Watch

# By benchmarks/polling.py: a list call is worth 0.05 s of lag; below half a second it buys little.
_KAPPA = 0.05
_SHORTEST, _LONGEST = 0.47, 5.0
_PAYS_FROM = 3  # running tasks a page; below, fetches see as much for as many calls
_STALE_SECONDS = 1.0
_REST_SECONDS = 60.0
_SAMPLE = 200


@dataclass(slots=True)
class Glances:
    """What is known of an account's task list, and when to look at it next."""

    pages: int = 1
    """That the running tasks filled last time."""
    stale: float = 0.0
    """Seconds by which the list lags behind the tasks, smoothed."""
    resting_until: float = 0.0
    """Monotonic: until then the list is not asked, since it refused or did not help."""
    refusals: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def pay(self, running: int, now: float) -> bool:
        """Say whether one look at the list tells more than the fetches that it replaces."""
        return now >= self.resting_until and running >= _PAYS_FROM * self.pages

    def pause(self, watches: Collection[Watch], durations: Durations, now: float) -> float:
        """
        Return the seconds until the next look, by how many ends are expected a second.

        A pause of sqrt(2kp/h) makes the sum of calls and lag least, for p pages and h ends
        a second; it is the rule of schedule.pause for all tasks at once.
        """
        asked = list(watches)
        if len(asked) > _SAMPLE:
            asked = self._random.sample(asked, _SAMPLE)
        rate = sum(hazard(durations.known(w.kind), now - w.since) for w in asked)
        rate *= len(watches) / max(1, len(asked))
        if rate <= 0:
            return _LONGEST if not watches else 1.0
        return float(
            min(_LONGEST, max(_SHORTEST * self.pages, (2 * _KAPPA * self.pages / rate) ** 0.5))
        )

    def read(
        self, rows: Collection[TaskRow], watches: Collection[Watch], slots: int, now: float
    ) -> list[Watch]:
        """
        Return the watches to fetch now: those that ran and are gone from the RUNNING rows.

        A task that was never seen running may be pending, or so quick that no look met it:
        it is fetched when slots are free, so that nothing should be pending.
        """
        running = {row.task_id for row in rows if row.status is TaskStatus.RUNNING}
        free = len(running) < slots
        gone = []
        for watch in watches:
            if watch.task_id in running:
                watch.seen_running = True
            elif now >= watch.spared_until and (
                watch.seen_running or (free and self._old(watch, now))
            ):
                gone.append(watch)
        return gone

    def confirmed(self, watch: Watch, lag: float | None, now: float) -> None:
        """Learn from a fetch: *lag* is the age of the end that it saw, ``None``: it still runs."""
        if lag is None:
            watch.spared_until = now + 2.0 + self.stale
            return
        self.stale += 0.2 * (max(0.0, lag - _SHORTEST) - self.stale)
        if self.stale > _STALE_SECONDS:
            self.stale, self.resting_until = 0.0, now + _REST_SECONDS

    def refused(self, now: float) -> None:
        """Leave the list alone for a while, longer each time: fetches do its work."""
        self.refusals += 1
        self.resting_until = now + min(600.0, _REST_SECONDS * 2 ** (self.refusals - 1))

    def _old(self, watch: Watch, now: float) -> bool:
        return now - watch.since > 1.5 + self.stale
