"""
The state machine of an edit: who waits for it, how far its parts are, whether it was delivered.

Pure: no asyncio, no I/O, no clock. Each method of EditLife is an event. It changes the state and
returns effects, which the caller performs; nothing outside this file writes the state. The table
in docs/ledger.md is printed from it by tests/edits/test_lifecycle.py.

A part:

    WAITING ──intended──▶ INTENDED ──followed / answering──▶ RUNNING ──part_ended──▶ (ended)
       ▲                     │  ╲                               │
       └───────voided────────┴── ▶ UNCERTAIN ───followed────────┘

An edit is as far as its furthest part until it is closed: SUCCEEDED or FAILED.
All times are monotonic seconds unless a docstring says otherwise.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Any

from gateway.domain.errors import (
    Draining,
    GatewayError,
    InternalError,
    StillRunning,
)
from gateway.domain.record import EditState
from gateway.domain.task import Task
from gateway.domain.tenant import Upstream

GRACE_SECONDS = 3.0
"""After the last client left, one that comes back finds its edit as it was (P4)."""
RETRY_SECONDS = 60.0
"""SDKs obey ``retry-after`` up to this; within it one that retries is back (openai.md 7.1)."""
LOOK_SECONDS = 600.0
"""A client that looks at an edit, or knew it before a restart, is expected to look again."""


class Stage(StrEnum):
    """How far a part, or the furthest part of an edit, has come."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    """The submit is intended: bytes may have left."""
    UNCERTAIN = "uncertain"
    """Its answer was lost: a task may exist."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_ORDER = (Stage.WAITING, Stage.SUBMITTING, Stage.UNCERTAIN, Stage.RUNNING)
_MAY_BE_PAID = (Stage.SUBMITTING, Stage.UNCERTAIN, Stage.RUNNING)


class LifecycleError(Exception):
    """An event that the state of a part does not allow: a bug, treated as one (D70)."""


class Delivery(Enum):
    """What clients have of an edit that has ended."""

    OWED = "owed"
    REPORTED = "reported"
    """A client got the error that its pictures are in doubt, or lost."""
    DELIVERED = "delivered"


class Effect(Enum):
    """What an event asks of its caller."""

    REQUEUE = "requeue"
    """A client is back: the parts that wait compete for a slot again."""
    STEP_ASIDE = "step aside"
    """No client is connected: others go first in the queue, the order is kept."""
    START_GRACE = "start grace"
    """Give the edit up when no client can be expected any more (``seconds_left``)."""
    RELEASE = "release"
    """Let the pictures go."""
    WAKE = "wake"
    """Wake all that wait for the edit."""
    DROP_RECORD = "drop record"
    """End it in the ledger, or the next process would submit what was withdrawn."""


@dataclass(frozen=True, slots=True)
class DropPart:
    """Stop the work of a part that waits; it will not be submitted."""

    part: int


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Cancel a part's task if it still queues upstream, which costs nothing."""

    part: int


Effects = tuple[Effect | DropPart | CancelTask, ...]


@dataclass(frozen=True, slots=True)
class PartLife:
    """The state of one part; replaced by each event, never changed."""

    stage: Stage = Stage.WAITING
    upstream: Upstream | None = None
    intended: float | None = None
    """When its submit was last intended; ``None``: by another process."""
    intended_at: float = 0.0
    """The same in epoch seconds, by upstream's clock as far as it was known."""
    attempt: str = ""
    """Of its intent; see gateway.domain.record.TaskRecord."""
    since: float = 0.0
    """When this process began to follow its task; of a synchronous submit, when it was sent."""
    task_id: str | None = None
    request_id: str = ""
    task: Task | None = None
    """Its end, while the result URLs in it are believed to work."""
    error: GatewayError | None = None
    """Why it has no pictures."""
    dropped: bool = False
    """Given up while it waited: it will not be submitted."""

    @property
    def ended(self) -> bool:
        return self.task is not None or self.error is not None

    @property
    def may_be_paid(self) -> bool:
        """Whether it has a task, or may have one."""
        return self.task_id is not None or self.stage in _MAY_BE_PAID


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """How an edit ends, once all of its parts have."""

    state: EditState
    error: GatewayError | None
    recorded: bool
    """Whether the ledger may have a row of it that has to be ended."""


