"""DashScope's tasks and task lists, as plain values."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.edit import Size
from gateway.domain.errors import GatewayError


class TaskStatus(StrEnum):
    """DashScope's own values (dashscope.md 3.1)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a submit: from here on the task may cost money."""

    task_id: str
    request_id: str
    task: "Task | None" = None
    """The result of a model without tasks; *task_id* is then derived from the request id."""


@dataclass(frozen=True, slots=True)
class ResultImage:
    """One picture that a task made."""

    url: str = field(repr=False)
    """Signed; valid for 24 h; never logged, and stored only for models without tasks."""
    size: Size | None = None
    """In pixels, where the task says so."""
    prompt: str = field(default="", repr=False)
    """What DashScope made of the prompt, where it rewrote it and says so."""
    extended: bool = False
    """Whether it was asked to rewrite it; kept, since some models charge more for that."""


@dataclass(frozen=True, slots=True)
class Times:
    """Upstream's own clock, in seconds since the epoch; ``None`` where it did not say."""

    submitted: float | None = None
    scheduled: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as one fetch returned it."""

    task_id: str
    status: TaskStatus
    results: tuple[ResultImage | GatewayError, ...] = ()
    """In order, of a SUCCEEDED task: a picture, or why there is none."""
    fault: GatewayError | None = None
    """Why a FAILED, CANCELED or UNKNOWN task made nothing."""
    times: Times = Times()
    orig_prompt: str | None = field(default=None, repr=False)
    """The prompt as submitted; only SUCCEEDED tasks have it."""
    inputs: int | None = None
    """Pictures put in, where it says how many are billed."""
    request_id: str = ""

    @property
    def inconclusive(self) -> bool:
        """Whether it has ended without a reason or result, which may be transient (D22)."""
        if self.status is TaskStatus.UNKNOWN:
            return True
        return self.status is TaskStatus.SUCCEEDED and not any(
            isinstance(result, ResultImage) or result.upstream_code for result in self.results
        )

    @property
    def faults(self) -> tuple[GatewayError, ...]:
        """All errors, of the task and of its pictures."""
        errors = (self.fault, *self.results)
        return tuple(error for error in errors if isinstance(error, GatewayError))

    @property
    def images(self) -> tuple[ResultImage, ...]:
        return tuple(result for result in self.results if isinstance(result, ResultImage))


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One row of the task list: no prompt, no pictures."""

    task_id: str
    status: TaskStatus
    model: str
    created: float
    """Seconds since the epoch, by upstream's clock."""


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of the task list; its order and page size are upstream's."""

    rows: tuple[TaskRow, ...]
    total: int
    pages: int
