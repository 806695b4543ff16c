"""What becomes of a part, written into the ledger and counted; a write it refuses is repeated."""

from collections.abc import Callable
from functools import partial

from gateway.domain.errors import GatewayError, LedgerUnavailable, UpstreamFailed
from gateway.domain.quotes import redact_prompt
from gateway.domain.task import Accepted, Task, TaskStatus
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.owed import OwedWrites, Write
from gateway.edits.ports import Ports


def _nothing(_task_id: str) -> None:
    """Nothing is to be done once the task is written."""


class PartLedger:
    """
    Writes for both kinds of models.

    Args:
        ports: Whom this asks.
        owed: Repeats the writes that the ledger refuses.
    """

    def __init__(self, ports: Ports, owed: OwedWrites) -> None:
        self._ports = ports
        self._owed = owed

    async def accept(
        self,
        active: ActiveEdit,
        run: PartRun,
        accepted: Accepted,
        *,
        account: AccountState,
        prompt: str | None,
        on_written: Callable[[str], None] = _nothing,
    ) -> None:
        """
        Write a part's task, which its state has already; the pictures go afterwards (D6).

        The edit goes on though the ledger cannot follow yet.

        Args:
            active: The edit.
            run: The part.
            accepted: Its task.
            account: Where it was submitted.
            prompt: As for ``write``.
            on_written: Called with the task's id once the ledger has it.
        """
        upstream = run.life.upstream
        assert upstream is not None

        attempt = run.life.attempt

        async def write() -> None:
            kept = await self._ports.ledger.accept(
                active.edit_id, run.part.index, upstream.name, accepted.task_id, attempt=attempt
            )
            on_written(accepted.task_id)
            if not kept:
                self._ports.observer.stray_task(upstream.region.name)
                self._ports.notify(
                    "stray_task",
                    edit_id=active.edit_id,
                    task_id=accepted.task_id,
                    remedy="see wan-gateway edits show, and docs/ledger.md, Strays",
                )

        await self.write(active, run, write, account=account, prompt=prompt)
        active.release_if_submitted()

    async def void(
        self,
        active: ActiveEdit,
        run: PartRun,
        error: GatewayError | None = None,
        *,
        account: AccountState,
        prompt: str | None,
    ) -> None:
        """Write that a submit surely made no task: the part waits again."""
        active.trace.undone(run.part.index, error)
        edit_id = active.edit_id
        index = run.part.index
        attempt = run.life.attempt
        await self.write(
            active,
            run,
            lambda: self._ports.ledger.void(edit_id, index, attempt=attempt),
            account=account,
            prompt=prompt,
        )
        active.life.voided(index)

    async def lose(
        self, active: ActiveEdit, run: PartRun, *, account: AccountState, prompt: str | None
    ) -> None:
        """Write that it cannot be found out what a submit made; that is final."""
        edit_id = active.edit_id
        index = run.part.index
        attempt = run.life.attempt
        await self.write(
            active,
            run,
            lambda: self._ports.ledger.end_task(edit_id, index, "lost", attempt=attempt),
            account=account,
            prompt=prompt,
        )

    async def write(
        self,
        active: ActiveEdit,
        run: PartRun,
        write: Write,
        *,
        account: AccountState,
        prompt: str | None,
        store: str = "ledger",
    ) -> None:
        """
        Write what became of a submit, by repeating it if need be.

        Args:
            active: The edit.
            run: The part.
            write: The write; may be made twice.
            account: Whose prompts are locked.
            prompt: The locked prompt. No equal one is submitted until *write* is made: after
                the death of this process the next one has only the ledger to keep apart two equal
                submits apart (D4). ``None``: no prompt is locked.
            store: Where it goes.
        """
        try:
            await write()
        except LedgerUnavailable:
            edit_id = active.edit_id
            index = run.part.index
            if prompt is None:
                self._owed.add(edit_id, index, write, store=store)
                return
            prompts = account.queue.prompts
            prompts.share(prompt)
            self._owed.add(edit_id, index, write, partial(prompts.release, prompt), store=store)

    async def end(
        self,
        active: ActiveEdit,
        run: PartRun,
        task: Task,
        *,
        seconds: float,
        timed_out: bool = False,
    ) -> None:
        """
        Write how a part's task ended, which took *seconds* from its submit, and bill it (D114).

        A task without a picture fails the part.
        """
        observer = self._ports.observer
        tenant = active.tenant.name
        region = active.tenant.region
        model = active.edit.model
        for fault in task.faults:
            redact_prompt(fault, active.edit.texts)
        polls = 0 if run.watch is None else run.watch.polls
        active.life.part_ended(run.part.index, task)
        self._mark_end(active, run, task)
        if run.watch is not None:
            observer.polls_spent(region, polls)
        outcome = "timed_out" if timed_out else _outcome(task, run.part.n)
        observer.task_ended(tenant, region, model, outcome, seconds)
        if task.images:
            observer.task_billed(tenant, region, model, active.bill_of(task))
        if (missing := run.part.n - len(task.images)) > 0:
            observer.pictures(tenant, region, model, "failed", missing)
        edit_id = active.edit_id
        index = run.part.index
        attempt = run.life.attempt
        status = task.status.lower()
        await self._owed.keep(
            edit_id,
            index,
            lambda: self._ports.ledger.end_task(edit_id, index, status, attempt=attempt),
        )
        error = None
        if not task.images:
            error = task.fault or UpstreamFailed("The task made no picture.", retry=False)
            active.life.part_failed(index, error)
            observer.task_failed(region, model, error)
        active.trace.task_ended(index, outcome, len(task.images), polls, error)

    def _mark_end(self, active: ActiveEdit, run: PartRun, task: Task) -> None:
        """Split the wait for the task by upstream's own clock: pending, running, our lag."""
        upstream = run.life.upstream
        assert upstream is not None
        now = self._ports.clock.now()
        started = run.life.since
        if len(active.runs) == 1:
            active.timeline.split_by_upstream(task.times, accepted=started, now=now)
        lag = 0.0
        if run.watch is not None and run.watch.ended_at:
            lag = max(0.0, min(now - started, now - run.watch.ended_at))
            self._ports.observer.end_detected(upstream.region.name, active.edit.model, lag)
        if all(other is run or other.life.ended for other in active.runs):
            active.timeline.end(ended=now - lag, now=now)


def _outcome(task: Task, n: int) -> str:
    """Return the metric's word for how a task ended."""
    if task.status is TaskStatus.UNKNOWN:
        return "lost"
    if task.images and len(task.images) < n:
        return "partial"
    return str(task.status).lower()
