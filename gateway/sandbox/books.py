"""The books: every task that was made, and how often each operation was called."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.sandbox.lane import Lane
from gateway.sandbox.task import Task


class Books:
    """
    All tasks of a region by id, the accounts' lanes, and the counters.

    Work that is answered at once is booked as a task that needs no place: it runs from its submit
    on, whether or not somebody still waits for the answer.

    Counters are named ``operation.event``: ``submit.received``, ``submit.refused``,
    ``submit.throttled``, ``query.received`` and so on.
    """

    def __init__(self, running: int, kept_seconds: float) -> None:
        self._running = running
        self._kept_seconds = kept_seconds
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._tasks: dict[str, Task] = {}
        self.counts: Counter[str] = Counter()
        self.made = 0

    def enter(self, task: Task) -> None:
        """Book *task*; it can be seen from its submit time on."""
        self.made += 1
        self._lane(task).join(task)

    def settle(self, now: float) -> None:
        """Bring every lane up to *now*."""
        for lane in self._lanes.values():
            for task in lane.settle(now):
                self._tasks[task.id] = task

    def find(self, task_id: str, now: float) -> Task | None:
        """Find a task that is not older than 24 h past its end."""
        task = self._tasks.get(task_id)
        return None if task is None or self._expired(task, now) else task

    def listed(self, now: float) -> Iterator[Task]:
        """Give every task that can be asked about and is not older than 24 h past its end."""
        return (
            task
            for task in self._tasks.values()
            if not task.answers_at_once and not self._expired(task, now)
        )

    def cancel(self, task: Task, now: float) -> bool:
        return self._lane(task).cancel(task, now)

    def show(self, now: float, zero: float) -> dict[str, Any]:
        """
        Show everything, the expired tasks too: what chaos runs and benchmarks count in.

        Times are epoch seconds; *zero* is the epoch of the clock's 0.
        """
        rows = [_row(task, now, zero) for task in self._tasks.values()]
        return {
            "counts": dict(sorted(self.counts.items())),
            "tasks_made": len(rows),
            "images_billed": sum(row["images_billed"] for row in rows),
            "downloads": sum(sum(row["downloads"]) for row in rows),
            "tasks": rows,
        }

    def _lane(self, task: Task) -> Lane:
        places = math.inf if task.answers_at_once else self._running
        return self._lanes.setdefault((task.account, task.order.model), Lane(places))

    def _expired(self, task: Task, now: float) -> bool:
        return task.ended is not None and now >= task.ended + self._kept_seconds


def _row(task: Task, now: float, zero: float) -> dict[str, Any]:
    ended = task.ended
    return {
        "task_id": task.id,
        "request_id": task.request_id,
        "number": task.number,
        "account": task.account,
        "key": task.key,
        "model": task.order.model,
        "answers_at_once": task.answers_at_once,
        "prompt": task.order.prompt,
        "prompt_sha256": task.order.prompt_sha256,
        "inputs": [sent.kind for sent in task.order.images],
        "inputs_sha256": [sent.sha256 for sent in task.order.images],
        "n": task.order.n,
        "size": list(task.order.size) if task.order.size else None,
        "seed": task.order.seed,
        "submit_time": zero + task.submitted,
        "start_time": None if task.started is None else zero + task.started,
        "end_time": None if ended is None or ended > now else zero + ended,
        "status": task.status(now),
        "images_billed": task.billed(now),
        "downloads": list(task.downloads),
    }
