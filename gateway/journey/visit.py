"""One customer's stay with an edit: from joining to the last byte, or to leaving."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.errors import (
    GatewayError,
    RateLimited,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
)
from gateway.domain.phases import Phase, Phases
from gateway.domain.trace import UNTRACED, Trace
from gateway.journey.ask import Answer, Incoming, Told
from gateway.journey.collect import Collector
from gateway.journey.errand import Errand, Stage

_LONGEST_RETRY = 60.0  # SDKs obey retry-after up to 60 s (openai.md 7.1)


@dataclass(slots=True, eq=False)
class Visit:
    """A connected customer. Use within ``async with desk.attend(ask) as visit``."""

    errand: Errand
    deadline: float
    """Monotonic."""
    phases: Phases
    clock: Clock
    collector: Collector
    expected_rest: Callable[[Errand], float]
    """Seconds until this edit probably ends."""
    on_delivered: Callable[["Visit"], Awaitable[None]]
    since: float
    replayed: bool = False
    trace: Trace = UNTRACED
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    _timer: asyncio.Timeout | None = None
    """Of the answer that is being waited for."""

    @property
    def told(self) -> Told:
        return self.errand.told

    async def answer(self) -> Answer:
        """
        Wait for the edit's end and bring its pictures home, until this customer's deadline.

        Raises:
            GatewayError: the edit failed, or the deadline came; then the edit goes on and
                the error says when to come again.
        """
        errand = self.errand
        try:
            async with asyncio.timeout(self._rest()) as self._timer:
                await errand.news.wait()
                self._write_phases()
                if errand.turned_away is not None and (errand.given_up or not errand.ended):
                    raise errand.turned_away
                if errand.error is not None:
                    raise errand.error.without_traceback()
                self.phases.enter(Phase.DOWNLOAD, self.clock.now())
                self.trace.downloading()
                pictures, urls = await self.collector.collect(errand, self._opened)
        except TimeoutError:
            self._write_phases()
            late = self._too_late()
            self.trace.told(late)
            raise late from None
        except GatewayError as error:
            error.edit_id = errand.edit_id
            if (error.doubtful or errand.doubtful) and errand.told_at is None:
                errand.told_at = self.clock.now()
            self.trace.told(error)
            raise
        except asyncio.CancelledError:  # the customer has left
            self._write_phases()
            raise
        finally:
            self._timer = None
        self.trace.answering()
        return self._answer(pictures, urls)

    def _answer(self, pictures: tuple[bytes | Incoming, ...], urls: tuple[str, ...]) -> Answer:
        errand = self.errand
        return Answer(
            told=errand.told,
            form=errand.edit.answer,
            pictures=pictures,
            urls=urls,
            requested=errand.edit.n,
            ignored=errand.edit.ignored,
            adjusted=errand.edit.adjusted,
            replayed=self.replayed,
        )

    def spent(self) -> Mapping[Phase, float]:
        """Return how many seconds of this request went into which phase, up to now."""
        now = self.clock.now()
        phases = self.phases
        if phases.phase is Phase.READ:  # the edit has not ended, and nothing was written yet
            phases = Phases(started=phases.started)
            self.errand.replay_marks(phases, since=self.since, now=now)
        return phases.spent(now)

    def extend(self, patience: float) -> None:
        """Let this customer wait *patience* seconds since it came: it hears of us meanwhile."""
        self.deadline = self.since + patience
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(asyncio.get_running_loop().time() + self._rest())

    async def delivered(self) -> None:
        """Say that the last byte of the answer was handed to the customer's socket."""
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
        self.errand.replay_marks(self.phases, since=self.since, now=self.clock.now())

    def _too_late(self) -> GatewayError:
        """Return what to say at the deadline; whatever it is, the retry joins."""
        errand = self.errand
        rest = min(_LONGEST_RETRY, max(0.5, self.expected_rest(errand)))
        error: GatewayError
        if errand.stage is Stage.WAITING and errand.held_up is not None:
            error = errand.held_up.without_traceback()
        elif errand.stage is Stage.WAITING:
            error = RateLimited(
                "The edit is still waiting in line; nothing was submitted. Send it again to go on "
                "waiting at the same place.",
                retry_after=rest,
            )
        elif errand.stage is Stage.UNCERTAIN:
            error = SubmitUncertain(
                "It is being found out whether the task was made. Send the same request again to "
                "get its picture.",
                retry_after=min(rest, 10.0),
            )
        elif errand.stage is Stage.SUCCEEDED:
            error = ResultUnavailable(
                "The picture is made but could not be downloaded yet. Send the same request again "
                "to get it.",
                retry_after=5.0,
            )
        else:
            error = StillRunning(
                "The edit is still running and nothing is lost. Send the same request again, or "
                f"GET /v1/images/edits/{errand.edit_id}, to get its picture.",
                retry_after=rest,
            )
        errand.sent_home(self.clock.now(), error.retry_after or rest)
        error.edit_id = errand.edit_id
        return error
