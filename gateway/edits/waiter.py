"""One client that waits for an edit: from joining to the last byte, or to leaving."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from gateway.domain.clock import Clock, Phase, Phases
from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import (
    GatewayError,
    RateLimited,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
)
from gateway.domain.trace import UNTRACED, Trace
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.collect import Collected, ResultCollector
from gateway.edits.lifecycle import RETRY_SECONDS, Stage
from gateway.edits.request import EditResult, EditStatus, ShardMoved


@dataclass(slots=True, eq=False)
class Waiter:
    """A connected client. Use within ``async with service.attend(request) as waiter``."""

    active: ActiveEdit
    deadline: float
    """Monotonic."""
    phases: Phases
    clock: Clock
    collector: ResultCollector
    expected_rest: Callable[[ActiveEdit], float]
    """Seconds until this edit probably ends."""
    on_delivered: Callable[["Waiter"], Awaitable[None]]
    since: float
    response_format: ResponseFormat
    """What this client wants, whatever the one wanted who was the first."""
    replayed: bool = False
    trace: Trace = UNTRACED
    answered_pictures: int = 0
    """How many pictures the answer has."""
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    _timer: asyncio.Timeout | None = None
    """Of the answer that is being waited for."""

    @property
    def status(self) -> EditStatus:
        return self.active.status

    async def answer(self) -> EditResult:
        """
        Wait for the edit's end and bring its pictures home, until this client's deadline.

        Raises:
            GatewayError: the edit failed, or the deadline came; then the edit goes on and
                the error says when to come again.
            ShardMoved: another node owns the edit from now on.
        """
        active = self.active
        try:
            async with asyncio.timeout(self._rest()) as self._timer:
                await active.news.wait()
                if active.moved and not active.life.ended:
                    raise ShardMoved
                self._write_phases()
                if active.life.refusal is not None:
                    raise active.life.refusal.without_traceback()
                self.phases.enter(Phase.DOWNLOAD, self.clock.now())
                self.trace.downloading()
                collected = await self.collector.collect(active, self._opened, self.response_format)
        except TimeoutError:
            self._write_phases()
            late = self._too_late()
            self.trace.refused(late)
            raise late from None
        except GatewayError as error:
            error.edit_id = active.edit_id
            active.life.end_reported(error, self.clock.now())
            self.trace.refused(error)
            raise
        except asyncio.CancelledError:  # the client has left
            self._write_phases()
            raise
        finally:
            self._timer = None
        self.trace.answering()
        return self._answer(collected)

    def _answer(self, collected: Collected) -> EditResult:
        active = self.active
        result = EditResult(
            status=active.status,
            form=active.edit.output,
            pictures=collected.pictures,
            urls=collected.urls,
            kept=collected.kept,
            requested=active.edit.n,
            model=active.edit.model,
            bills=active.bills,
            ignored=active.edit.ignored,
            adjusted=active.adjusted,
            prompts=active.prompts_used,
            replayed=self.replayed,
        )
        self.answered_pictures = result.delivered
        return result

    def spent(self) -> Mapping[Phase, float]:
        """Return how many seconds of this request went into which phase, up to now."""
        now = self.clock.now()
        phases = self.phases
        if phases.phase is Phase.READ:  # the edit has not ended, and nothing was written yet
            phases = Phases(started=phases.started)
            self.active.timeline.replay(phases, since=self.since, now=now)
        return phases.spent(now)

    def extend(self, patience: float) -> None:
        """Extend the deadline to *patience* seconds after arrival: heartbeats keep the client."""
        self.deadline = self.since + patience
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(asyncio.get_running_loop().time() + self._rest())

    async def delivered(self) -> None:
        """Say that the last byte of the answer was handed to the client's socket."""
        self.trace.delivered()
        await self.on_delivered(self)

    async def close(self) -> None:
        """Let go of the pictures that were begun."""
        try:
            await self._opened.aclose()
        finally:
            self.trace.left()

    def _rest(self) -> float:
        return max(0.0, self.deadline - self.clock.now())

    def _write_phases(self) -> None:
        """Write the phases that went by, once."""
        if self.phases.phase is not Phase.READ:
            return
        self.active.timeline.replay(self.phases, since=self.since, now=self.clock.now())

    def _too_late(self) -> GatewayError:
        """Return the error for the deadline; after each of them a retry joins."""
        active = self.active
        stage = active.life.stage
        rest = min(RETRY_SECONDS, max(0.5, self.expected_rest(active)))
        error: GatewayError
        if stage is Stage.WAITING and active.life.held_up is not None:
            error = active.life.held_up.without_traceback()
        elif stage is Stage.WAITING:
            error = RateLimited(
                "The edit is still in the queue; nothing was submitted. Send it again to go on "
                "waiting at the same place.",
                retry_after=rest,
            )
        elif stage is Stage.UNCERTAIN:
            error = SubmitUncertain(
                "It is being found out whether the task was made. Send the same request again to "
                "get its picture.",
                retry_after=min(rest, 10.0),
            )
        elif stage is Stage.SUCCEEDED:
            error = ResultUnavailable(
                "The picture is made but could not be downloaded yet. Send the same request again "
                "to get it.",
                retry_after=5.0,
            )
        else:
            error = StillRunning(
                "The edit is still running and nothing is lost. Send the same request again, or "
                f"GET /v1/images/edits/{active.edit_id}, to get its picture.",
                retry_after=rest,
            )
        active.life.retry_advised(self.clock.now(), error.retry_after or rest)
        error.edit_id = active.edit_id
        return error
