"""One edit on its way, whoever waits for it: its parts, its clients, its phases."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.edit import Edit, MaskSource, Part, Picture, parts_of
from gateway.domain.errors import GatewayError, InternalError
from gateway.domain.models import MODELS
from gateway.domain.phases import Phase, Phases
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Tenant, Upstream
from gateway.domain.trace import UNTRACED, Trace, Tracer
from gateway.edits.digest import is_told, prompt_digest, prompt_forms
from gateway.edits.fair_queue import Ticket
from gateway.edits.ports import Spool, Spooled
from gateway.edits.request import EditRequest, EditStatus
from gateway.edits.watch import Watch
from gateway.polling.schedule import Kind


class LeftInLine(Exception):
    """The client hung up before the intent: the part goes back to its place and waits for it."""


class Stage(StrEnum):
    """How far an edit, or the furthest of its parts, has come."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    UNCERTAIN = "uncertain"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_GRACE_SECONDS = 3.0  # (P4)
_SDK_RETRY_SECONDS = 60.0  # within so long an SDK that retries has come back (openai.md 7.1)
_PERHAPS_PAID = (Stage.SUBMITTING, Stage.UNCERTAIN, Stage.RUNNING)
_ON_THE_WAY = (Stage.WAITING, Stage.SUBMITTING, Stage.UNCERTAIN, Stage.RUNNING)


@dataclass(slots=True, eq=False)
class PartRun:
    """One part of an edit, on its way through one task."""

    part: Part
    stage: Stage = Stage.WAITING
    upstream: Upstream | None = None
    intended: float | None = None
    """Monotonic: when its submit was last intended; ``None``: by another process."""
    intended_at: float = 0.0
    """The same in epoch seconds, by upstream's clock as far as it was known."""
    accepted_at: float = 0.0
    """Monotonic; of a model without tasks, when its submit began."""
    task_id: str | None = None
    request_id: str = ""
    task: Task | None = None
    """The ended task, if it ended while we watched."""
    error: GatewayError | None = None
    ticket: Ticket | None = None
    watch: Watch | None = None
    runner: "asyncio.Task[None] | None" = None
    dropped: bool = False
    """Given up while it waited: it will not be submitted."""
    in_vain: int = 0
    """How often in a row its pictures could not be had, and no other try will find more."""
    broken_late: bool = False
    """A picture came to its end and was none: the next try reads it whole before it answers."""

    @property
    def ended(self) -> bool:
        return self.task is not None or self.error is not None

    @property
    def out(self) -> bool:
        """Whether it has a task, or may have one, of which somebody waits for the end."""
        stopped = self.ended or (self.runner is not None and self.runner.done())
        return not stopped and (self.task_id is not None or self.stage in _PERHAPS_PAID)

    @property
    def runs_since(self) -> float | None:
        """When it began to run (monotonic), as far as is known."""
        return self.watch.runs_since if self.watch is not None else self.accepted_at or None

    def drop(self) -> None:
        """Leave the line, or the wait for a submit; only while no byte is out."""
        if self.error is not None:
            return  # it was refused in this moment and is being written down
        self.dropped = True
        if self.runner is not None:
            self.runner.cancel()

    def record(self) -> TaskRecord:
        assert self.upstream is not None
        return TaskRecord(
            part=self.part.index,
            n=self.part.n,
            seed=self.part.seed,
            upstream=self.upstream.name,
            account=self.upstream.account.name,
            state=TaskState.SUBMITTING,
            intended_at=self.intended_at,
            key_id=self.upstream.key_id,
            base_url=self.upstream.region.base_url,
        )


