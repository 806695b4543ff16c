"""
A task: what was requested, when it runs, how it ends, and the queue and the store that hold it.

Nothing here ticks. A task stores its submit time and its running time; `TaskQueue.advance` computes
from them which task ran when, so the result is exact however rarely somebody asks.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from heapq import heappop, heappush
from typing import Literal

from gateway.sandbox.faults import End
from gateway.sandbox.models import rules_of

Size = tuple[int, int]
_TRANSPARENT = ("transparent", "透明")


@dataclass(frozen=True, slots=True)
class InputPicture:
    """
    One input picture of a submit.

    Attributes:
        kind: ``"data"`` is inline, ``"oss"`` was uploaded before, ``"url"`` is never fetched.
        sha256: Hex digest of the file; of the URL itself for ``"url"``.
        size: Width and height in pixels.
        data: The encoded file; None for ``"url"``, and where only digests are kept.
    """

    kind: Literal["data", "url", "oss"]
    sha256: str
    size: Size
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """
    The checked body of a submit, with every default filled in (reference section 1.3).

    Attributes:
        size: Width and height asked for; None leaves them to the model.
        area: What a word such as ``2K`` asks for in place of a size, in pixels.
    """

    model: str
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    images: tuple[InputPicture, ...] = ()
    n: int = 4
    size: Size | None = None
    seed: int | None = None
    prompt_extend: bool = True
    watermark: bool = False
    area: int | None = None

    @property
    def result_size(self) -> Size:
        """Width and height of the results: *size*, or like the last input picture."""
        results = rules_of(self.model).results
        shape = self.images[-1].size if self.images else (1, 1)
        if self.images and not results.obeyed:
            return results.size_like(*shape)
        if self.size:
            return results.round_size(*self.size)
        if results.unasked and not self.images:
            return results.unasked[int(self.prompt_sha256[:2], 16) % len(results.unasked)]
        return results.size_like(*shape, area=self.area)

    @property
    def transparent(self) -> bool:
        """Whether the prompt asks for a transparent picture of a model that makes some."""
        requested = any(word in self.prompt.lower() for word in _TRANSPARENT)
        return requested and rules_of(self.model).transparent

    @property
    def prompt_sha256(self) -> str:
        return sha256(self.prompt.encode()).hexdigest()

    @property
    def actual_prompt(self) -> str:
        """The prompt as a language model would extend it, if it is to."""
        if not self.prompt_extend:
            return self.prompt
        return f"{self.prompt}, natural light, fine detail"


Status = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"]

BEIJING = timezone(timedelta(hours=8))


@dataclass(slots=True, eq=False)
class SandboxTask:
    """
    One paid task. Times are seconds of the region's clock; None: not yet.

    Attributes:
        number: 0-based position in the region's order of submits.
        key: Alias of the key that submitted it, never the key.
        seconds: Running time, counted from *started*.
        end: How it ends.
        synchronous: Whether its result is the response to its submit, so that it cannot be
            queried.
        downloads: Completed downloads, by result.
    """

    id: str
    request_id: str
    number: int
    account: str
    key: str
    request: SubmitRequest
    submitted: float
    seconds: float
    end: End
    synchronous: bool = False
    started: float | None = None
    canceled: float | None = None
    downloads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.downloads = [0] * self.request.n

    @property
    def ended(self) -> float | None:
        """When it ended or will end; None while it is queued."""
        if self.canceled is not None:
            return self.canceled
        return None if self.started is None else self.started + self.seconds

    @property
    def failures(self) -> frozenset[int]:
        """0-based indices of the results that fail."""
        if self.end.status == "SUCCEEDED":
            return frozenset(self.end.images) & frozenset(range(self.request.n))
        return frozenset(range(self.request.n))

    @property
    def final_status(self) -> Status:
        """Its last status; FAILED if every result fails, whatever the script says."""
        if self.end.status == "SUCCEEDED" and len(self.failures) == self.request.n:
            return "FAILED"
        return self.end.status

    def status(self, at: float) -> Status:
        if self.canceled is not None and at >= self.canceled:
            return "CANCELED"
        if self.started is None or at < self.started:
            return "PENDING"
        return "RUNNING" if at < self.started + self.seconds else self.final_status

    def billed(self, at: float) -> int:
        """Return the number of images on the bill: the successful ones, once the task has ended."""
        return self.request.n - len(self.failures) if self.status(at) == "SUCCEEDED" else 0


def wire_time(epoch: float) -> str:
    """Format a time as DashScope does: ``2025-09-23 22:14:10.800``, Beijing time, no offset."""
    moment = datetime.fromtimestamp(epoch, UTC).astimezone(BEIJING)
    return moment.isoformat(sep=" ", timespec="milliseconds")[:23]


class TaskQueue:
    """
    The tasks of one account and model: at most *slots* run, the others wait first in, first out.

    Times are seconds of the region's clock.
    """

    def __init__(self, slots: float) -> None:
        self._slots = slots
        self._arriving: list[tuple[float, int, SandboxTask]] = []
        self._waiting: deque[SandboxTask] = deque()
        self._running: list[tuple[float, int]] = []

    def add(self, task: SandboxTask) -> None:
        """Add *task*, which arrives at its submit time; that may be in the future."""
        heappush(self._arriving, (task.submitted, task.number, task))

    def advance(self, now: float) -> list[SandboxTask]:
        """Compute all arrivals, starts and ends up to *now*; return the tasks that arrived."""
        arrived: list[SandboxTask] = []
        while True:
            arrival = self._arriving[0][0] if self._arriving else now + 1
            end = self._running[0][0] if self._running else now + 1
            if min(arrival, end) > now:
                return arrived
            if end <= arrival:
                heappop(self._running)
                self._start_waiting(end)
            else:
                task = heappop(self._arriving)[2]
                arrived.append(task)
                self._waiting.append(task)
                self._start_waiting(arrival)

    def cancel(self, task: SandboxTask, now: float) -> bool:
        """Cancel *task* if it is still waiting; return whether it was."""
        if task not in self._waiting:
            return False
        self._waiting.remove(task)
        task.canceled = now
        return True

    def _start_waiting(self, now: float) -> None:
        while self._waiting and len(self._running) < self._slots:
            task = self._waiting.popleft()
            task.started = now
            heappush(self._running, (now + task.seconds, task.number))


class TaskStore:
    """
    All tasks of a region by id, and their queues.

    Synchronous work is stored as a task that needs no slot: it runs from its submit on, even if the
    caller disconnects.

    Args:
        slots: Tasks of one account and model that run at once; None: what the model's rules say.
        kept_seconds: Life of a task after its end.
    """

    def __init__(self, slots: int | None, kept_seconds: float) -> None:
        self._slots = slots
        self._kept_seconds = kept_seconds
        self._queues: dict[tuple[str, str, bool], TaskQueue] = {}
        self._tasks: dict[str, SandboxTask] = {}
        self.created = 0

    def add(self, task: SandboxTask) -> None:
        """Add *task*; it can be found from its submit time on."""
        self.created += 1
        self._queue(task).add(task)

    def advance(self, now: float) -> None:
        """Bring every queue up to *now*."""
        for queue in self._queues.values():
            for task in queue.advance(now):
                self._tasks[task.id] = task

    def find(self, task_id: str, now: float) -> SandboxTask | None:
        """Return a task that has arrived and has not expired."""
        task = self._tasks.get(task_id)
        return None if task is None or self._expired(task, now) else task

    def listable(self, now: float) -> Iterator[SandboxTask]:
        """Yield every task that a list call may show: not synchronous, not expired."""
        return (
            task
            for task in self._tasks.values()
            if not task.synchronous and not self._expired(task, now)
        )

    def cancel(self, task: SandboxTask, now: float) -> bool:
        return self._queue(task).cancel(task, now)

    def all(self) -> list[SandboxTask]:
        """Return every task that has arrived, the expired ones too."""
        return list(self._tasks.values())

    def _queue(self, task: SandboxTask) -> TaskQueue:
        model = task.request.model
        slots = math.inf if task.synchronous else self._slots or rules_of(model).running
        key = (task.account, model, task.synchronous)
        return self._queues.setdefault(key, TaskQueue(slots))

    def _expired(self, task: SandboxTask, now: float) -> bool:
        return task.ended is not None and now >= task.ended + self._kept_seconds
