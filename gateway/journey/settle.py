"""An uncertain submit is resolved, not guessed: the account's task list tells (P5)."""

from dataclasses import dataclass, field

from cachetools import TTLCache

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, TaskLost, Throttled, UpstreamFailed
from gateway.domain.task import TaskRow, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.digest import prompt_digest
from gateway.journey.lane import Lane
from gateway.journey.ports import DashScope, Ledger

_QUIET_SECONDS = 5.0  # product.md P5: no unclaimed task for so long means that none was made
_SLACK_SECONDS = 2.0  # the Date header has whole seconds
_LOOK_SECONDS = 1.0
_LONGEST_GAP_SECONDS = 2.0  # between two looks; more of it is no time in which we looked
_KEPT_SECONDS = 24 * 3600.0  # upstream forgets tasks then (dashscope.md 4.1)
_PAGES = 100
_CLAIMS = 50_000
_CLAIM_SECONDS = 3600.0  # far beyond any window
# Before its first answer upstream's clock is unknown, and a recorded time may be so wrong.
_SKEW_SECONDS = 2 * 3600.0
_GIVE_UP_SECONDS = 4 * 3600.0  # a task ends within 3 hours (dashscope.md 7.6)


@dataclass(slots=True)
class Doubt:
    """One submit of which nobody knows whether it made a task."""

    upstream: Upstream
    model: str
    prompt_digest: str
    broke: float
    """When its connection was surely broken: monotonic, less the time in which nobody looked."""
    recorded: float
    """When its first byte may have left, by upstream's clock as far as it was known."""
    intended: float | None = None
    """The same on the monotonic clock; ``None``: in another process."""
    others: set[str] = field(default_factory=set)
    """Tasks that the evidence has ruled out."""


class Settlement:
    """Finds out by the task list whether a doubtful submit made a task."""

    def __init__(self, dashscope: DashScope, ledger: Ledger, clock: Clock) -> None:
        self._dashscope = dashscope
        self._ledger = ledger
        self._clock = clock
        self._claimed: TTLCache[str, bool] = TTLCache(_CLAIMS, _CLAIM_SECONDS, timer=clock.now)

    def claim(self, task_id: str) -> None:
        """Take note that a task is ours, though the ledger may not have written it yet."""
        self._claimed[task_id] = True

    def written(self, task_id: str) -> None:
        """Take note that the ledger knows it."""
        self._claimed.pop(task_id, None)

    async def resolve(self, lane: Lane, doubt: Doubt) -> str | None:
        """
        Return the id of the one task that can only be ours, or ``None``: none was made.

        A candidate is a task of the window that the ledger does not know. It is ruled out
        when it ends without a picture (unbilled) or with another prompt. It takes as long
        as a candidate runs, or as the list cannot be read whole.

        Raises:
            TaskLost: two tasks of this very prompt: the evidence does not single one out.
        """
        until = self._clock.now() + _GIVE_UP_SECONDS
        quiet = 0.0
        last = broke = doubt.broke
        while (looked_at := self._clock.now()) < until:
            # In the rest of the time nobody looked: a machine that slept may have sent the
            # rest of its submit when it woke up.
            counted = min(looked_at - last, _LONGEST_GAP_SECONDS)
            doubt.broke = broke + looked_at - last - counted
            try:
                rows = await self._candidates(lane, doubt)
                matches = await self._matches(lane, doubt, rows)
            except TaskLost:
                raise
            except GatewayError as error:
                if isinstance(error, Throttled):
                    lane.calls.throttled()
                await self._clock.sleep(_LOOK_SECONDS)
                continue
            quiet += counted
            last = looked_at
            broke = doubt.broke
            waiting = [row for row in rows if row.task_id not in doubt.others | set(matches)]
            if quiet >= _QUIET_SECONDS and not waiting:
                if len(matches) > 1:
                    break
                return matches[0] if matches else None
            await self._clock.sleep(_LOOK_SECONDS)
        raise lost()

    async def _candidates(self, lane: Lane, doubt: Doubt) -> list[TaskRow]:
        """
        Return the tasks of the window that nobody has claimed and nothing has ruled out.

        Raises:
            UpstreamFailed: the list cannot be read whole, or of the wrong time, so that what
                it lacks proves nothing.
        """
        zero = self._their_zero(doubt)
        since, until = _window(doubt, zero)
        found: dict[str, TaskRow] = {}
        for number in range(1, _PAGES + 1):
            await lane.calls.turn("settlements")
            page = await self._dashscope.tasks(
                doubt.upstream, since=since - 5.0, until=until + 5.0, page=number
            )
            found.update((row.task_id, row) for row in page.rows)
            if number >= page.pages or not page.rows:
                break
        else:  # ours may be among those that were not read
            raise TaskLost("Too many tasks were made at that time to tell which is this edit's.")
        if len(found) < page.total:
            raise UpstreamFailed("The task list could not be read whole.")
        if abs(self._their_zero(doubt) - zero) > _SLACK_SECONDS:
            raise UpstreamFailed("The upstream's clock was not known before this answer.")
        if zero + self._clock.now() - since > _KEPT_SECONDS:
            raise lost()  # the list does not go back so far
        mine = [row for row in found.values() if since <= row.created <= until]
        mine = [row for row in mine if row.model in (doubt.model, "")]
        ruled_out = doubt.others | self._claimed.keys()
        mine = [row for row in mine if row.task_id not in ruled_out]
        known = await self._ledger.known([row.task_id for row in mine])
        return [row for row in mine if row.task_id not in known]

    def _their_zero(self, doubt: Doubt) -> float:
        """Return the epoch, by upstream's clock, of our monotonic clock's 0."""
        offset = self._dashscope.clock_offset(doubt.upstream.region.name)
        return self._clock.epoch() + offset - self._clock.now()

    async def _matches(self, lane: Lane, doubt: Doubt, rows: list[TaskRow]) -> list[str]:
        """Return the ended candidates that carry our prompt; rule out those that do not."""
        matches = []
        for row in rows:
            if not row.status.ended:
                continue
            await lane.calls.turn("settlements")
            task = await self._dashscope.fetch(doubt.upstream, row.task_id)
            if not task.status.ended or task.status is TaskStatus.UNKNOWN:
                continue  # UNKNOWN, of a task that the list knows, proves nothing
            told = task.orig_prompt
            if task.status is TaskStatus.SUCCEEDED and told is None:
                # Ended, billed, and silent about its prompt: it can be anybody's.
                raise TaskLost("A task that may be this edit's does not tell its prompt.")
            if told is not None and prompt_digest(told) == doubt.prompt_digest:
                matches.append(row.task_id)
            else:
                doubt.others.add(row.task_id)
        return matches


def lost() -> TaskLost:
    """Return what ends an edit of which nobody can tell whether it was made."""
    return TaskLost(
        "It cannot be told whether this edit was made; the operator can find it in the "
        "task list of the account."
    )


def _window(doubt: Doubt, zero: float) -> tuple[float, float]:
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
        since, until = doubt.recorded, min(broke, doubt.recorded + _SKEW_SECONDS)
    else:  # recorded by a clock that was ahead
        since, until = broke - _SKEW_SECONDS, broke
    return since - _SLACK_SECONDS, until + _QUIET_SECONDS + _SLACK_SECONDS
