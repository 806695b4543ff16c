"""
The schedule of one account: who runs, who waits, computed exactly from submit times and lengths.

Nothing ticks. `settle` plays all arrivals and ends up to a point in time in their order, so a task
started in the place of one that ended at 12.3 s starts at 12.3 s, whenever anybody looks.
"""

from collections import deque
from heapq import heappop, heappush

from gateway.sandbox.task import Task


class Lane:
    """
    At most *running* tasks of one account at once; the rest waits in order of submission.

    Times are seconds of the region's clock.
    """

    def __init__(self, running: float) -> None:
        self._places = running
        self._arriving: list[tuple[float, int, Task]] = []
        self._waiting: deque[Task] = deque()
        self._running: list[tuple[float, int]] = []

    def join(self, task: Task) -> None:
        """Let *task* arrive at its submit time, which may lie ahead."""
        heappush(self._arriving, (task.submitted, task.number, task))

    def settle(self, now: float) -> list[Task]:
        """Play everything that happened up to *now*; give the tasks that arrived."""
        arrived: list[Task] = []
        while True:
            arrival = self._arriving[0][0] if self._arriving else now + 1
            end = self._running[0][0] if self._running else now + 1
            if min(arrival, end) > now:
                return arrived
            if end <= arrival:
                heappop(self._running)
                self._fill(end)
            else:
                task = heappop(self._arriving)[2]
                arrived.append(task)
                self._waiting.append(task)
                self._fill(arrival)

    def cancel(self, task: Task, now: float) -> bool:
        """Take *task* out of the line; False if it does not wait any more."""
        if task not in self._waiting:
            return False
        self._waiting.remove(task)
        task.canceled = now
        return True

    def _fill(self, now: float) -> None:
        while self._waiting and len(self._running) < self._places:
            task = self._waiting.popleft()
            task.started = now
            heappush(self._running, (now + task.seconds, task.number))
