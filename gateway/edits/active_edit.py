"""One edit in this process: its state, its pictures, and what waits for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.domain.edit import Edit, MaskSource, Part, Picture, Size, parts_of
from gateway.domain.errors import GatewayError
from gateway.domain.models import Model
from gateway.domain.price import Bill
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Tenant
from gateway.domain.trace import UNTRACED, Trace, Tracer
from gateway.edits.digest import agrees_with, prompt_digest, prompt_forms
from gateway.edits.fair_queue import Ticket
from gateway.edits.lifecycle import DropPart, EditLife, Effect, Effects, PartLife, Stage
from gateway.edits.ports import Spool, Spooled
from gateway.edits.request import EditRequest, EditStatus
from gateway.edits.timeline import Timeline
from gateway.polling.plan import Watch
from gateway.polling.schedule import Kind

MAX_REQUEST_IDS = 20
"""A client that repeats for hours does not fill the memory."""


class NobodyWaitsError(Exception):
    """The last client hung up before the intent: the part goes back to its place in the queue."""


@dataclass(slots=True, eq=False)
class PartRun:
    """The work on one part of an edit; its state is in ``life``."""

    part: Part
    _edit: EditLife = field(repr=False)
    ticket: Ticket | None = None
    watch: Watch | None = None
    runner: "asyncio.Task[None] | None" = None
    failed_downloads: int = 0
    """Tries in a row in which its pictures could not be downloaded, for a final reason."""
    broken_late: bool = False
    """A picture broke while it was sent: the next try reads it whole before it answers."""
    kept_prompt: Callable[[], None] | None = None
    """After a bug: releases its prompt, which stays locked until its submit is known (D4, D70)."""

    @property
    def life(self) -> PartLife:
        return self._edit.part(self.part.index)

    @property
    def out(self) -> bool:
        """Whether it has a task, or may have one, whose end is waited for."""
        life = self.life
        stopped = life.ended or (self.runner is not None and self.runner.done())
        return not stopped and life.may_be_paid

    @property
    def running_since(self) -> float | None:
        """When it began to run (monotonic), as far as is known."""
        return self.watch.runs_since if self.watch is not None else self.life.since or None

    def run_by(self, runner: "asyncio.Task[None] | None") -> None:
        self.runner = runner

    def wait_with(self, ticket: Ticket) -> None:
        self.ticket = ticket

    def follow_with(self, watch: Watch) -> None:
        self.watch = watch

    def count_failed_download(self, *, final: bool) -> int:
        """Count a try whose every failure is *final*; return how many there were in a row."""
        self.failed_downloads = self.failed_downloads + 1 if final else 0
        return self.failed_downloads

    def broke_late(self, *, final: bool) -> None:
        self.broken_late = final

    def keep_prompt(self, release: Callable[[], None]) -> None:
        self.kept_prompt = release

    def release_prompt(self) -> None:
        """Release the prompt that a bug left locked, if one did."""
        release, self.kept_prompt = self.kept_prompt, None
        if release is not None:
            release()

    def record(self) -> TaskRecord:
        life = self.life
        assert life.upstream is not None
        return TaskRecord(
            part=self.part.index,
            n=self.part.n,
            seed=self.part.seed,
            upstream=life.upstream.name,
            account=life.upstream.account.name,
            state=TaskState.SUBMITTING,
            intended_at=life.intended_at,
            key_id=life.upstream.key_id,
            base_url=life.upstream.region.base_url,
            attempt=life.attempt,
        )


@dataclass(slots=True, eq=False)
class ActiveEdit:
    """An edit in this process. The clients that wait for it come and go."""

    edit_id: str
    tenant: Tenant
    edit: Edit
    model: Model
    """That of *edit*."""
    digest: str
    prompt_digest: str
    prompt_forms: str
    created: float
    """Epoch seconds."""
    life: EditLife
    runs: tuple[PartRun, ...]
    since: float
    """Monotonic: when it was asked for, or was taken over from another process."""
    inputs: int = 0
    """How many pictures it has; 0 after a restart, when only its tasks may have it."""
    pictures: tuple[Picture, ...] | None = field(default=None, repr=False)
    """Let go once every part has its task; ``None`` also after a restart, and while spooled."""
    spooled: Spooled | None = None
    """Where *pictures* are meanwhile."""
    promise_stored: bool = False
    """Whether *spooled* is what was stored for a promise, and outlives this process."""
    uploaded: dict[str, tuple[Picture, ...]] = field(default_factory=dict, repr=False)
    """By upstream: *pictures* as URLs, once they have all been uploaded to it."""
    mask_source: MaskSource | None = field(default=None, repr=False)
    """Of a masked edit: not kept anywhere else yet."""
    release: Callable[[], None] = field(default=lambda: None, repr=False)
    keep_only: Callable[[int], None] = field(default=lambda _: None, repr=False)
    idempotency_key: str | None = None
    arrived: float = 0.0
    """Monotonic: gives it its place in the queue, also when another node goes on with it."""
    promise_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the edit has ended, or its clients are turned away."""
    moved: bool = False
    """Whether another node owns it from now on: who waits for it goes on there."""
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a retry brought bytes, or a part has ended."""
    timeline: Timeline = field(default_factory=Timeline)
    trace: Trace = UNTRACED
    request_ids: list[str] = field(default_factory=list)
    """Of the requests that were given it, up to MAX_REQUEST_IDS."""
    _opaque_came: bool = False
    _sizes_came: set[Size] = field(default_factory=set)

    @classmethod
    def begin(
        cls,
        edit_id: str,
        request: EditRequest,
        model: Model,
        *,
        created: float,
        arrived: float = 0.0,
    ) -> "ActiveEdit":
        parts = parts_of(request.edit, model.most_made)
        life = EditLife(
            (PartLife(),) * len(parts),
            one_shot=not model.has_tasks,
            keyed=request.idempotency_key is not None,
        )
        return cls(
            edit_id=edit_id,
            tenant=request.tenant,
            edit=request.edit,
            model=model,
            digest=request.digest,
            prompt_digest=prompt_digest(request.edit.prompt),
            prompt_forms=prompt_forms(request.edit.prompt),
            created=created,
            life=life,
            runs=tuple(PartRun(part, life) for part in parts),
            since=request.phases.started,
            inputs=len(request.pictures),
            arrived=arrived,
            pictures=request.pictures,
            mask_source=request.mask_source,
            release=request.release,
            keep_only=request.keep_only,
            idempotency_key=request.idempotency_key,
        )

    def serve(self, request_id: str) -> None:
        """Remember a request that was given this edit."""
        if len(self.request_ids) < MAX_REQUEST_IDS:
            self.request_ids.append(request_id)

    def record(self) -> EditRecord:
        answer = self.edit.output
        return EditRecord(
            edit_id=self.edit_id,
            tenant=self.tenant.name,
            region=self.tenant.region,
            digest=self.digest,
            prompt_digest=self.prompt_digest,
            prompt_forms=self.prompt_forms,
            model=self.edit.model,
            n=self.edit.n,
            response_format=answer.response_format,
            output_format=answer.output_format,
            compression=answer.compression,
            scale_to=answer.scale_to,
            composite=answer.composite,
            created=self.created,
            idempotency_key=self.idempotency_key,
            ignored=self.edit.ignored,
            adjusted=self.edit.adjusted,
            promised=self.life.promised,
        )

    @property
    def status(self) -> EditStatus:
        stage = self.life.stage
        parts = self.life.parts
        return EditStatus(
            edit_id=self.edit_id,
            region=self.tenant.region,
            task_ids=tuple(part.task_id for part in parts if part.task_id),
            upstream_request_ids=tuple(part.request_id for part in parts if part.request_id),
            stage=Stage.SUBMITTING if stage is Stage.UNCERTAIN else stage,
            created=int(self.created),
            trace_id=self.trace.id,
            accounts=tuple({part.upstream.account.name: 0 for part in parts if part.upstream}),
        )

    def is_ours(self, task: Task) -> bool:
        """Say whether a task that was fetched can be of this edit: it names no other prompt."""
        return agrees_with(task.orig_prompt, self.prompt_digest, self.prompt_forms)

    @property
    def kind(self) -> Kind:
        size = self.edit.size
        pixels = -1 if size is None else round(size.width * size.height / 1e6)
        return Kind(self.edit.model, min(4, self.edit.n), pixels)

    @property
    def pictures_made(self) -> int:
        return sum(len(part.task.images) for part in self.life.parts if part.task)

    def bill_of(self, task: Task) -> Bill:
        """Return what *task*, one of this edit's, is charged for."""
        return Bill(
            sizes=tuple(image.size or self.edit.size for image in task.images),
            inputs=self.inputs if task.inputs is None else task.inputs,
            extended=bool(self.edit.prompt_extend) or any(it.extended for it in task.images),
        )

    @property
    def bills(self) -> tuple[Bill, ...]:
        """Of its tasks that made pictures."""
        return tuple(self.bill_of(part.task) for part in self.life.parts if part.task)

    @property
    def prompts_used(self) -> tuple[str, ...]:
        """What DashScope made of the prompt, for each picture made; empty where it did not say."""
        tasks = [part.task for part in self.life.parts if part.task]
        used = [image.prompt for task in tasks for image in task.images]
        return tuple("" if prompt == self.edit.prompt else prompt for prompt in used)

    def came(self, size: Size | None, *, alpha: bool) -> None:
        """Remember of a picture that was downloaded its size, and whether it has an *alpha*."""
        self._opaque_came = self._opaque_came or not alpha
        if size is not None:
            self._sizes_came.add(size)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """What was done to its pictures; of the size what has shown, where that is known (D110)."""
        opaque = ("background:opaque",) if self.edit.transparent and self._opaque_came else ()
        return (*self._adjusted_sizes(), *opaque)

    def _adjusted_sizes(self) -> tuple[str, ...]:
        edit = self.edit
        wanted = edit.output.scale_to or edit.size
        sizes = self._sizes_came or {
            it.size for part in self.life.parts if part.task for it in part.task.images if it.size
        }
        if wanted is None or not sizes:
            return edit.adjusted
        others = sorted(map(str, sizes - {wanted}))
        # A URL of DashScope's is of the picture as it came.
        scaled = edit.output.scale_to is not None
        notes = [f"size:{came}->{wanted}" if scaled else f"size:{came}" for came in others]
        return (*(it for it in edit.adjusted if not it.startswith("size:")), *notes)

    @property
    def may_wait_upstream(self) -> bool:
        """Whether a task of it may be PENDING, so that to cancel it costs nothing."""
        return any(
            run.out and (run.watch is None or run.watch.status is TaskStatus.PENDING)
            for run in self.runs
        )

    # ------------------------------------------------------------ effects

    def perform(self, effects: Effects) -> None:
        """Do what can be done here; the rest (grace, cancels, the ledger) is the service's."""
        for effect in effects:
            match effect:
                case DropPart(index):
                    runner = self.runs[index].runner
                    if runner is not None:
                        runner.cancel()
                case Effect.REQUEUE:
                    for ticket in self._tickets():
                        ticket.queue.reactivate(ticket)
                case Effect.STEP_ASIDE:
                    for ticket in self._tickets():
                        ticket.queue.pause(ticket)
                case Effect.RELEASE:
                    self._release()
                case Effect.WAKE:
                    self.news.set()

    def move(self) -> None:
        """Send the clients that wait for it to the node that owns it from now on."""
        self.moved = True
        self.news.set()

    def end(self, error: GatewayError | None = None) -> None:
        """End it, well or with *error*."""
        self.perform(self.life.closed(error))
        if error is not None:
            error.edit_id = self.edit_id
        self.trace.ended(error)

    def _tickets(self) -> list[Ticket]:
        return [run.ticket for run in self.runs if run.ticket is not None]

    # ------------------------------------------------------------ pictures

    @property
    def has_bytes(self) -> bool:
        return self.pictures is not None or self.spooled is not None

    async def bytes(self) -> tuple[Picture, ...]:
        """
        Return the pictures, from memory or from where they were spooled.

        Raises:
            LedgerUnavailable: they cannot be read back.
        """
        if self.pictures is None and self.spooled is not None:
            pictures = await self.spooled.pictures()
            self.inputs = len(pictures)
            return pictures
        assert self.pictures is not None
        return self.pictures

    def keep_uploaded(self, upstream: str, pictures: tuple[Picture, ...]) -> None:
        """Keep *pictures*, all of them URLs, for the other parts and the next try."""
        self.uploaded[upstream] = pictures

    def mask_source_kept(self) -> None:
        """Let the mask go from memory: it is as durable as the ledger."""
        self.mask_source = None

    async def spool(self, spool: Spool) -> None:
        """Move the pictures from memory to the disk before a wait."""
        pictures = self.pictures
        if pictures is None or self.spooled is not None:
            return
        spooled = await spool.put(pictures)
        if spooled is None:
            return
        if self.pictures is pictures and self.spooled is None:
            self.pictures = None
            self.spooled = spooled
            mask = self.mask_source
            self.keep_only(0 if mask is None else len(mask.original) + len(mask.mask))
        else:  # another part was quicker, or they were let go
            spooled.close()

    def restore_pictures(self, edit: Edit, spooled: Spooled) -> None:
        """Take what another process kept of a promised edit; closed when it is not needed."""
        self.spooled = spooled
        self.promise_stored = True
        if self.pictures is None:
            self.edit = edit
            for run, part in zip(self.runs, parts_of(edit, self.model.most_made), strict=True):
                run.part = part

    def move_to_disk(self, spooled: Spooled) -> None:
        """Release the pictures from memory; *spooled* has them, also for the next process."""
        if self.life.ended or not self.life.unsubmitted:
            spooled.close()  # not needed any more
            return
        if self.spooled is not None:
            self.spooled.close()
        self.pictures = None
        self.spooled = spooled
        self.promise_stored = True
        self.keep_only(0)

    def take_bytes(self, request: EditRequest) -> None:
        """Take the bytes that a retry carries, if a part still has to be submitted by them."""
        unsubmitted = any(part.task_id is None for part in self.life.parts)
        if self.has_bytes or not unsubmitted or self.life.ended:
            request.release()
            return
        self.edit = request.edit
        self.inputs = len(request.pictures)
        self.pictures = request.pictures
        self.release = request.release
        self.mask_source = request.mask_source
        self.keep_only = request.keep_only
        self.stirred.set()

    def release_if_submitted(self) -> None:
        """Let the pictures go once no part needs them any more."""
        if not self.life.unsubmitted:
            self._release()

    def _release(self) -> None:
        if self.spooled is not None:
            self.spooled.close()
        if self.has_bytes:
            self.pictures = self.spooled = self.mask_source = None
            self.promise_stored = False
            self.uploaded = {}
            self.release()

    # ------------------------------------------------------------ traces

    def traced_by(
        self, tracer: Tracer, *, parent_trace: object = None, since: float | None = None
    ) -> None:
        """Begin this edit's trace; without *since*, as one that another process began."""
        self.trace = tracer.begin(
            self.edit_id, self.tenant, self.edit, parent_trace=parent_trace, since=since
        )

    def joined_by(self, request: EditRequest, tracer: Tracer) -> Trace:
        """Begin the trace of a client that joins."""
        return tracer.join(self.trace, self.edit_id, self.tenant, parent_trace=request.parent_trace)
