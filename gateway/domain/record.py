"""What the ledger keeps of an edit: enough to finish it, and digests in place of content (D11)."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.edit import Size

KEPT_SECONDS = 24 * 3600.0
"""So long DashScope keeps tasks and pictures, and the ledger its records (dashscope.md 4.1)."""


class EditState(StrEnum):
    """See docs/ledger.md for the diagram."""

    OPEN = "open"
    """At least one of its tasks is not settled."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DROPPED = "dropped"
    """Ended without a task: nothing was paid, nothing is owed."""


class TaskState(StrEnum):
    SUBMITTING = "submitting"
    """A submit was intended: bytes may have left. After a death: uncertain."""
    ACCEPTED = "accepted"
    """DashScope gave a task id: from here on it may cost money."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One submit of one part of an edit."""

    part: int
    n: int
    upstream: str
    account: str
    state: TaskState
    intended_at: float
    """
    Epoch seconds by upstream's clock, as far as it was known: the start of the window in
    which the task may have been made.
    """
    seed: int | None = None
    task_id: str | None = None
    outcome: str | None = None
    """A TaskStatus in lower case, once ENDED."""
    key_id: str | None = None
    """Of the key that submitted it; ``None`` if an older version wrote the record."""
    base_url: str | None = None
    """Of the region that it was submitted to; ``None`` as above."""
    attempt: str = ""
    """Of the intent; empty as above. A later write about it changes no other attempt's row."""


@dataclass(frozen=True, slots=True)
class StrayTask:
    """A task that was accepted when its part was of another attempt, or gone."""

    edit_id: str
    part: int
    upstream: str
    task_id: str


@dataclass(frozen=True, slots=True)
class EditRecord:
    """One edit; no picture, no prompt, no URL."""

    edit_id: str
    tenant: str
    region: str
    digest: str
    prompt_digest: str
    model: str
    n: int
    response_format: str
    output_format: str
    created: float
    """Epoch seconds."""
    state: EditState = EditState.OPEN
    idempotency_key: str | None = None
    ignored: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    compression: int | None = None
    scale_to: Size | None = None
    composite: bool = False
    delivered: bool = False
    promised: bool = False
    """A client got a 202: the next process submits it, if need be."""
    error_code: str | None = None
    error_message: str | None = None
    """Of a FAILED edit, as the client got it."""
    error_kind: str | None = None
    """The class of the error, in gateway.domain.errors."""
    error_retry: bool = False
    prompt_forms: str = ""
    """Digests of what upstream may make of the prompt; see gateway.edits.digest."""
    tasks: tuple[TaskRecord, ...] = field(default=())
