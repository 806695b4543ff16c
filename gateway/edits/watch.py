"""The tasks that are looked after, in the order in which upstream runs them."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.domain.trace import UNTRACED, Trace
from gateway.polling.schedule import Kind


@dataclass(slots=True, eq=False)
class Watch:
    """One task that is looked after until its end. Times are on the monotonic clock."""

    upstream: Upstream
    task_id: str
    kind: Kind
    since: float
    """When it was accepted."""
    ended: "asyncio.Future[Task]"
    runs_since: float = 0.0
    """When it began to run, as far as we know."""
    ended_at: float = 0.0
    status: TaskStatus = TaskStatus.PENDING
    polls: int = 0
    missed: int = 0
    unknown: int = 0
    plan: int = 0
    """The number of its valid entry in the poller's plan; older ones are void."""
    demand: float = 0.0
    """Fetches a second that its last pause amounts to."""
    looking: bool = False
    """A fetch is under way."""
    listed_at: float = 0.0
    """When the last look began that saw it running in the list; 0: none yet."""
    missing_at: float = 0.0
    """When the look began that missed it there, for which it is being fetched; 0: none."""
    overtaken: bool = False
    """The list missed it while a fetch was under way, so that what this finds is no news."""
    alarms: int = 0
    """How often in a row the list missed it though it had not ended."""
    spared_until: float = 0.0
    """Until then the list is not believed about it."""
    timed_out: bool = False
    """It ran for longer than upstream lets any run, and is not waited for any more."""
    ours: Callable[[Task], bool] = lambda _: True
    """Says whether what was fetched can be of this task; else the fetch has failed."""
    trace: Trace = UNTRACED
    """Told of each fetch."""
    part: int = 0


class Watches:
    """
    All watches of an account. By order of submission the first *slots* may be running.

    The rest wait as PENDING: an end moves the next one up, and so does seeing it run.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.running: dict[str, Watch] = {}
        """Those that may be running, by task id."""
        self.behind: dict[str, Watch] = {}

    def __iter__(self) -> Iterator[Watch]:
        yield from self.running.values()
        yield from self.behind.values()

    def add(self, watch: Watch) -> None:
        room = len(self.running) < self._slots and not self.behind
        (self.running if room else self.behind)[watch.task_id] = watch

    def remove(self, watch: Watch) -> Watch | None:
        """Forget *watch*; return the one that takes its place among those that may run."""
        self.behind.pop(watch.task_id, None)
        self.running.pop(watch.task_id, None)
        if not self.behind or len(self.running) >= self._slots:
            return None
        successor = next(iter(self.behind.values()))
        self.promote(successor)
        return successor

    def promote(self, watch: Watch) -> None:
        """Count *watch* among those that may run."""
        if self.behind.pop(watch.task_id, None) is not None:
            self.running[watch.task_id] = watch
