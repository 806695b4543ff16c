"""What gateway.edits asks of the world around it; the app hands in who answers."""

from collections.abc import Collection, Mapping
from typing import Protocol

from gateway.domain.edit import Edit, MaskSource, OutputOptions, Part, Picture
from gateway.domain.errors import GatewayError
from gateway.domain.phases import Phase
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.task import Accepted, ResultImage, Task, TaskPage, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.request import Incoming


class DashScope(Protocol):
    """The far side; gateway.upstream.dashscope answers it."""

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """Return *pictures* as they go into the submit: bring up what is too big for it."""
        ...

    async def submit(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> Accepted:
        """
        Start a task, or, with a model without tasks, have the pictures made at once.

        Never repeated in here: it may cost money.

        Raises:
            UpstreamUnreachable: no byte was sent.
            SubmitUncertain: a byte may have arrived and no clear answer came back
                (timeout, cut, 5xx, 2xx without a task id or pictures).
            GatewayError: any other: DashScope refused, nothing was made.
        """
        ...

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        """
        Ask after one task; harmless to repeat.

        Raises:
            GatewayError: no answer, or one that says nothing about the task
                (Throttled for 429, UpstreamUnavailable for a refused key).
        """
        ...

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        """Return whether a PENDING task was cancelled; False once it runs or has ended."""
        ...

    async def tasks(
        self,
        upstream: Upstream,
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        """
        List the account's tasks of a window of at most 24 h, in epoch seconds.

        Raises:
            GatewayError: as fetch.
        """
        ...

    def clock_known(self, region: str) -> bool:
        """Return whether the region has answered this process yet: any answer tells its time."""
        ...

    def clock_offset(self, region: str) -> float:
        """Return upstream's clock minus ours, in seconds, by its ``Date`` headers; 0 if unknown."""
        ...

    async def open(self, upstream: Upstream, url: str) -> bytes | Incoming:
        """
        Begin to bring one result picture home; what is not bytes is to be closed.

        Raises:
            ResultUnavailable: not allowed, not there, not a picture.
        """
        ...

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """
        Bring one result picture home, checked by signature and length.

        Raises:
            ResultUnavailable: not allowed, not there, cut short, not a picture.
        """
        ...


class Observer(Protocol):
    """Who counts; gateway.observe.metrics answers it. Nothing here may raise."""

    def edit_begun(self, tenant: str, region: str, model: str) -> None: ...
    def queued(self, region: str, tenant: str, change: int) -> None: ...
    def queue_waited(self, region: str, seconds: float) -> None: ...
    def queue_rejected(self, tenant: str, reason: str) -> None: ...
    def task_state(self, region: str, leaves: str | None, enters: str | None) -> None:
        """States: submitting, pending, running, downloading."""
        ...

    def task_ended(
        self, tenant: str, region: str, model: str, outcome: str, seconds: float
    ) -> None:
        """Outcomes: succeeded, partial, failed, canceled, timed_out, lost."""
        ...

    def task_failed(self, region: str, model: str, error: GatewayError) -> None: ...
    def phases_spent(self, region: str, model: str, spent: Mapping[Phase, float]) -> None: ...
    def end_detected(self, region: str, model: str, lag: float) -> None: ...
    def polls_spent(self, region: str, polls: int) -> None: ...
    def poll_budget_used(self, account: str, ratio: float) -> None: ...
    def upstream_throttled(self, region: str, operation: str) -> None: ...
    def upstream_key(self, region: str, upstream: str, *, up: bool) -> None: ...
    def pictures(self, tenant: str, region: str, model: str, disposition: str, n: int) -> None:
        """Dispositions: delivered, undelivered, failed."""
        ...

    def undelivered(self, reason: str) -> None: ...
    def recovered(self, how: str) -> None: ...
    def duplicate_prevented(self, how: str) -> None:
        """How: retry_joined, in_flight_joined, key_replayed, ambiguous_found."""
        ...

    def idempotency(self, result: str) -> None:
        """Results: new, joined, replayed, conflict."""
        ...


class Tell(Protocol):
    """Who writes one warning for the operator: what happened, and what to do."""

    def __call__(self, event: str, /, **said: str | float) -> None: ...


def say_nothing(_event: str, /, **_said: str | float) -> None:
    """Answer Tell where nobody reads."""


class Room(Protocol):
    """Memory for the pictures of one answer; gateway.downstream.memory_budget answers it."""

    def begin(self) -> bool:
        """Take what a picture needs, if there is room for it; return whether there was."""
        ...

    def hold(self, n: int) -> None:
        """Hold *n* bytes in place of what was taken: they are there."""
        ...

    def release(self) -> None: ...


class Spooled(Protocol):
    """Pictures of an edit that waits, out of memory."""

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return them; may be asked again.

        Raises:
            LedgerUnavailable: they are not given back.
        """
        ...

    def close(self) -> None: ...


class Spool(Protocol):
    """Where pictures of waiting edits lie; gateway.ledger.spool answers it."""

    async def put(self, pictures: tuple[Picture, ...]) -> Spooled | None:
        """Take *pictures*, or ``None``: they stay in memory."""
        ...


class PromisedEdits(Protocol):
    """
    What it takes to submit edits whose clients were told 202; gateway.ledger answers it.

    As durable as the ledger. Each call raises LedgerUnavailable when it cannot be done.
    """

    async def put(self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]) -> Spooled:
        """Keep *edit*, prompt and all, and its pictures; closing what is returned forgets them."""
        ...

    async def get(self, edit_id: str) -> tuple[Edit, Spooled] | None:
        """Return what this or another process kept of an edit, if it is still there."""
        ...

    async def drop(self, *edit_ids: str) -> None:
        """Forget what is kept of these; harmless where there is nothing."""
        ...

    async def kept(self) -> list[str]:
        """Return the id of every edit of which something is kept."""
        ...


class Ledger(Protocol):
    """
    The memory that outlives us; gateway.ledger answers it.

    Each call returns when its write is as durable as configured. It raises
    LedgerUnavailable when it is not.
    """

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        """
        Keep *edit* (again) and that *task* is about to be submitted.

        When it raises LedgerUnavailable it may be kept all the same.

        Raises:
            LedgerConflict: the edit has ended; nothing was written.
        """
        ...

    async def accept(self, edit_id: str, part: int, upstream: str, task_id: str) -> None:
        """
        Keep the task of a part; one that has ended stays so.

        Raises:
            LedgerConflict: another part has this task; nothing was written.
        """
        ...

    async def promise(self, edit: EditRecord) -> None:
        """Keep *edit*, or mark the row of it that there is: a 202 is about to be told."""
        ...

    async def void(self, edit_id: str, part: int) -> None:
        """Forget an intent, if it is one still: it is certain that no task was made."""
        ...

    async def end_task(self, edit_id: str, part: int, outcome: str) -> None: ...
    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None: ...
    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        """Note that its answer, or its doubtful end, left *ago* seconds ago; the last counts."""
        ...

    async def find(self, edit_id: str) -> EditRecord | None: ...
    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        """Return the youngest edit of that key that can be joined or replayed."""
        ...

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        """
        Return the edit of this content, without a key, whose answer left last.

        It left at most *within* seconds ago, by a clock that no step of the calendar moves.

        One that ended and was not delivered counts, and a doubtful end is an answer.
        """
        ...

    async def owed(self) -> list[EditRecord]:
        """
        Return every edit that somebody may still come for.

        Those that are open and have a task or were promised; those that succeeded, or failed
        with a doubtful error, and are not delivered.
        """
        ...

    async def known(self, task_ids: Collection[str]) -> set[str]:
        """Return those of *task_ids* that belong to an edit of ours."""
        ...


class MaskSources(Protocol):
    """
    The originals and masks of masked edits, as durable as the ledger; gateway.ledger answers it.

    Each call raises LedgerUnavailable when it cannot be done.
    """

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        """Keep *mask_source*; to do it again is harmless."""
        ...

    async def get(self, edit_id: str) -> MaskSource | None: ...
    async def drop(self, *edit_ids: str) -> None:
        """Forget what is kept of these; harmless where there is nothing."""
        ...

    async def kept(self) -> list[str]:
        """Return the id of every edit of which something is kept."""
        ...


class ResultUrls(Protocol):
    """
    Where the pictures lie of models without tasks, which tell it only once.

    As durable as the ledger, whose users may not see a signed URL; gateway.ledger answers it.
    Each call raises LedgerUnavailable when it cannot be done.
    """

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        """Keep where one part's pictures lie; to do it again is harmless."""
        ...

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None: ...
    async def drop(self, *edit_ids: str) -> None:
        """Forget what is kept of these; harmless where there is nothing."""
        ...

    async def kept(self) -> list[str]:
        """Return the id of every edit of which something is kept."""
        ...


class Finisher(Protocol):
    """Who makes of DashScope's picture what was asked for; gateway.imaging answers it."""

    def is_finished(self, head: bytes, form: OutputOptions) -> bool:
        """Tell by its first bytes whether a picture is as *form* says, so that it may pass."""
        ...

    async def finish(
        self, picture: bytes, form: OutputOptions, kept: MaskSource | None, tenant: str
    ) -> bytes:
        """
        Return *picture* scaled, laid into the original of *kept*, and encoded, as *form* says.

        Raises:
            ResultUnavailable: *picture* cannot be read.
        """
        ...
