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
from gateway.domain.record import KEPT_SECONDS
from gateway.domain.task import ResultImage, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, LeftInLine, PartRun, Stage
from gateway.edits.owed import OwedWrites, Write
from gateway.edits.resolve import SubmitResolver, UncertainSubmit, lost
from gateway.edits.surroundings import Surroundings

_HEAR_SECONDS = 3.0
_HEAR_PAUSES = (0.0, 0.3)
_READ_AGAIN_SECONDS = 5.0
_LEDGER_SECONDS = 1.0  # between two tries to write an intent
_THROTTLED_SECONDS = (1.0, 2.0, 4.0, 8.0)


class Submitter:
    """Makes one task for one part, exactly once."""

    def __init__(self, around: Surroundings, owed: OwedWrites) -> None:
        self._dashscope = around.dashscope
        self._ledger = around.ledger
        self._result_urls = around.result_urls
        self._finishing = around.finishing
        self._clock = around.clock
        self._observer = around.observer
        self._owed = owed
        self.until = math.inf
        """Monotonic: afterwards nothing is submitted whose answer would be cut by our end."""
        self._settlement = SubmitResolver(around.dashscope, around.ledger, around.clock)

    async def submit(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """
        Submit to the first upstream of this account that takes it.

        The part has its turn in line, so it holds its prompt: no equal one is open beside it.
        Afterwards the part has its task; of a model without tasks, the ended one.

        Raises:
            GatewayError: refused, and no task exists; or doubtful: nobody knows.
            LeftInLine: nothing was intended, since nobody waits for it at the moment.
        """
        refused: GatewayError = UpstreamUnavailable("No upstream of this account works.")
        for upstream in account.upstreams_of(active.tenant):
            try:
                await self._submit_to(account, upstream, active, run)
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                account.suspend(upstream, error, active.edit.model)
                refused = error
            except GatewayError as error:
                account.record_refusal(upstream, error, active.edit.model)
                raise
            else:
                account.record_success(upstream)
                return
        raise refused

    async def settle(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """
        Find out what became of a submit that another process began.

        Afterwards the part has its task, or is back to waiting: it surely has none.

        Raises:
            TaskLost: nobody can tell.
            SubmitUncertain: the same, of a model without tasks.
            ResultUnavailable: it was made, and where it lies is lost.
        """
        assert run.upstream is not None
        if not active.has_tasks:
            await self._remember(account, active, run, run.upstream)
            return
        async with account.hold_prompt(active.prompt_digest):
            try:
                task_id = await self._resolve(account, run.upstream, active, run)
            except TaskLost:
                await self._lose(account, active, run)
                raise
            if task_id is None:
                await self._undo(account, active, run)
            else:
                await self._accept(account, active, run, run.upstream, task_id)
        self._observer.recovered("submit_void" if task_id is None else "submit_resolved")

    async def _submit_to(
        self, account: AccountState, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> None:
        """
        Submit until a task exists; again only when it is certain that the last try made none.

        The intent is durable before the first byte, the task id before the first poll, and
        the end of a try before the next. While the ledger is away the part waits in its turn,
        for as long as somebody waits for it.
        """
        throttled = 0
        while not active.abandoned:
            await self._owed.written(active.edit_id, run.part.index)
            if active.has_tasks:
                await self._hear(account, upstream)
            pictures = await self._uploaded(upstream, active, run)
            await account.submit_limiter.acquire()
            self._refuse_in_vain(active)
            if not await self._intend(account, upstream, active, run):
                await self._clock.sleep(_LEDGER_SECONDS)
                continue
            try:
                task_id = await self._send(account, upstream, active, run, pictures)
            except Throttled as error:
                account.submit_limiter.slow_down()
                self._observer.upstream_throttled(upstream.region.name, "submit")
                await self._undo(account, active, run, error)
                await self._clock.sleep(_THROTTLED_SECONDS[min(throttled, 3)])
                throttled += 1
                continue
            except GatewayError as error:
                self._observer.task_failed(upstream.region.name, active.edit.model, error)
                if not error.maybe_billed:
                    await self._undo(account, active, run, error)
                elif active.has_tasks:
                    await self._lose(account, active, run)
                raise
            if task_id is not None:
                await self._accept(account, active, run, upstream, task_id)
                return
            await self._undo(account, active, run)
        raise given_up()

    def _refuse_in_vain(self, active: ActiveEdit) -> None:
        """
        Look once more before the intent, since the wait for a turn may have been long.

        Raises:
            Draining: its answer would be cut by our end.
            LeftInLine: its client has hung up.
        """
        if not active.has_tasks and self._clock.now() > self.until:
            raise Draining("The gateway restarts; send the edit again.", retry_after=2.0)
        if active.away:
            raise LeftInLine

    async def _uploaded(
        self, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> tuple[Picture, ...]:
        """Return the pictures as they go into the submit; what is too big for it goes up now."""
        if upstream.name in active.uploaded:
            return active.uploaded[upstream.name]
        pictures = await active.bytes()
        pictures = await self._dashscope.upload(upstream, active.edit, run.part, pictures)
        if all(picture.url for picture in pictures):
            active.uploaded[upstream.name] = pictures
        return pictures

    async def _intend(
        self, account: AccountState, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> bool:
        """
        Have the intent written down; return whether it is.

        Raises:
            LedgerConflict: the edit has ended, by what the ledger says.
        """
        active.mark(Phase.SUBMIT, self._clock.now())
        theirs = self._dashscope.clock_offset(upstream.region.name)
        run.upstream = upstream
        run.intended, run.intended_at = self._clock.now(), self._clock.epoch() + theirs
        active.reach(run, Stage.SUBMITTING)
        active.trace.submitting(run.part.index, upstream)
        try:
            await self._finishing.keep(active)
            await self._ledger.intend(active.record(), run.record())
        except LedgerUnavailable as away:
            active.held_up = away
            await self._undo(account, active, run, away)  # it may be written all the same
            return False
        active.held_up = None
        return True

    async def _hear(self, account: AccountState, upstream: Upstream) -> None:
        """
        Have an answer of the region before the first intent: its time stands in that.

        By it the next process looks for the task, whatever our calendar said or will say. A
        region that says nothing is submitted to all the same.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEAR_SECONDS):
                for pause in _HEAR_PAUSES:
                    if self._dashscope.clock_known(upstream.region.name):
                        return
                    await self._clock.sleep(pause)
                    await account.call_limiter.acquire("settlements")
                    until = self._clock.epoch()
                    with suppress(GatewayError):  # a refusal is an answer, too
                        await self._dashscope.tasks(
                            upstream, since=until - 60.0, until=until, page_size=1
                        )

    async def _send(
        self,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        pictures: tuple[Picture, ...],
    ) -> str | None:
        """Send one submit; return its task's id, or ``None`` when it surely made none."""
        region = upstream.region.name
        state = "submitting"
        if not active.has_tasks:  # what is sent is made at once, and the answer is the end
            state = "running"
            run.accepted_at = self._clock.now()
            active.reach(run, Stage.RUNNING)
            active.mark(Phase.UPSTREAM_RUNNING, run.accepted_at)
        self._observer.task_state(region, None, state)
        try:
            accepted = await self._dashscope.submit(upstream, active.edit, run.part, pictures)
        except SubmitUncertain as doubt:
            account.record_refusal(upstream, doubt, active.edit.model)
            active.reach(run, Stage.UNCERTAIN)
            active.trace.uncertain(run.part.index)
            if not active.has_tasks:
                raise _nobody_knows(doubt) from doubt
            task_id = await self._resolve(account, upstream, active, run)
            if task_id is None and doubt.refusal is not None:
                raise doubt.refusal from doubt
            return task_id
        finally:
            self._observer.task_state(region, state, None)
        if active.has_tasks and await self._settlement.is_anothers(accepted.task_id):
            return await self._told_twice(account, upstream, active, run)
        run.request_id = accepted.request_id
        run.task = accepted.task
        return accepted.task_id

    async def _told_twice(
        self, account: AccountState, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> str:
        """
        Find the task of a submit whose answer named another part's task.

        Raises:
            TaskLost: the list shows none; it is not submitted again, for what was done with
                it nobody knows.
        """
        active.reach(run, Stage.UNCERTAIN)
        active.trace.uncertain(run.part.index)
        task_id = await self._resolve(account, upstream, active, run)
        if task_id is None:
            raise lost()
        return task_id

    async def _resolve(
        self, account: AccountState, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> str | None:
        """Find out by the task list what became of the open submit."""
        doubt = UncertainSubmit(
            upstream=upstream,
            model=active.edit.model,
            prompt_digest=active.prompt_digest,
            prompt_forms=active.prompt_forms,
            broke=self._clock.now(),
            intended=run.intended,
            recorded=run.intended_at,
        )
        task_id = await self._settlement.resolve(account, doubt)
        if task_id is not None:
            self._observer.duplicate_prevented("ambiguous_found")
        return task_id

    async def _accept(
        self,
        account: AccountState,
        active: ActiveEdit,
        run: PartRun,
        upstream: Upstream,
        task_id: str,
    ) -> None:
        """
        Take note of the task at once in this process, then on the disk.

        The edit goes on though the ledger cannot follow yet.
        """
        edit_id = active.edit_id
        index = run.part.index
        task = run.task
        run.task_id = task_id
        self._settlement.claim(task_id)
        active.reach(run, Stage.RUNNING)

        async def write() -> None:
            await self._ledger.accept(edit_id, index, upstream.name, task_id)
            self._settlement.written(task_id)

        if task is not None:  # nobody tells it again
            await self._write(
                account,
                active,
                run,
                lambda: self._result_urls.put(edit_id, index, task.images),
                store="receipts",
            )
        await self._write(account, active, run, write)
        active.let_go()

    async def _write(
        self,
        account: AccountState,
        active: ActiveEdit,
        run: PartRun,
        write: Write,
        *,
        store: str = "ledger",
    ) -> None:
        """
        Have what became of a submit written down, by repeating it if need be.

        Until it is, no equal prompt is submitted: after the death of this process the next
        one has only the ledger to tell two equal submits apart.
        """
        try:
            await write()
        except LedgerUnavailable:
            edit_id = active.edit_id
            index = run.part.index
            if not active.has_tasks:
                self._owed.add(edit_id, index, write, store=store)
                return
            prompts = account.queue.prompts
            prompt = active.prompt_digest
            prompts.share(prompt)
            self._owed.add(edit_id, index, write, partial(prompts.release, prompt))

    async def _remember(
        self, account: AccountState, active: ActiveEdit, run: PartRun, upstream: Upstream
    ) -> None:
        """Find the pictures of a model without tasks where an earlier try or process left them."""
        if run.task is not None:
            return
        made = await self._kept_urls(active, run)
        if made is None:
            raise _nobody_knows() if run.task_id is None else made_and_lost()
        task_id = run.task_id or "request-unknown"
        run.task = Task(task_id=task_id, status=TaskStatus.SUCCEEDED, results=made)
        await self._accept(account, active, run, upstream, task_id)
        self._observer.recovered("submit_resolved")

    async def _kept_urls(self, active: ActiveEdit, run: PartRun) -> tuple[ResultImage, ...] | None:
        """Read where the pictures lie; while that cannot be told, nothing is given up for a day."""
        until = self._clock.now() + KEPT_SECONDS
        while self._clock.now() < until:
            try:
                return await self._result_urls.get(active.edit_id, run.part.index)
            except LedgerUnavailable:  # the folder itself tells the operator
                await self._clock.sleep(_READ_AGAIN_SECONDS)
        return None

    async def _undo(
        self,
        account: AccountState,
        active: ActiveEdit,
        run: PartRun,
        error: GatewayError | None = None,
    ) -> None:
        """It is certain that no task was made: back to waiting."""
        active.trace.undone(run.part.index, error)
        edit_id = active.edit_id
        index = run.part.index
        await self._write(account, active, run, lambda: self._ledger.void(edit_id, index))
        run.task_id = None
        active.reach(run, Stage.WAITING)

    async def _lose(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Nobody can tell: so it stays, whatever is submitted and found after it."""
        edit_id = active.edit_id
        index = run.part.index
        await self._write(
            account, active, run, lambda: self._ledger.end_task(edit_id, index, "lost")
        )


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
