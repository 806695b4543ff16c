"""One task: what was asked, when it runs, how it ends, and what a query says about it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from gateway.sandbox.answers import text_of
from gateway.sandbox.faults import End
from gateway.sandbox.models import rules_of
from gateway.sandbox.order import Order

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
