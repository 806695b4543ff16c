"""x"""

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any, Literal

from gateway.sandbox.faults import End
from gateway.sandbox.models import rules_of
from gateway.sandbox.responses import text_of

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """
    One picture as it was sent.

    Attributes:
        kind: How: inline, by a URL that the sandbox never fetches, or uploaded before.
        sha256: Hex digest of the bytes; of the URL itself for ``"url"``.
        data: The encoded file; None for ``"url"`` and where only digests are kept.
    """

    kind: Literal["data", "url", "oss"]
    sha256: str
    size: Size
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """A submit's body with every default filled in (reference section 1.3)."""

    model: str
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    images: tuple[Sent, ...] = ()
    n: int = 4
    size: Size | None = None
    seed: int | None = None
    prompt_extend: bool = True
    watermark: bool = False

    @property
    def made_size(self) -> Size:
        """Width and height of the results: as asked, or the model's area like the last picture."""
        results = rules_of(self.model).results
        if self.size:
            return results.rounded(*self.size)
        return results.like(*(self.images[-1].size if self.images else (1, 1)))

    @property
    def prompt_sha256(self) -> str:
        return sha256(self.prompt.encode()).hexdigest()

    @property
    def actual_prompt(self) -> str:
        """What the language model made of the prompt."""
        return f"{self.prompt}, natural light, fine detail"


Status = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"]

BEIJING = timezone(timedelta(hours=8))


@dataclass(slots=True, eq=False)
class Task:
    """
    One paid piece of work. Times are seconds of the region's clock; None: not yet known.

    Attributes:
        number: 0-based place in the region's order of submits.
        key: Alias of the key that submitted it, never the key.
        seconds: How long it runs once started.
        end: How it ends then.
        downloads: Answered downloads of each result.
    """

    id: str
    request_id: str
    number: int
    account: str
    key: str
    order: Order
    submitted: float
    seconds: float
    end: End
    started: float | None = None
    canceled: float | None = None
    downloads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.downloads = [0] * self.order.n

    @property
    def answers_at_once(self) -> bool:
        """Nobody can ask about it: its result is the answer to its submit."""
        return rules_of(self.order.model).answers_at_once

    @property
    def ended(self) -> float | None:
        """When it ended or will end; None while it waits."""
        if self.canceled is not None:
            return self.canceled
        return None if self.started is None else self.started + self.seconds

    @property
    def failures(self) -> frozenset[int]:
        """0-based indices of the pictures that fail."""
        if self.end.status == "SUCCEEDED":
            return frozenset(self.end.images) & frozenset(range(self.order.n))
        return frozenset(range(self.order.n))

    @property
    def final(self) -> Status:
        """Its last status; no picture at all is FAILED, whatever was scripted."""
        if self.end.status == "SUCCEEDED" and len(self.failures) == self.order.n:
            return "FAILED"
        return self.end.status

    def status(self, at: float) -> Status:
        if self.canceled is not None and at >= self.canceled:
            return "CANCELED"
        if self.started is None or at < self.started:
            return "PENDING"
        return "RUNNING" if at < self.started + self.seconds else self.final

    def billed(self, at: float) -> int:
        """Images on the bill: the successful ones of a task that ended by then."""
        return self.order.n - len(self.failures) if self.status(at) == "SUCCEEDED" else 0


def wire_time(epoch: float) -> str:
    """``2025-09-23 22:14:10.800``: Beijing time without an offset, as DashScope writes it."""
    moment = datetime.fromtimestamp(epoch, UTC).astimezone(BEIJING)
    return moment.isoformat(sep=" ", timespec="milliseconds")[:23]


def query_body(task: Task, now: float, zero: float, urls: list[str]) -> dict[str, Any]:
    """
    Say what a query says, without the ``request_id`` (reference section 3.3).

    Args:
        task: Any task of the caller.
        now: The region's clock.
        zero: Epoch of that clock's 0.
        urls: A result URL for each image.
    """
    status = task.status(now)
    output: dict[str, Any] = {"task_id": task.id, "task_status": status}
    if status == "UNKNOWN":
        return {"output": output}
    output["submit_time"] = wire_time(zero + task.submitted)
    if task.started is not None:
        output["scheduled_time"] = wire_time(zero + task.started)
    if status in {"PENDING", "RUNNING"}:
        if status == "RUNNING":
            output["task_metrics"] = {"TOTAL": task.order.n, "SUCCEEDED": 0, "FAILED": 0}
        return {"output": output}
    output["end_time"] = wire_time(zero + (task.ended or now))
    if status == "CANCELED":
        return {"output": output}
    lost = len(task.failures)
    if rules_of(task.order.model).form == "messages" and status == "SUCCEEDED":
        return _in_messages(task, output, urls)
    output["task_metrics"] = {
        "TOTAL": task.order.n,
        "SUCCEEDED": task.order.n - lost,
        "FAILED": lost,
    }
    if status == "FAILED":
        return {"output": {**output, **_failure(task.end)}}
    output["results"] = [_result(task, index, url) for index, url in enumerate(urls)]
    return {"output": output, "usage": {"image_count": task.order.n - lost}}


def _in_messages(task: Task, output: dict[str, Any], urls: list[str]) -> dict[str, Any]:
    """Say it in the newer form (section 9): no prompt, no metrics, no word of a failed picture."""
    made = [url for index, url in enumerate(urls) if index not in task.failures]
    output["finished"] = True
    output["choices"] = [
        {
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": [{"image": url, "type": "image"}]},
        }
        for url in made
    ]
    width, height = task.order.made_size
    usage = {"image_count": len(made), "size": f"{width}*{height}"}
    tokens = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return {"output": output, "usage": {**usage, **tokens}}


def _result(task: Task, index: int, url: str) -> dict[str, str]:
    if index in task.failures:
        return _failure(task.end)
    shown = {"orig_prompt": task.order.prompt}
    if task.order.prompt_extend:
        shown["actual_prompt"] = task.order.actual_prompt
    return {**shown, "url": url}


def _failure(end: End) -> dict[str, str]:
    return {"code": end.code, "message": end.message or text_of(end.code)}


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
