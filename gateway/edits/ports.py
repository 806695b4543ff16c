"""What gateway.edits needs of the rest of the gateway; the app hands in what implements it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.clock import Clock, Phase
from gateway.domain.edit import Edit, MaskSource, OutputOptions, Part, Picture, Size
from gateway.domain.ended import EndedEdit
from gateway.domain.errors import GatewayError
from gateway.domain.intent import Intent
from gateway.domain.models import ModelTable
from gateway.domain.price import Bill
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.task import Accepted, ResultImage
from gateway.domain.tenant import Upstream
from gateway.edits.request import IncomingPicture, KeptResult
from gateway.polling.loop import PollObserver, TaskCalls


class DashScope(TaskCalls, Protocol):
    """DashScope's API; gateway.upstream.dashscope implements it."""

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """Return *pictures* as they go into the submit; one that is too big for it is uploaded."""
        ...

    async def submit(
        self,
        upstream: Upstream,
        edit: Edit,
        part: Part,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted:
        """
        Start a task; with a model without tasks, make the pictures.

        It may cost money, so the implementation never repeats it. The last byte leaves within
        the time of *intent*.

        Raises:
            IntentExpired: the request was left unfinished; nothing was made.
            UpstreamUnreachable: no byte was sent.
            SubmitUncertain: a byte may have arrived and no clear answer came back
                (timeout, cut, 5xx, 2xx without a task id or pictures).
            GatewayError: DashScope refused, and nothing was made.
        """
        ...

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        """Return whether a PENDING task was cancelled; False once it runs or has ended."""
        ...

    def clock_known(self, region: str) -> bool:
        """Return whether the region has answered this process yet: any answer has its time."""
        ...

    async def open(self, upstream: Upstream, url: str) -> bytes | IncomingPicture:
        """
        Start to download a result picture. The caller closes a result that is not bytes.

        Raises:
            ResultUnavailable: not allowed, not there, not a picture.
        """
        ...

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """
        Download a result picture, checked by signature and length.

        Raises:
            ResultUnavailable: not allowed, not there, cut short, not a picture.
        """
        ...


class Observer(PollObserver, Protocol):
    """Counts events; gateway.observe.metrics implements it. No method raises."""

    def edit_begun(self, tenant: str, region: str, model: str) -> None: ...
    def queued(self, region: str, tenant: str, change: int) -> None: ...
    def queue_waited(self, region: str, seconds: float) -> None: ...
    def queue_rejected(self, tenant: str, reason: str) -> None: ...
    def task_ended(
        self, tenant: str, region: str, model: str, outcome: str, seconds: float
    ) -> None:
        """Outcomes: succeeded, partial, failed, canceled, timed_out, lost."""
        ...

    def task_failed(self, region: str, model: str, error: GatewayError) -> None: ...
    def phases_spent(self, region: str, model: str, spent: Mapping[Phase, float]) -> None: ...
    def end_detected(self, region: str, model: str, lag: float) -> None: ...
    def polls_spent(self, region: str, polls: int) -> None: ...
    def upstream_key(self, region: str, upstream: str, *, up: bool) -> None: ...
    def pictures(self, tenant: str, region: str, model: str, disposition: str, n: int) -> None:
        """Dispositions: delivered, undelivered, failed."""
        ...

    def task_billed(self, tenant: str, region: str, model: str, bill: Bill) -> None:
        """Called once for a task that made pictures, when it has ended."""
        ...

    def undelivered(self, reason: str) -> None: ...
    def intent_expired(self, region: str) -> None: ...
    def stray_task(self, region: str) -> None: ...
    def recovered(self, how: str) -> None: ...
    def duplicate_prevented(self, how: str) -> None:
        """How: retry_joined, in_flight_joined, key_replayed, ambiguous_found."""
        ...

    def idempotency(self, result: str) -> None:
        """Results: new, joined, replayed, conflict."""
        ...


class Notify(Protocol):
    """Writes a warning for the operator: what happened, and what to do."""

    def __call__(self, event: str, /, **details: str | float) -> None: ...


def ignore_warning(_event: str, /, **_details: str | float) -> None:
    """Implement Notify by doing nothing."""


def ignore_end(_edit: EndedEdit, /) -> None:
    """Implement Ports.ended by doing nothing."""


class PictureMemory(Protocol):
    """Memory for the pictures of one answer; gateway.downstream.memory_budget implements it."""

    def begin(self) -> bool:
        """Reserve memory for a picture; return whether there was enough."""
        ...

    def hold(self, n: int) -> None:
        """Replace the reservation by the *n* bytes that have arrived."""
        ...

    def release(self) -> None: ...


class Spooled(Protocol):
    """The pictures of a queued edit, on the disk."""

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; may be called again.

        Raises:
            LedgerUnavailable: they cannot be read.
        """
        ...

    def close(self) -> None: ...


class Spool(Protocol):
    """Keeps the pictures of queued edits; gateway.ledger.spool implements it."""

    async def put(self, pictures: tuple[Picture, ...]) -> Spooled | None:
        """Store *pictures*; return ``None`` if they stay in memory."""
        ...


class PromisedEdits(Protocol):
    """
    Edits that were accepted with 202 and are not submitted yet; gateway.ledger implements it.

    As durable as the ledger. Every method raises LedgerUnavailable if it fails.
    """

    async def put(self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]) -> Spooled:
        """Store *edit*, its prompt included, and its pictures; closing the result deletes them."""
        ...

    async def get(self, edit_id: str) -> tuple[Edit, Spooled] | None:
        """Return what this or an earlier process stored, if it is still there."""
        ...

    async def drop(self, *edit_ids: str) -> None:
        """Delete what is stored for these edits, if anything."""
        ...

    async def list_ids(self) -> list[str]:
        """Return the id of every edit for which something is stored."""
        ...


class Ledger(Protocol):
    """
    The records of edits and tasks, which outlive the process; gateway.ledger implements it.

    A method returns once its write is as durable as configured, and raises LedgerUnavailable
    if that fails.
    """

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        """
        Store *edit* (again), and that *task* is about to be submitted.

        After LedgerUnavailable it may be stored all the same.

        Raises:
            LedgerConflict: the edit has ended; nothing was written.
            TaskFoundError: the part has a task already, perhaps one that was accepted
                late. If the upstream of *task* made it, the part has it now; else no task was
                stored, and an intent for the upstream that made it stores it.
        """
        ...

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        """
        Store the task id of a part; an ended task stays ended.

        Returns:
            Whether the part still is of that attempt. Otherwise the task was kept as a stray:
            whoever intends the part next gets it.

        Raises:
            LedgerConflict: another part has this task; nothing was written.
        """
        ...

    async def promise(self, edit: EditRecord) -> None:
        """
        Store *edit*, or mark its row: a 202 is about to be sent.

        After any exception, a cancellation included, it may be stored all the same.
        """
        ...

    async def unpromise(self, edit_id: str) -> None:
        """Take back what ``promise`` stored before: no 202 was sent."""
        ...

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        """
        Delete the intent of that attempt, unless it was accepted.

        It is certain that it made no task.
        """
        ...

    async def end_task(
        self, edit_id: str, part: int, outcome: str, *, attempt: str = ""
    ) -> None: ...
    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None: ...
    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        """Store that the result or an uncertain end was sent *ago* seconds ago."""
        ...

    async def find(self, edit_id: str) -> EditRecord | None: ...
    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        """Return the newest edit of this key that can be joined or replayed."""
        ...

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        """
        Return the edit of this content, without a key, whose result was sent last.

        It was sent at most *within* seconds ago, by a monotonic clock, or was not sent at all.
        An uncertain end counts as a result.
        """
        ...

    async def owed(self) -> list[EditRecord]:
        """
        Return every edit that a client may still ask for, the oldest first.

        These are open edits with a task or a promise, and undelivered edits that succeeded or
        ended with an uncertain error.
        """
        ...

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        """Return those of *task_ids* that belong to an edit in the ledger, strays included."""
        ...


class MaskSources(Protocol):
    """
    The originals and masks of masked edits; gateway.ledger implements it.

    As durable as the ledger. Every method raises LedgerUnavailable if it fails.
    """

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        """Store *mask_source*; idempotent."""
        ...

    async def get(self, edit_id: str) -> MaskSource | None: ...
    async def drop(self, *edit_ids: str) -> None:
        """Delete what is stored for these edits, if anything."""
        ...

    async def list_ids(self) -> list[str]:
        """Return the id of every edit for which something is stored."""
        ...


class ResultUrls(Protocol):
    """
    Result URLs of synchronous models, which cannot be looked up again.

    gateway.ledger implements it, as durable as the ledger but apart from it: readers of the
    ledger must not see a signed URL. Every method raises LedgerUnavailable if it fails.
    """

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        """Store the result URLs of a part; idempotent."""
        ...

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None: ...
    async def drop(self, *edit_ids: str) -> None:
        """Delete what is stored for these edits, if anything."""
        ...

    async def list_ids(self) -> list[str]:
        """Return the id of every edit for which something is stored."""
        ...


class Finisher(Protocol):
    """Makes the requested picture from DashScope's; gateway.imaging implements it."""

    def size_of(self, head: bytes) -> Size | None:
        """Return the size of a picture by its first bytes, if they hold it."""
        ...

    def has_alpha(self, head: bytes) -> bool:
        """Say by its first bytes whether a picture has an alpha channel."""
        ...

    def is_finished(self, head: bytes, form: OutputOptions) -> bool:
        """Return, by its first bytes, whether a picture is as *form* says and passes unchanged."""
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


@dataclass(frozen=True, slots=True)
class ResultPlace:
    """Which picture it is: the same one has the same place, whoever asks for it and when."""

    tenant: str
    edit_id: str
    part: int
    index: int
    """Among the pictures of that part."""
    output_format: str
    """png, jpeg or webp."""


class Results(Protocol):
    """
    Finished pictures that are answered by URL; gateway.results implements it.

    Every method raises ResultStoreUnavailable if the store fails.
    """

    async def find(self, place: ResultPlace) -> KeptResult | None:
        """Return the picture if it is kept, and will be for a while."""
        ...

    async def keep(self, place: ResultPlace, picture: bytes) -> KeptResult:
        """Keep *picture*, as durably as configured."""
        ...


class NoLimit:
    """The PictureMemory where memory is not counted."""

    def begin(self) -> bool:
        return True

    def hold(self, n: int) -> None:
        """Count nothing."""

    def release(self) -> None:
        """Give nothing back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that is handed in to gateway.edits."""

    dashscope: DashScope
    ledger: Ledger
    result_urls: ResultUrls
    promises: PromisedEdits
    mask_sources: MaskSources
    finisher: Finisher
    clock: Clock
    models: ModelTable
    observer: Observer
    notify: Notify = ignore_warning
    ended: Callable[[EndedEdit], None] = ignore_end
    """Called once for each edit that has ended in this process."""
    submits_end_at: Callable[[], float] = lambda: 0.0
    """Until when (monotonic) a submit of an earlier process may still leave for DashScope."""
    may_submit: Callable[[], bool] = lambda: True
    """Whether this process may submit: its lease in the ledger may have run out."""
    memory_of: Callable[[str], PictureMemory] = lambda _: NoLimit()
    """From a tenant's name to memory for the pictures of one answer."""
    results: Results | None = None
    """``None``: URLs are DashScope's own."""
