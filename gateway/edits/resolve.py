"""An uncertain submit is resolved by the account's task list, not guessed (P5)."""

from dataclasses import dataclass, field

from cachetools import TTLCache

from gateway.domain.clock import Clock
from gateway.domain.errors import (
    GatewayError,
    TaskLost,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
)
from gateway.domain.models import ModelTable
from gateway.domain.record import KEPT_SECONDS
from gateway.domain.task import Task, TaskRow, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.account import AccountState
from gateway.edits.digest import may_be, prompt_digest
from gateway.edits.ports import DashScope, Ledger

_QUIET_SECONDS = 5.0  # (P5): no unclaimed task for so long means that none was made
_SLACK_SECONDS = 2.0  # the Date header has whole seconds
_LOOK_SECONDS = 1.0
_LONGEST_GAP_SECONDS = 2.0  # between two looks; more of it is no time in which we looked
_NEAR_SECONDS = 60.0  # so far from the window a task may be ours by a clock that is wrong
_PAGES = 100
_CLAIMS = 50_000
_CLAIM_SECONDS = 3600.0  # far beyond any window
# Before its first answer upstream's clock is unknown, and a recorded time may be so wrong.
_SKEW_SECONDS = 2 * 3600.0
_GIVE_UP_SECONDS = 4 * 3600.0  # a task ends within 3 hours (dashscope.md 7.6)


@dataclass(slots=True)
class UncertainSubmit:
    """One submit of which it is not known whether it made a task."""

    upstream: Upstream
    model: str
    prompt_digest: str
    prompt_forms: str
    broke: float
    """When its connection was surely broken, on the monotonic clock."""
    recorded: float
    """When its first byte may have left, by upstream's clock as far as it was known."""
    intended: float | None = None
    """The same on the monotonic clock; ``None``: in another process."""
    may_leave_until: float = 0.0
    """Monotonic; until then its process, which was not proven dead, may still send it."""
    others: set[str] = field(default_factory=set)
    """Tasks that the evidence has ruled out."""
    ours: set[str] = field(default_factory=set)
    """Tasks of this very prompt and model, made in the window."""
    near: set[str] = field(default_factory=set)
    """Tasks that may be ours by a wrong clock, or by what upstream made of model and prompt."""
    there: set[str] | None = None
    """The tasks that were there when it was quiet for long enough: any other came too late."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    task_id: str
    certain: bool
    """Whether it is surely of the doubt's model and made in its window."""
    ended: bool


