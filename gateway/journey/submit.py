"""Where money is spent: the intent, the submit, and what follows when its answer is lost."""

import asyncio
import math
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial

from gateway.domain.edit import Picture
from gateway.domain.errors import (
    Draining,
    GatewayError,
    LedgerUnavailable,
    ResultUnavailable,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.phases import Phase
from gateway.domain.task import Made, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.errand import Errand, LeftInLine, Leg, Stage
from gateway.journey.lane import Lane
from gateway.journey.owed import OwedWrites, Write
from gateway.journey.settle import Doubt, Settlement, lost
from gateway.journey.surroundings import Surroundings

_HEAR_SECONDS = 3.0
_HEAR_PAUSES = (0.0, 0.3)
_READ_AGAIN_SECONDS = 5.0
_URL_SECONDS = 24 * 3600.0  # so long a result URL can be used (dashscope.md 4.1)
_LEDGER_SECONDS = 1.0  # between two tries to write an intent
_THROTTLED_SECONDS = (1.0, 2.0, 4.0, 8.0)


class Submitter:
    """Makes one task for one part, exactly once."""

    def __init__(self, around: Surroundings, owed: OwedWrites) -> None:
        self._dashscope = around.dashscope
        self._ledger = around.ledger
        self._receipts = around.receipts
        self._finishing = around.finishing
        self._clock = around.clock
        self._observer = around.observer
        self._owed = owed
        self.until = math.inf
        """Monotonic: afterwards nothing is submitted whose answer would be cut by our end."""
        self._settlement = Settlement(around.dashscope, around.ledger, around.clock)

    async def submit(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """
        Submit to the first upstream of this account that takes it.

        The part has its turn in line, so it holds its prompt: no equal one is open beside it.
        Afterwards the part has its task; of a model without tasks, the ended one.

        Raises:
            GatewayError: refused, and no task exists; or doubtful: nobody knows.
            LeftInLine: nothing was intended, since nobody waits for it at the moment.
        """
        refused: GatewayError = UpstreamUnavailable("No upstream of this account works.")
        for upstream in lane.upstreams_of(errand.tenant):
            try:
                await self._submit_to(lane, upstream, errand, leg)
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                lane.rest(upstream, error, errand.edit.model)
                refused = error
            except GatewayError as error:
                lane.refused(upstream, error, errand.edit.model)
                raise
            else:
                lane.works(upstream)
                return
        raise refused

    async def settle(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """
        Find out what became of a submit that another process began.

        Afterwards the part has its task, or is back to waiting: it surely has none.

        Raises:
            TaskLost: nobody can tell.
            SubmitUncertain: the same, of a model without tasks.
            ResultUnavailable: it was made, and where it lies is lost.
        """
        assert leg.upstream is not None
        if not errand.has_tasks:
            await self._remember(lane, errand, leg, leg.upstream)
            return
        async with lane.prompt(errand.prompt_digest):
            try:
                task_id = await self._resolve(lane, leg.upstream, errand, leg)
            except TaskLost:
                await self._lose(lane, errand, leg)
                raise
            if task_id is None:
                await self._undo(lane, errand, leg)
            else:
                await self._accept(lane, errand, leg, leg.upstream, task_id)
        self._observer.recovered("submit_void" if task_id is None else "submit_resolved")

    async def _submit_to(self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg) -> None:
        """
        Submit until a task exists; again only when it is certain that the last try made none.

        The intent is durable before the first byte, the task id before the first poll, and
        the end of a try before the next. While the ledger is away the part waits in its turn,
        for as long as somebody waits for it.
        """
        throttled = 0
        while not errand.abandoned:
            await self._owed.written(errand.edit_id, leg.part.index)
            if errand.has_tasks:
                await self._hear(lane, upstream)
            pictures = await self._uploaded(upstream, errand, leg)
            await lane.submits.turn()
            self._refuse_in_vain(errand)
            if not await self._intend(lane, upstream, errand, leg):
                await self._clock.sleep(_LEDGER_SECONDS)
                continue
            try:
                task_id = await self._send(lane, upstream, errand, leg, pictures)
            except Throttled as error:
                lane.submits.throttled()
                self._observer.upstream_throttled(upstream.region.name, "submit")
                await self._undo(lane, errand, leg, error)
                await self._clock.sleep(_THROTTLED_SECONDS[min(throttled, 3)])
                throttled += 1
                continue
            except GatewayError as error:
                self._observer.task_failed(upstream.region.name, errand.edit.model, error)
                if not error.doubtful:
                    await self._undo(lane, errand, leg, error)
                elif errand.has_tasks:
                    await self._lose(lane, errand, leg)
                raise
            if task_id is not None:
                await self._accept(lane, errand, leg, upstream, task_id)
                return
            await self._undo(lane, errand, leg)
        raise given_up()

    def _refuse_in_vain(self, errand: Errand) -> None:
        """
        Look once more before the intent, since the wait for a turn may have been long.

        Raises:
            Draining: its answer would be cut by our end.
            LeftInLine: its client has hung up.
        """
        if not errand.has_tasks and self._clock.now() > self.until:
            raise Draining("The gateway restarts; send the edit again.", retry_after=2.0)
        if errand.away:
            raise LeftInLine

    async def _uploaded(self, upstream: Upstream, errand: Errand, leg: Leg) -> tuple[Picture, ...]:
        """Return the pictures as they go into the submit; what is too big for it goes up now."""
        if upstream.name in errand.uploaded:
            return errand.uploaded[upstream.name]
        pictures = await errand.bytes()
        pictures = await self._dashscope.upload(upstream, errand.edit, leg.part, pictures)
        if all(picture.url for picture in pictures):
            errand.uploaded[upstream.name] = pictures
        return pictures

    async def _intend(self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg) -> bool:
        """
        Have the intent written down; return whether it is.

        Raises:
            LedgerConflict: the edit has ended, by what the ledger says.
        """
        errand.mark(Phase.SUBMIT, self._clock.now())
        theirs = self._dashscope.clock_offset(upstream.region.name)
        leg.upstream = upstream
        leg.intended, leg.intended_at = self._clock.now(), self._clock.epoch() + theirs
        errand.reach(leg, Stage.SUBMITTING)
        errand.trace.submitting(leg.part.index, upstream)
        try:
            await self._finishing.keep(errand)
            await self._ledger.intend(errand.record(), leg.record())
        except LedgerUnavailable as away:
            errand.held_up = away
            await self._undo(lane, errand, leg, away)  # it may be written all the same
            return False
        errand.held_up = None
        return True

    async def _hear(self, lane: Lane, upstream: Upstream) -> None:
        """
        Have an answer of the region before the first intent: its time stands in that.

        By it the next process looks for the task, whatever our calendar said or will say. A
        region that says nothing is submitted to all the same.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEAR_SECONDS):
                for pause in _HEAR_PAUSES:
                    if self._dashscope.heard(upstream.region.name):
                        return
                    await self._clock.sleep(pause)
                    await lane.calls.turn("settlements")
                    until = self._clock.epoch()
                    with suppress(GatewayError):  # a refusal is an answer, too
                        await self._dashscope.tasks(
                            upstream, since=until - 60.0, until=until, page_size=1
                        )

    async def _send(
        self,
        lane: Lane,
        upstream: Upstream,
        errand: Errand,
        leg: Leg,
        pictures: tuple[Picture, ...],
    ) -> str | None:
        """Send one submit; return its task's id, or ``None`` when it surely made none."""
        region = upstream.region.name
        state = "submitting"
        if not errand.has_tasks:  # what is sent is made at once, and the answer is the end
            state = "running"
            leg.accepted_at = self._clock.now()
            errand.reach(leg, Stage.RUNNING)
            errand.mark(Phase.UPSTREAM_RUNNING, leg.accepted_at)
        self._observer.task_state(region, None, state)
        try:
            accepted = await self._dashscope.submit(upstream, errand.edit, leg.part, pictures)
        except SubmitUncertain as doubt:
            lane.refused(upstream, doubt, errand.edit.model)
            errand.reach(leg, Stage.UNCERTAIN)
            errand.trace.uncertain(leg.part.index)
            if not errand.has_tasks:
                raise _nobody_knows(doubt) from doubt
            task_id = await self._resolve(lane, upstream, errand, leg)
            if task_id is None and doubt.refusal is not None:
                raise doubt.refusal from doubt
            return task_id
        finally:
            self._observer.task_state(region, state, None)
        if errand.has_tasks and await self._settlement.is_anothers(accepted.task_id):
            return await self._told_twice(lane, upstream, errand, leg)
        leg.request_id = accepted.request_id
        leg.task = accepted.task
        return accepted.task_id

    async def _told_twice(self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg) -> str:
        """
        Find the task of a submit whose answer named another part's task.

        Raises:
            TaskLost: the list shows none; it is not submitted again, for what was done with
                it nobody knows.
        """
        errand.reach(leg, Stage.UNCERTAIN)
        errand.trace.uncertain(leg.part.index)
        task_id = await self._resolve(lane, upstream, errand, leg)
        if task_id is None:
            raise lost()
        return task_id

    async def _resolve(
        self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg
    ) -> str | None:
        """Find out by the task list what became of the open submit."""
        doubt = Doubt(
            upstream=upstream,
            model=errand.edit.model,
            prompt_digest=errand.prompt_digest,
            prompt_forms=errand.prompt_forms,
            broke=self._clock.now(),
            intended=leg.intended,
            recorded=leg.intended_at,
        )
        task_id = await self._settlement.resolve(lane, doubt)
        if task_id is not None:
            self._observer.duplicate_prevented("ambiguous_found")
        return task_id

    async def _accept(
        self, lane: Lane, errand: Errand, leg: Leg, upstream: Upstream, task_id: str
    ) -> None:
        """
        Take note of the task at once in this process, then on the disk.

        The edit goes on though the ledger cannot follow yet.
        """
        edit_id = errand.edit_id
        index = leg.part.index
        task = leg.task
        leg.task_id = task_id
        self._settlement.claim(task_id)
        errand.reach(leg, Stage.RUNNING)

        async def write() -> None:
            await self._ledger.accept(edit_id, index, upstream.name, task_id)
            self._settlement.written(task_id)

        if task is not None:  # nobody tells it again
            await self._write(
                lane,
                errand,
                leg,
                lambda: self._receipts.put(edit_id, index, task.made),
                store="receipts",
            )
        await self._write(lane, errand, leg, write)
        errand.let_go()

    async def _write(
        self, lane: Lane, errand: Errand, leg: Leg, write: Write, *, store: str = "ledger"
    ) -> None:
        """
        Have what became of a submit written down, by repeating it if need be.

        Until it is, no equal prompt is submitted: after the death of this process the next
        one has only the ledger to tell two equal submits apart.
        """
        try:
            await write()
        except LedgerUnavailable:
            edit_id = errand.edit_id
            index = leg.part.index
            if not errand.has_tasks:
                self._owed.add(edit_id, index, write, store=store)
                return
            prompts = lane.line.prompts
            prompt = errand.prompt_digest
            prompts.share(prompt)
            self._owed.add(edit_id, index, write, partial(prompts.release, prompt))

    async def _remember(self, lane: Lane, errand: Errand, leg: Leg, upstream: Upstream) -> None:
        """Find the pictures of a model without tasks where an earlier try or process left them."""
        if leg.task is not None:
            return
        made = await self._receipt(errand, leg)
        if made is None:
            raise _nobody_knows() if leg.task_id is None else made_and_lost()
        task_id = leg.task_id or "request-unknown"
        leg.task = Task(task_id=task_id, status=TaskStatus.SUCCEEDED, results=made)
        await self._accept(lane, errand, leg, upstream, task_id)
        self._observer.recovered("submit_resolved")

    async def _receipt(self, errand: Errand, leg: Leg) -> tuple[Made, ...] | None:
        """Read where the pictures lie; while that cannot be told, nothing is given up for a day."""
        until = self._clock.now() + _URL_SECONDS
        while self._clock.now() < until:
            try:
                return await self._receipts.get(errand.edit_id, leg.part.index)
            except LedgerUnavailable:  # the folder itself tells the operator
                await self._clock.sleep(_READ_AGAIN_SECONDS)
        return None

    async def _undo(
        self, lane: Lane, errand: Errand, leg: Leg, error: GatewayError | None = None
    ) -> None:
        """It is certain that no task was made: back to waiting."""
        errand.trace.undone(leg.part.index, error)
        edit_id = errand.edit_id
        index = leg.part.index
        await self._write(lane, errand, leg, lambda: self._ledger.void(edit_id, index))
        leg.task_id = None
        errand.reach(leg, Stage.WAITING)

    async def _lose(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Nobody can tell: so it stays, whatever is submitted and found after it."""
        edit_id = errand.edit_id
        index = leg.part.index
        await self._write(lane, errand, leg, lambda: self._ledger.end_task(edit_id, index, "lost"))


def _nobody_knows(doubt: SubmitUncertain | None = None) -> SubmitUncertain:
    """Return what ends an edit of a model without tasks whose answer was lost."""
    return SubmitUncertain(
        "The upstream's answer was lost, and this model has no list to look it up in: the "
        "picture may have been made and paid for. Only if it may be paid for twice, send the "
        "edit again in two minutes, or at once with a new Idempotency-Key.",
        retry=False,
        upstream_code=None if doubt is None else doubt.upstream_code,
        upstream_request_id=None if doubt is None else doubt.upstream_request_id,
    )


def made_and_lost() -> ResultUnavailable:
    """Return what ends an edit that was made, but not kept: DashScope tells it only once."""
    return ResultUnavailable("The picture was made, but where it lies is lost.", retry=False)


def given_up() -> TaskLost:
    """Return what ends a part that nobody wants any more before it has a task."""
    return TaskLost("The edit was given up before it was submitted.", retry=True)


async def keep(write: Awaitable[None]) -> None:
    """Write after money was spent: the edit goes on though the ledger cannot follow."""
    try:
        await write
    except LedgerUnavailable:
        return  # the ledger itself tells the operator
