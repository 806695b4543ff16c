"""The phases of an edit: every second of it is in exactly one of them."""

from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """In the order in which an edit goes through them."""

    READ = "read"
    QUEUE = "queue"
    SUBMIT = "submit"
    UPSTREAM_PENDING = "upstream_pending"
    UPSTREAM_RUNNING = "upstream_running"
    DETECTION = "detection"
    DOWNLOAD = "download"
    RESPOND = "respond"


@dataclass(slots=True)
class Phases:
    """
    A stopwatch that is always in one phase, so that the phases add up to the whole.

    Times are seconds of one monotonic clock.
    """

    started: float
    phase: Phase = Phase.READ
    _since: float = field(default=-1.0)
    _spent: dict[Phase, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._since = self.started

    def enter(self, phase: Phase, now: float) -> None:
        """Close the running phase at *now* and begin *phase*."""
        self._spent[self.phase] = self._spent.get(self.phase, 0.0) + max(0.0, now - self._since)
        self.phase = phase
        self._since = now

    def move(self, source: Phase, target: Phase, seconds: float) -> None:
        """Say that *seconds* of *source* belonged to *target*: upstream's clock told us later."""
        moved = min(max(0.0, seconds), self._spent.get(source, 0.0))
        self._spent[source] = self._spent.get(source, 0.0) - moved
        self._spent[target] = self._spent.get(target, 0.0) + moved

    def spent(self, now: float) -> dict[Phase, float]:
        """Return seconds by phase, the running one up to *now*."""
        spent = dict(self._spent)
        spent[self.phase] = spent.get(self.phase, 0.0) + max(0.0, now - self._since)
        return {phase: spent[phase] for phase in Phase if phase in spent}