@dataclass(slots=True, eq=False)
class ActiveEdit:
    """An edit in this process. The clients that wait for it come and go."""

    edit_id: str
    tenant: Tenant
    edit: Edit
    digest: str
    prompt_digest: str
    prompt_forms: str
    created: float
    """Epoch seconds."""
    pictures: tuple[Picture, ...] | None = field(repr=False)
    """Let go once every part has its task; ``None`` also after a restart, and while spooled."""
    runs: tuple[PartRun, ...]
    spooled: Spooled | None = None
    """Where *pictures* are meanwhile."""
    uploaded: dict[str, tuple[Picture, ...]] = field(default_factory=dict, repr=False)
    """By upstream: *pictures* as URLs, once they all have gone up to it."""
    mask_source: MaskSource | None = field(default=None, repr=False)
    """Of a masked edit: not kept anywhere else yet."""
    release: Callable[[], None] = field(default=lambda: None, repr=False)
    keep_only: Callable[[int], None] = field(default=lambda _: None, repr=False)
    idempotency_key: str | None = None
    stage: Stage = Stage.WAITING
    error: GatewayError | None = None
    connected: int = 0
    retry_count: int = 0
    """Of the client that came last."""
    since: float = 0.0
    """Monotonic: when it was asked for, or was taken over from another process."""
    kept: bool = False
    """Somebody was told that it goes on: it does, until nobody is expected any more."""
    promised: bool = False
    """A 202 is told, or about to be: it goes on whoever comes, in the next process, too."""
    recorded: bool = False
    """The ledger may have a row of it, though no submit was intended."""
    promising: asyncio.Lock = field(default_factory=asyncio.Lock)
    left_at: float = 0.0
    """Monotonic: when the last client left."""
    expected_until: float = 0.0
    """Monotonic: until then somebody who was told to come back may do so."""
    abandoned: bool = False
    """Nobody wants it: what can end at no cost ends. A client that comes changes that."""
    delivered: bool = False
    held_up: GatewayError | None = None
    """Why it waits though it has its turn: the ledger cannot be written."""
    told_at: float | None = None
    """Monotonic: when a client was first told that its pictures are in doubt, or lost."""
    replay: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the edit has ended, or its clients are turned away."""
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a retry brought bytes, or a part has ended."""
    turned_away: GatewayError | None = None
    marks: list[tuple[float, Phase]] = field(default_factory=list)
    trace: Trace = UNTRACED

    @classmethod
    def begin(cls, edit_id: str, request: EditRequest, *, created: float) -> "ActiveEdit":
        return cls(
            edit_id=edit_id,
            tenant=request.tenant,
            edit=request.edit,
            digest=request.digest,
            prompt_digest=prompt_digest(request.edit.prompt),
            prompt_forms=prompt_forms(request.edit.prompt),
            created=created,
            since=request.phases.started,
            pictures=request.pictures,
            mask_source=request.mask_source,
            runs=tuple(PartRun(part) for part in parts_of(request.edit)),
            release=request.release,
            keep_only=request.keep_only,
            idempotency_key=request.idempotency_key,
        )

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
            promised=self.promised,
        )

    @property
    def told(self) -> EditStatus:
        shown = Stage.SUBMITTING if self.stage is Stage.UNCERTAIN else self.stage
        return EditStatus(
            edit_id=self.edit_id,
            region=self.tenant.region,
            task_ids=tuple(run.task_id for run in self.runs if run.task_id),
            upstream_request_ids=tuple(run.request_id for run in self.runs if run.request_id),
            status=shown,
            created=int(self.created),
            trace_id=self.trace.id,
            accounts=tuple({run.upstream.account.name: 0 for run in self.runs if run.upstream}),
        )

    def is_ours(self, task: Task) -> bool:
        """Say whether what was fetched can be of this edit: it tells no other prompt."""
        return is_told(task.orig_prompt, self.prompt_digest, self.prompt_forms)

    @property
    def kind(self) -> Kind:
        size = self.edit.size
        pixels = -1 if size is None else round(size.width * size.height / 1e6)
        return Kind(self.edit.model, min(4, self.edit.n), pixels)

    @property
    def has_tasks(self) -> bool:
        """Whether its model makes tasks; one that is gone from the table did."""
        model = MODELS.get(self.edit.model)
        return model is None or model.has_tasks

    @property
    def answers_once(self) -> bool:
        """Whether a submit goes or is out whose answer, once missed, is told by nobody again."""
        return self.stage in (Stage.SUBMITTING, Stage.RUNNING) and not self.has_tasks

    @property
    def ended(self) -> bool:
        return self.stage in (Stage.SUCCEEDED, Stage.FAILED)

    @property
    def joinable(self) -> bool:
        """
        Whether a retry gets this edit's answer: not once it was delivered, dropped or failed.

        A doubtful end is the answer, too: to begin again could be to pay twice.
        """
        failed = self.stage is Stage.FAILED and not self.maybe_billed
        return not self.delivered and not self.given_up and not failed

    @property
    def maybe_billed(self) -> bool:
        """Whether it has failed and may have been paid for."""
        if isinstance(self.error, InternalError):
            return self.submitted
        return self.error is not None and self.error.maybe_billed

    @property
    def given_up(self) -> bool:
        """Whether no part of it was submitted or will be."""
        return bool(self.runs) and all(run.dropped for run in self.runs)

    @property
    def away(self) -> bool:
        """Whether its client has hung up and nobody was told that it goes on."""
        return not self.connected and not self.kept

    @property
    def given_up_at(self) -> float:
        """When nobody can be expected any more (monotonic), if nobody is connected till then."""
        return max(self.left_at, self.expected_until) + _GRACE_SECONDS

    def expect(self, until: float) -> None:
        """Expect somebody to come back *until* then (monotonic), unless later already."""
        self.expected_until = max(self.expected_until, until)

    def sent_home(self, now: float, retry_after: float) -> None:
        """
        Go on for a client that is told to come back, as long as it can be expected.

        One that named the edit by an ``Idempotency-Key`` may come as long as that is kept.
        """
        if self.stage is Stage.WAITING:
            self.expect(now + retry_after)  # it keeps its place, but others go first
            return
        self.kept = True
        named = self.idempotency_key is not None
        self.expect(math.inf if named else now + max(retry_after, _SDK_RETRY_SECONDS))

    @property
    def may_wait_upstream(self) -> bool:
        """Whether a task of it may be PENDING, so that to cancel it costs nothing."""
        return any(
            run.out and (run.watch is None or run.watch.status is TaskStatus.PENDING)
            for run in self.runs
        )

    @property
    def submitted(self) -> bool:
        """Whether a part has a task, or may have one."""
        return any(run.task_id or run.stage in _PERHAPS_PAID for run in self.runs)

    @property
    def unsubmitted(self) -> bool:
        """Whether a part has no task yet and may still get one."""
        return not all(run.task_id or run.error for run in self.runs)

    @property
    def wants_bytes(self) -> bool:
        """Whether a part may still have to be submitted though the bytes are gone."""
        return not self.has_bytes and any(run.task_id is None for run in self.runs)

    @property
    def has_bytes(self) -> bool:
        return self.pictures is not None or self.spooled is not None

    async def bytes(self) -> tuple[Picture, ...]:
        """
        Return the pictures, from memory or from where they were spooled.

        Raises:
            LedgerUnavailable: they are not given back.
        """
        if self.pictures is None and self.spooled is not None:
            return await self.spooled.pictures()
        assert self.pictures is not None
        return self.pictures

    async def spool(self, spool: Spool) -> None:
        """Put the pictures out of memory: a wait lies ahead."""
        pictures = self.pictures
        if pictures is None or self.spooled is not None:
            return
        spooled = await spool.put(pictures)
        if spooled is None:
            return
        if self.pictures is pictures and self.spooled is None:
            self.pictures = None
            self.spooled = spooled
            kept = self.mask_source
            self.keep_only(0 if kept is None else len(kept.original) + len(kept.mask))
        else:  # another part was quicker, or they were let go
            spooled.close()

    def remember(self, edit: Edit, spooled: Spooled) -> None:
        """Take what another process kept of a promised edit; closed when it is not needed."""
        self.spooled = spooled
        if self.pictures is None:
            self.edit = edit
            for run, part in zip(self.runs, parts_of(edit), strict=True):
                run.part = part

    def rest_on_disk(self, spooled: Spooled) -> None:
        """Let the pictures go from memory: *spooled* gives them back, in the next process, too."""
        if self.ended or not self.unsubmitted:
            spooled.close()  # nobody needs them any more
            return
        if self.spooled is not None:
            self.spooled.close()
        self.pictures = None
        self.spooled = spooled
        self.keep_only(0)

    def bring(self, request: EditRequest) -> None:
        """Take the bytes that a retry carries, if they are still needed; else let them go."""
        if self.wants_bytes and not self.ended:
            self.edit = request.edit
            self.pictures = request.pictures
            self.release = request.release
            self.mask_source = request.mask_source
            self.keep_only = request.keep_only
            self.stirred.set()
        else:
            request.release()

    def reach(self, run: PartRun, stage: Stage) -> None:
        """Note how far *part* is; the edit is as far as its furthest part."""
        run.stage = stage
        stages = [other.stage for other in self.runs if other.stage in _ON_THE_WAY]
        self.stage = max(stages, key=_ON_THE_WAY.index, default=Stage.WAITING)

    def let_go(self) -> None:
        """Let the bytes go once no part needs them any more."""
        if not self.unsubmitted:
            self._release()

    def _release(self) -> None:
        if self.spooled is not None:
            self.spooled.close()
        if self.has_bytes:
            self.pictures = self.spooled = self.mask_source = None
            self.uploaded = {}
            self.release()

    def traced_by(
        self, tracer: Tracer, *, parent_trace: object = None, since: float | None = None
    ) -> None:
        """Begin this edit's trace; without *since*, as one that another process began."""
        self.trace = tracer.begin(
            self.edit_id, self.tenant, self.edit, parent_trace=parent_trace, since=since
        )

    def joined_by(self, request: EditRequest, tracer: Tracer) -> Trace:
        """Begin the trace of a client who joins."""
        return tracer.join(self.trace, self.edit_id, self.tenant, parent_trace=request.parent_trace)

    def mark(self, phase: Phase, at: float) -> None:
        """Note that the edit, by its furthest part, entered *phase*."""
        order = list(Phase)
        if not self.marks or order.index(phase) > order.index(self.marks[-1][1]):
            self.marks.append((at, phase))

    def replay_marks(self, phases: Phases, *, since: float, now: float) -> None:
        """Write the phases that went by since this client came into its own stopwatch."""
        current = Phase.QUEUE
        for at, phase in self.marks:
            if at <= since:
                current = phase
        phases.enter(current, since)
        for at, phase in self.marks:
            if since < at <= now:
                phases.enter(phase, at)

    def end(self, stage: Stage, error: GatewayError | None = None) -> None:
        self.stage = stage
        self.error = error
        self._release()
        if error is not None:
            error.edit_id = self.edit_id
        self.trace.ended(error)
        self.news.set()

    def turn_away(self, error: GatewayError) -> None:
        """Send the connected clients home; the edit itself goes on, or is in the ledger."""
        self.turned_away = error
        self.news.set()
