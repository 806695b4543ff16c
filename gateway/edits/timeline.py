"""Which phase an edit was in, since when: written once for all of its clients."""

from gateway.domain.clock import Phase, Phases
from gateway.domain.task import Times

_ORDER = list(Phase)


class Timeline:
    """The phases of an edit by its furthest part; times are monotonic seconds."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, Phase]] = []

    @property
    def marks(self) -> tuple[tuple[float, Phase], ...]:
        """When each phase was entered, in order."""
        return tuple(self._marks)

    def enter(self, phase: Phase, at: float) -> None:
        """Note that the furthest part entered *phase*; one that is behind it changes nothing."""
        if not self._marks or _ORDER.index(phase) > _ORDER.index(self._marks[-1][1]):
            self._marks.append((at, phase))

    def split_by_upstream(self, times: Times, *, accepted: float, now: float) -> None:
        """
        Split what was seen as one wait for a task into pending and running.

        Args:
            times: Upstream's own clock of the task; only its differences count.
            accepted: When the task was accepted.
            now: When its end was seen.
        """
        if times.submitted is None or times.scheduled is None:
            return
        pending = max(0.0, min(now - accepted, times.scheduled - times.submitted))
        self._marks = [mark for mark in self._marks if mark[1] is not Phase.UPSTREAM_RUNNING]
        self.enter(Phase.UPSTREAM_PENDING, accepted)
        self.enter(Phase.UPSTREAM_RUNNING, accepted + pending)

    def end(self, *, ended: float, now: float) -> None:
        """Note that the last task ended at *ended*, and that this was seen now."""
        self.enter(Phase.DETECTION, max(ended, self._marks[-1][0]))
        self.enter(Phase.DOWNLOAD, now)

    def replay(self, phases: Phases, *, since: float, now: float) -> None:
        """Write into a client's own stopwatch the phases that went by since it came."""
        current = Phase.QUEUE
        for at, phase in self._marks:
            if at <= since:
                current = phase
        phases.enter(current, since)
        for at, phase in self._marks:
            if since < at <= now:
                phases.enter(phase, at)