class SubmitResolver:
    """Finds out by the task list whether a doubtful submit made a task."""

    def __init__(
        self, dashscope: DashScope, ledger: Ledger, clock: Clock, models: ModelTable
    ) -> None:
        self._dashscope = dashscope
        self._ledger = ledger
        self._clock = clock
        self._models = models
        self._claimed: TTLCache[str, bool] = TTLCache(_CLAIMS, _CLAIM_SECONDS, timer=clock.now)

        self._seen: TTLCache[str, float] = TTLCache(_CLAIMS, _CLAIM_SECONDS, timer=clock.now)
        """When a task of nobody's was first seen: no submit that began later has made it."""

    def claim(self, task_id: str) -> None:
        """Take note that a task is ours, though the ledger may not have written it yet."""
        self._claimed[task_id] = True

    async def is_anothers(self, task_id: str) -> bool:
        """Return whether the task of an answer is already known to be of another part."""
        try:
            known = await self._ledger.find_tasks([task_id])
        except GatewayError:
            known = set()  # a conflict shows when it is written
        return task_id in known or task_id in self._claimed

    def written(self, task_id: str) -> None:
        """Take note that the ledger knows it."""
        self._claimed.pop(task_id, None)

    async def resolve(self, account: AccountState, doubt: UncertainSubmit) -> str | None:
        """
        Return the id of the one task that can only be ours, or ``None``: none was made.

        A candidate is a task of the window, or a minute from it, that the ledger does not
        know. It is ruled out when it ends without a picture (unbilled) or with another prompt.
        It takes as long as a candidate runs, or as the list cannot be read whole.

        Raises:
            TaskLost: the evidence does not single one out: two tasks of this very prompt, or
                one that is nearly ours, or one on an account that others use as well.
        """
        until = self._clock.now() + _GIVE_UP_SECONDS
        last = doubt.broke
        quiet = min(0.0, last - doubt.may_leave_until)  # what is seen before proves nothing
        broke = max(last, doubt.may_leave_until)
        while (looked_at := self._clock.now()) < until:
            # In the rest of the time the list was not read: a machine that slept may have sent the
            # rest of its submit when it woke up.
            counted = min(looked_at - last, _LONGEST_GAP_SECONDS)
            doubt.broke = broke + looked_at - last - counted
            try:
                found = await self._candidates(account, doubt)
                await self._examine(account, doubt, found)
            except TaskLost:
                raise
            except GatewayError as error:
                self._missed(account, doubt, error)
                await self._clock.sleep(_LOOK_SECONDS)
                continue
            quiet += counted
            last = looked_at
            broke = doubt.broke
            if quiet >= _QUIET_SECONDS:
                if doubt.there is None:
                    doubt.there = {one.task_id for one in found}
                if not _waits(doubt, found):
                    return _verdict(doubt, shared=account.limits.shared)
            await self._clock.sleep(_LOOK_SECONDS)
        raise lost()

    def _missed(self, account: AccountState, doubt: UncertainSubmit, error: GatewayError) -> None:
        """Take a failed look for what it is; any key of the account may look."""
        if isinstance(error, Throttled):
            account.call_limiter.slow_down()
        elif isinstance(error, UpstreamUnavailable):
            doubt.upstream = account.failover_for(doubt.upstream, error)

    async def _candidates(self, account: AccountState, doubt: UncertainSubmit) -> list[_Candidate]:
        """
        Return the tasks that are neither claimed nor ruled out.

        Raises:
            UpstreamFailed: the list cannot be read whole, or of the wrong time, so that what
                it lacks proves nothing.
        """
        zero = self._their_zero(doubt)
        since, until = _window(doubt, zero)
        first = since - _NEAR_SECONDS
        last = until + _NEAR_SECONDS
        rows = await self._listed(account, doubt, first - 5.0, last + 5.0)
        if abs(self._their_zero(doubt) - zero) > _SLACK_SECONDS:
            raise UpstreamFailed("The upstream's clock was not known before this answer.")
        if zero + self._clock.now() - since > KEPT_SECONDS:
            raise lost()  # the list does not go back so far
        rows = [
            row for row in rows if first <= row.created <= last and self._may_be_ours(doubt, row)
        ]
        known = await self._ledger.find_tasks([row.task_id for row in rows])
        return [
            _Candidate(
                task_id=row.task_id,
                certain=since <= row.created <= until and row.model in (doubt.model, ""),
                ended=row.status.ended,
            )
            for row in rows
            if row.task_id not in known
        ]

    def _may_be_ours(self, doubt: UncertainSubmit, row: TaskRow) -> bool:
        """Rule out a task of another model, or one that was there before or came too late."""
        seen = self._seen.setdefault(row.task_id, self._clock.now())
        before = doubt.intended is not None and seen < doubt.intended
        after = doubt.there is not None and row.task_id not in doubt.there
        ruled_out = row.task_id in doubt.others or row.task_id in self._claimed
        if before or after or ruled_out:
            return False
        return self._models.may_name(row.model, doubt.model)

    async def _listed(
        self, account: AccountState, doubt: UncertainSubmit, since: float, until: float
    ) -> list[TaskRow]:
        """
        Return the tasks that the account made in that time.

        Raises:
            UpstreamFailed: the list cannot be read whole.
        """
        found: dict[str, TaskRow] = {}
        for number in range(1, _PAGES + 1):
            await account.call_limiter.acquire("settlements")
            page = await self._dashscope.tasks(
                doubt.upstream, since=since, until=until, page=number
            )
            found.update((row.task_id, row) for row in page.rows)
            if number >= page.pages or not page.rows:
                break
        else:  # ours may be among those that were not read
            raise TaskLost("Too many tasks were made at that time to find this edit's.")
        if len(found) < page.total:
            raise UpstreamFailed("The task list could not be read whole.")
        return list(found.values())

    def _their_zero(self, doubt: UncertainSubmit) -> float:
        """Return the epoch, by upstream's clock, of our monotonic clock's 0."""
        offset = self._dashscope.clock_offset(doubt.upstream.region.name)
        return self._clock.epoch() + offset - self._clock.now()

    async def _examine(
        self, account: AccountState, doubt: UncertainSubmit, found: list[_Candidate]
    ) -> None:
        """Fetch the candidates that ended, and sort them by whose they are."""
        for one in found:
            if not one.ended or one.task_id in doubt.ours | doubt.near:
                continue
            await account.call_limiter.acquire("settlements")
            task = await self._dashscope.fetch(doubt.upstream, one.task_id)
            if not task.status.ended or task.status is TaskStatus.UNKNOWN:
                continue  # UNKNOWN, of a task that the list knows, proves nothing
            _kind_of(doubt, task, certain=one.certain).add(one.task_id)