class EditLife:
    """
    The state of one edit.

    Args:
        parts: The state of each part: new, or as the ledger has it.
        one_shot: Its model answers a submit with the pictures: an answer that is missed is lost.
        keyed: A client named it by an ``Idempotency-Key``.
        stage: How far it is.
        restored: The ledger has a row of it, and a client of another process may know it.
        replay: It had ended before a client of this process asked for it.
    """

    def __init__(
        self,
        parts: tuple[PartLife, ...],
        *,
        one_shot: bool = False,
        keyed: bool = False,
        stage: Stage = Stage.WAITING,
        restored: bool = False,
        replay: bool = False,
        promised: bool = False,
        delivered: bool = False,
    ) -> None:
        self.keyed = keyed
        self.replay = replay
        self.restored = restored
        self._one_shot = one_shot
        self._parts = list(parts)
        self._stage = stage
        self._error: GatewayError | None = None
        self._connected = 0
        self._retry_count = 0
        self._goes_on = restored
        self._promised = promised
        self._recorded = restored
        self._abandoned = False
        self._left_at = 0.0
        self._expected_until = 0.0
        self._held_up: GatewayError | None = None
        self._turned_away: GatewayError | None = None
        self._delivery = Delivery.DELIVERED if delivered else Delivery.OWED
        self._reported_at: float | None = None

    # ------------------------------------------------------------ what can be read

    @property
    def parts(self) -> tuple[PartLife, ...]:
        return tuple(self._parts)

    def part(self, index: int) -> PartLife:
        return self._parts[index]

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def error(self) -> GatewayError | None:
        """Why it failed."""
        return self._error

    @property
    def connected(self) -> int:
        """How many clients wait for it."""
        return self._connected

    @property
    def retry_count(self) -> int:
        """Of the client that came last."""
        return self._retry_count

    @property
    def promised(self) -> bool:
        """Whether a 202 was sent, or is about to be: it goes on, in the next process, too."""
        return self._promised

    @property
    def abandoned(self) -> bool:
        """Whether no client wants it: what costs nothing to end ends, unless a client joins."""
        return self._abandoned

    @property
    def left_at(self) -> float:
        """When the last client left."""
        return self._left_at

    @property
    def held_up(self) -> GatewayError | None:
        """Why it waits although it has a slot: its intent cannot be written."""
        return self._held_up

    @property
    def delivery(self) -> Delivery:
        return self._delivery

    @property
    def reported_at(self) -> float | None:
        """When a client first got the error that its pictures are in doubt, or lost."""
        return self._reported_at

    @property
    def delivered(self) -> bool:
        return self._delivery is Delivery.DELIVERED

    @property
    def ended(self) -> bool:
        return self._stage in (Stage.SUCCEEDED, Stage.FAILED)

    @property
    def unattended(self) -> bool:
        """Whether no client is connected, and none relies on its going on."""
        return not self._connected and not self._goes_on

    @property
    def given_up(self) -> bool:
        """Whether no part of it was submitted or will be."""
        return bool(self._parts) and all(part.dropped for part in self._parts)

    @property
    def submitted(self) -> bool:
        """Whether a part has a task, or may have one."""
        return any(part.may_be_paid for part in self._parts)

    @property
    def unsubmitted(self) -> bool:
        """Whether a part has no task yet and may still get one."""
        return not all(part.task_id or part.error for part in self._parts)

    @property
    def one_shot_submit(self) -> bool:
        """Whether a submit is, or may be, out whose answer cannot be fetched again (D87)."""
        return self._one_shot and self._stage in (Stage.SUBMITTING, Stage.RUNNING)

    @property
    def maybe_billed(self) -> bool:
        """Whether it has failed and may have been paid for."""
        if isinstance(self._error, InternalError):
            return self.submitted
        return self._error is not None and self._error.maybe_billed

    @property
    def failed_unbilled(self) -> bool:
        """Whether it has failed and cost nothing: an equal request begins a new edit."""
        return self._stage is Stage.FAILED and not self.maybe_billed

    @property
    def joinable(self) -> bool:
        """
        Whether an equal request gets this edit's answer.

        Not once it was delivered, dropped or failed (D7); but an end that may have been billed is
        an answer, too: to begin again could be to pay twice.
        """
        return not (self.delivered or self.given_up or self.failed_unbilled)

    @property
    def refusal(self) -> GatewayError | None:
        """The error that its waiters get in place of pictures."""
        if self._turned_away is not None and (self.given_up or not self.ended):
            return self._turned_away
        return self._error

    def seconds_left(self, now: float, left_at: float) -> float | None:
        """
        Return the seconds until the edit is given up; 0 or less: now, ``inf``: never.

        Args:
            now: The time.
            left_at: When the client left for whom the grace began.

        Returns:
            ``None`` if that grace is void: a client is connected, left later, or it ended.
        """
        if self._connected or self.ended or self._left_at != left_at:
            return None
        return max(self._left_at, self._expected_until) + GRACE_SECONDS - now

    # ------------------------------------------------------------ clients come and go

    def joined(self, retry_count: int = 0) -> Effects:
        """Count a client, whose SDK says that this is its *retry_count*-th repeat."""
        self._connected += 1
        self._abandoned = False
        self._retry_count = retry_count
        return (Effect.REQUEUE,)

    def left(self, now: float) -> Effects:
        """Count a client out; the last one starts the grace."""
        if not self._connected:
            raise LifecycleError("No client is connected.")
        self._connected -= 1
        self._left_at = now
        if self._connected or self.ended:
            return ()
        return (Effect.STEP_ASIDE, Effect.START_GRACE) if self.unattended else (Effect.START_GRACE,)

    def looked_at(self, now: float) -> None:
        """A client that does not wait looked at it, and will again."""
        self._expect(now + LOOK_SECONDS)

    def taken_over(self, now: float) -> Effects:
        """Another process left it open: its clients are expected for as long as they may come."""
        self._left_at = now
        for_ever = self._promised or self.keyed
        self._expect(math.inf if for_ever else now + LOOK_SECONDS)
        return (Effect.START_GRACE,)

    def retry_advised(self, now: float, retry_after: float) -> None:
        """
        The deadline of a client passed; it was asked to retry after *retry_after* seconds.

        An edit that waits keeps its place, but others go first; one that was submitted goes on.
        One that named it by an ``Idempotency-Key`` may come as long as that is kept.
        """
        if self._stage is Stage.WAITING:
            self._expect(now + retry_after)
        else:
            self._goes_on = True
            self._expect(math.inf if self.keyed else now + max(retry_after, RETRY_SECONDS))

    def grace_over(self) -> Effects:
        """No client is expected any more: drop what waits, cancel what queues upstream."""
        if self._connected:
            raise LifecycleError("A client is connected.")
        return self._abandon()

    def withdrawn(self) -> Effects:
        """Its client cancelled it: what can end at no cost ends, even if others wait."""
        if self.ended:
            return ()
        recorded = self._promised and not self.submitted
        self._promised = False
        effects = self._abandon()
        return (*effects, Effect.DROP_RECORD) if recorded else effects

    def gone_stale(self) -> Effects:
        """It was promised and waited for a day: no client will ask for it any more."""
        self._promised = False
        return self._drop_waiting()

    def turned_away(self) -> Effects:
        """
        The process ends: its clients get an error that says how to retry at the next one.

        What was not submitted is dropped, unless the next process can submit it.
        """
        error: GatewayError
        submit_pending = self._stage is Stage.WAITING and not self._promised
        if self._stage is Stage.WAITING:
            error = draining(retry_after=1.0)
        elif self.one_shot_submit:
            error = StillRunning(
                "The gateway restarts before it has the picture. Send the same request again to "
                "hear what became of it.",
                retry_after=2.0,
            )
        else:
            error = StillRunning(
                "The gateway restarts and the edit goes on. Send the same request again to get "
                "its picture.",
                retry_after=2.0,
            )
        one_shot = self.one_shot_submit
        if self._stage is not Stage.WAITING:
            self._goes_on = True
        self._expect(math.inf)
        self._turned_away = error
        drops = self._drop_waiting() if submit_pending or one_shot else ()
        return (*drops, Effect.WAKE)

    # ------------------------------------------------------------ a promise of 202

    def promising(self) -> None:
        """
        A 202 is about to be made durable.

        Before the write, so that an intent that is written meanwhile does not undo it.
        """
        self._promised = True
        self._recorded = True

    def promise_failed(self) -> None:
        """It is not durable: no 202 is sent."""
        self._promised = False

    def promise_kept(self) -> None:
        """It is durable: the edit goes on without a connected client."""
        self._goes_on = True
        self._expect(math.inf)

    # ------------------------------------------------------------ a part on its way

    def intended(
        self, index: int, upstream: Upstream, *, now: float, at: float, attempt: str = ""
    ) -> None:
        """
        Its submit is about to be written down as an intent, and then sent.

        Args:
            index: Of the part.
            upstream: Where it is submitted to.
            now: The time.
            at: The same by upstream's clock, in epoch seconds.
            attempt: Of the intent.
        """
        if self._parts[index].dropped or self._parts[index].ended:
            raise LifecycleError("An intent of a part that will not be submitted.")
        self._move(
            index,
            Stage.SUBMITTING,
            allowed=(Stage.WAITING,),
            upstream=upstream,
            intended=now,
            intended_at=at,
            attempt=attempt,
        )

    def intent_written(self) -> None:
        """The ledger has the intent: bytes may leave."""
        self._held_up = None

    def intent_refused(self, error: GatewayError) -> None:
        """The ledger cannot write the intent: the edit waits, though it has its slot."""
        self._held_up = error

    def answering(self, index: int, now: float) -> None:
        """A synchronous submit is being sent: its pictures are made at once."""
        self._move(index, Stage.RUNNING, allowed=(Stage.SUBMITTING,), since=now)

    def uncertain(self, index: int) -> None:
        """The answer to its submit was lost, or is not to be believed."""
        self._has_no_task(index)
        self._move(index, Stage.UNCERTAIN, allowed=(Stage.SUBMITTING, Stage.RUNNING))

    def voided(self, index: int) -> None:
        """It is certain that its submit made no task."""
        self._has_no_task(index)
        self._move(index, Stage.WAITING, allowed=_MAY_BE_PAID)

    def accepted(
        self, index: int, task_id: str, *, request_id: str = "", task: Task | None = None
    ) -> None:
        """It has its task; of a synchronous submit, the ended one."""
        part = self._parts[index]
        if part.ended or part.task_id not in (None, task_id):
            raise LifecycleError("The part has another task, or has ended.")
        self._move(
            index,
            Stage.RUNNING,
            allowed=_MAY_BE_PAID,
            task_id=task_id,
            request_id=request_id,
            task=task,
        )

    def followed(self, index: int, now: float) -> None:
        """This process follows its task from now on."""
        self._move(index, Stage.RUNNING, allowed=(Stage.RUNNING,), since=now)

    def part_ended(self, index: int, task: Task) -> None:
        """Its task has ended."""
        if self._parts[index].task_id is None:
            raise LifecycleError("A part without a task cannot end.")
        self._change(index, task=task)

    def part_failed(self, index: int, error: GatewayError) -> None:
        """It has no pictures and will get none."""
        self._change(index, error=error)

    def results_found(self, index: int, task: Task) -> None:
        """Its task was fetched again: there are result URLs that work."""
        self._change(index, task=task)

    def results_expired(self, index: int) -> None:
        """Its result URLs do not work any more."""
        self._change(index, task=None)

    # ------------------------------------------------------------ its end

    def outcome(self) -> EditOutcome:
        """Return how it ends, when all parts have ended: one good picture is a success."""
        errors = [part.error for part in self._parts if part.error]
        if len(errors) < len(self._parts):
            return EditOutcome(EditState.SUCCEEDED, None, recorded=True)
        # A part that may be paid for forbids the retry that another part would allow.
        error = min(errors, key=lambda error: (error.retry, not error.maybe_billed))
        # A client may ask what became of what was submitted or promised.
        kept = self.submitted or self._promised
        has_row = kept or self._recorded or any(part.upstream for part in self._parts)
        return EditOutcome(EditState.FAILED if kept else EditState.DROPPED, error, recorded=has_row)

    def closed(self, error: GatewayError | None = None) -> Effects:
        """It has ended, and the ledger knows, or will."""
        if self.ended:
            raise LifecycleError("It has ended already.")
        self._stage = Stage.SUCCEEDED if error is None else Stage.FAILED
        self._error = error
        return (Effect.RELEASE, Effect.WAKE)

    def end_reported(self, error: GatewayError, now: float) -> None:
        """A client got *error*; an end in doubt is remembered from the first time (D94)."""
        if (error.maybe_billed or self.maybe_billed) and self._reported_at is None:
            self._reported_at = now
            if self._delivery is Delivery.OWED:
                self._delivery = Delivery.REPORTED

    def handed_over(self) -> None:
        """The last byte of its answer was handed to a client's socket (D29)."""
        if self._stage is not Stage.SUCCEEDED:
            raise LifecycleError("It has no answer.")
        self._delivery = Delivery.DELIVERED

    # ------------------------------------------------------------ within this file

    def _abandon(self) -> Effects:
        self._abandoned = True
        self._goes_on = False
        cancels = [
            CancelTask(index)
            for index, part in enumerate(self._parts)
            if part.stage is Stage.RUNNING and not part.ended and not self._one_shot
        ]
        return (*self._drop_waiting(), *cancels)

    def _move(
        self, index: int, stage: Stage, *, allowed: tuple[Stage, ...], **changes: Any
    ) -> None:
        """Bring a part to *stage*; the edit is as far as its furthest part."""
        part = self._parts[index]
        if part.stage not in allowed:
            raise LifecycleError(f"A part that is {part.stage} cannot become {stage}.")
        self._parts[index] = replace(part, stage=stage, **changes)
        self._stage = max((part.stage for part in self._parts), key=_ORDER.index)

    def _has_no_task(self, index: int) -> None:
        """Make sure that a part which has its task is never submitted again."""
        if self._parts[index].task_id is not None or self._parts[index].ended:
            raise LifecycleError("The part has its task, or has ended.")

    def _change(self, index: int, **changes: Any) -> None:
        self._parts[index] = replace(self._parts[index], **changes)

    def _drop_waiting(self) -> tuple[DropPart, ...]:
        """Drop the parts that wait; one that was refused in this moment is left to its error."""
        waiting = [
            index
            for index, part in enumerate(self._parts)
            if part.stage is Stage.WAITING and part.error is None
        ]
        for index in waiting:
            self._parts[index] = replace(self._parts[index], dropped=True)
        return tuple(DropPart(index) for index in waiting)

    def _expect(self, until: float) -> None:
        self._expected_until = max(self._expected_until, until)


def draining(*, retry_after: float = 2.0) -> Draining:
    """Return the refusal of what is not submitted because this process ends."""
    return Draining("The gateway restarts; send the edit again.", retry_after=retry_after)