def _kind_of(doubt: UncertainSubmit, task: Task, *, certain: bool) -> set[str]:
    """Return to which of the doubt's kinds an ended task belongs."""
    if task.status is not TaskStatus.SUCCEEDED:
        return doubt.others  # unbilled, whosever it is
    prompt = task.orig_prompt or ""
    if prompt and prompt_digest(prompt) == doubt.prompt_digest:
        return doubt.ours if certain else doubt.near
    return doubt.near if may_be(prompt, doubt.prompt_forms) else doubt.others


def _waits(doubt: UncertainSubmit, found: list[_Candidate]) -> bool:
    """Say whether a task is still to be examined; near ones do not matter beside ours."""
    examined = doubt.others | doubt.ours | doubt.near
    return any((one.certain or not doubt.ours) and one.task_id not in examined for one in found)


def _verdict(doubt: UncertainSubmit, *, shared: bool) -> str | None:
    """
    Return the one task that can only be ours, or ``None`` if none was made (D5).

    Raises:
        TaskLost: the evidence does not single one out.
    """
    if len(doubt.ours) == 1 and not shared:
        return next(iter(doubt.ours))
    if doubt.ours or doubt.near:
        raise lost()
    return None


def lost() -> TaskLost:
    """Return the error of an edit of which it cannot be found out whether it was made."""
    return TaskLost(
        "It is not known whether this edit was made; the operator can find it in the "
        "task list of the account."
    )


def _window(doubt: UncertainSubmit, zero: float) -> tuple[float, float]:
    """
    Return since when and until when, by upstream's clock, the task may have been made.

    Each clock may be wrong: the monotonic one stands still while a machine sleeps or is
    paused, the calendar may be set, and the record is as good as what was known of upstream's
    clock when it was made. So the window spans all that they say.
    """
    broke = zero + doubt.broke
    if doubt.intended is not None:
        since = min(doubt.recorded, zero + doubt.intended)
        until = max(broke, doubt.recorded + doubt.broke - doubt.intended)
    elif doubt.recorded <= broke:
        # A request does not outlive its process by more; an hour may be wrong by daylight.
        since = doubt.recorded
        until = min(broke, doubt.recorded + _SKEW_SECONDS)
    else:  # recorded by a clock that was ahead
        since = broke - _SKEW_SECONDS
        until = broke
    return since - _SLACK_SECONDS, until + _QUIET_SECONDS + _SLACK_SECONDS
