"""
The way of an edit: wait for a slot, submit, follow the task, part by part, until the whole ends.

    EditRunner.run       all parts side by side, then the end of the whole
      _submit            the tenant's accounts, one after another, as long as no byte was sent
        _in_slot         a slot within the account's limits, fair among its tenants
          Submitter      gateway.edits.submit: where money is spent
          SubmitStrategy the wait for the task's end: with_tasks or without_tasks
"""

import asyncio
from contextlib import suppress

from gateway.domain.clock import Phase
from gateway.domain.errors import (
    GatewayError,
    InternalError,
    LedgerUnavailable,
    TaskLost,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.record import EditState
from gateway.domain.tenant import Tenant
from gateway.edits.account import Accounts, AccountState, route
from gateway.edits.active_edit import ActiveEdit, NobodyWaitsError, PartRun
from gateway.edits.ended import ended_edit
from gateway.edits.fair_queue import Ticket
from gateway.edits.lifecycle import Stage
from gateway.edits.owed import OwedWrites
from gateway.edits.part_ledger import PartLedger
from gateway.edits.ports import Ports, Spool
from gateway.edits.postprocess import Postprocessing
from gateway.edits.promise import PromiseKeeper, outlasts
from gateway.edits.submit import SubmitStrategy, Submitter, given_up
from gateway.edits.with_tasks import WithTasks
from gateway.edits.without_tasks import WithoutTasks

_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


class EditRunner:
    """Brings edits to their end, with or without a client that waits."""

    def __init__(
        self,
        accounts: Accounts,
        ports: Ports,
        *,
        owed: OwedWrites,
        promises: PromiseKeeper,
        postprocessing: Postprocessing,
        spool: Spool | None = None,
    ) -> None:
        self._accounts = accounts
        self._ports = ports
        self._promises = promises
        self._postprocessing = postprocessing
        self._spool = spool
        self._owed = owed
        part_ledger = PartLedger(ports, owed)
        self._submitter = Submitter(
            ports, accounts, owed=owed, part_ledger=part_ledger, postprocessing=postprocessing
        )
        self._with_tasks = WithTasks(ports, part_ledger)
        self._without_tasks = WithoutTasks(ports, part_ledger)

    def drain(self, until: float) -> None:
        """Submit nothing any more that could not be answered *until* then (monotonic)."""
        self._without_tasks.drain(until)

    def stop_submits(self) -> None:
        """Submit nothing any more: another node will."""
        self._submitter.stop()

    def strategy_of(self, active: ActiveEdit) -> SubmitStrategy:
        """Return how the model of an edit is submitted."""
        return self._with_tasks if active.model.has_tasks else self._without_tasks

    async def run(self, active: ActiveEdit) -> None:
        """
        Bring every part to its end, then the whole.

        After a bug it may be called again: each part goes on from what is known of it (D70).
        """
        for run in active.runs:
            run.run_by(None)
        if len(active.runs) == 1:
            await self._run_part(active, active.runs[0])
        else:
            await self._run_parts(active)
        await self._end(active)

    async def cancel(self, active: ActiveEdit, run: PartRun) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        upstream = run.life.upstream
        assert upstream is not None
        await self._with_tasks.cancel(self._accounts.of(upstream), active, run)

    def refuse_if_full(self, tenant: Tenant, model: str) -> None:
        """
        Refuse what could not even wait in the queue.

        Raises:
            RateLimited: the tenant has as many edits in it as it may have.
        """
        for account in route(self._accounts, tenant, model)[:1]:
            self._ticket(account, tenant, model, 1)

    async def end_after_bug(self, active: ActiveEdit, error: BaseException) -> None:
        """End an edit that cannot be run; one that may be billed stays open in the ledger (D70)."""
        fault = InternalError("The gateway failed while it carried this edit.")
        fault.__cause__ = error
        for run in active.runs:
            run.release_prompt()
        try:
            if active.life.promised and not active.life.submitted:
                await self._write_end(active, EditState.FAILED, fault)
        finally:
            self._end_now(active, fault)

    async def _run_parts(self, active: ActiveEdit) -> None:
        """Run the parts side by side; a bug in one waits for the submits that others have out."""
        bugs: list[BaseException] = []

        async def run_part(run: PartRun) -> None:
            try:
                await self._run_part(active, run)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - nor may it cut what is being paid for
                bugs.append(error)
                for other in active.runs:
                    if other is not run and other.life.stage is Stage.WAITING and other.runner:
                        other.runner.cancel()  # it goes on when all are run again

        async with asyncio.TaskGroup() as group:
            for run in active.runs:
                run.run_by(group.create_task(run_part(run)))
        if bugs:
            raise bugs[0]

    async def _run_part(self, active: ActiveEdit, run: PartRun) -> None:
        if run.life.error is not None:
            return  # it had its end before a bug stopped another part
        run.run_by(run.runner or asyncio.current_task())
        index = run.part.index
        try:
            if run.life.dropped:  # before it was run at all
                raise given_up()
            if run.life.upstream is not None and run.life.stage is not Stage.WAITING:
                await self._take_over(active, run)
            if run.life.task_id is None:
                await self._submit(active, run)
            if not run.life.ended:  # an earlier attempt made its task on another account
                await self._take_over(active, run)
        except GatewayError as error:
            active.life.part_failed(index, error.without_traceback())  # it may be kept for a day
        except asyncio.CancelledError:
            if not run.life.dropped:
                raise  # the process ends: the ledger knows the rest
            active.life.part_failed(index, given_up())
        finally:
            active.release_if_submitted()
            active.stirred.set()

    async def _take_over(self, active: ActiveEdit, run: PartRun) -> None:
        """Go on with a part that another process began: its slot is in use already."""
        upstream = run.life.upstream
        assert upstream is not None
        account = self._accounts.of(upstream)
        strategy = self.strategy_of(active)
        account.queue.take_slot(active.tenant, active.edit.model)
        try:
            await strategy.take_over(account, active, run)
            if run.life.task_id is not None:
                await self._promises.recall_if_possible(active)  # what is kept goes with the task
                active.release_if_submitted()
                await strategy.follow(account, active, run)
        finally:
            account.queue.return_slot(active.tenant, active.edit.model)

    async def _submit(self, active: ActiveEdit, run: PartRun) -> None:
        """
        Go through the tenant's accounts until one takes the part, and follow it to its end.

        A promised part outlasts what is only in the way.
        """
        tried = 0
        while True:
            try:
                await self._have_bytes(active, run)
                refused: GatewayError = UpstreamUnavailable("This tenant has no upstream.")
                for account in route(self._accounts, active.tenant, active.edit.model):
                    try:
                        await self._wait_and_submit(account, active, run)
                    except (UpstreamUnreachable, UpstreamUnavailable) as error:
                        refused = error
                    else:
                        return
                raise refused
            except GatewayError as error:
                if not outlasts(active, error):
                    raise
            await self._ports.clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1

    async def _have_bytes(self, active: ActiveEdit, run: PartRun) -> None:
        """
        Wait for a retry to bring the bytes that a restart lost, as long as another part is out.

        Raises:
            TaskLost: no retry brought them; nothing was paid for this part.
        """
        await self._promises.recall(active)
        while not active.has_bytes:
            if not any(other.out for other in active.runs if other is not run):
                raise TaskLost(
                    "The edit was not submitted before a restart; send it again.", retry=True
                )
            active.stirred.clear()
            await active.stirred.wait()

    async def _wait_and_submit(
        self, account: AccountState, active: ActiveEdit, run: PartRun
    ) -> None:
        """
        Wait for a slot of this account, submit, and follow the task to its end.

        Raises:
            TaskLost: it was given up while another account had it.
        """
        strategy = self.strategy_of(active)
        prompt = strategy.prompt_to_lock(active)
        ticket = self._ticket(
            account,
            active.tenant,
            active.edit.model,
            run.part.n,
            prompt=prompt,
            arrived=active.arrived,
        )
        run.wait_with(ticket)
        active.timeline.enter(Phase.QUEUE, self._ports.clock.now())
        active.trace.queued(run.part.index)
        if self._spool is not None and _must_wait(account, active, prompt):
            await active.spool(self._spool)
        while True:
            if active.life.abandoned:
                raise given_up()
            try:
                await self._in_slot(account, strategy, active, run, ticket)
            except NobodyWaitsError:
                continue  # the slot was given back: it waits at the same place
            return

    async def _in_slot(
        self,
        account: AccountState,
        strategy: SubmitStrategy,
        active: ActiveEdit,
        run: PartRun,
        ticket: Ticket,
    ) -> None:
        """
        Wait for one slot and use it.

        Raises:
            NobodyWaitsError: nothing was intended, since no client waits for it.
        """
        observer = self._ports.observer
        region = active.tenant.region
        tenant = active.tenant.name
        waits_since = self._ports.clock.now()
        ticket.paused = active.life.unattended
        observer.queued(region, tenant, 1)
        queued = True
        try:
            async with account.queue.slot(ticket):
                queued = False
                observer.queued(region, tenant, -1)
                observer.queue_waited(region, self._ports.clock.now() - waits_since)
                with account.keep_prompt_after_bug(ticket.prompt, run):
                    await self._submitter.submit(account, strategy, active, run)
                account.queue.release_prompt(ticket)
                upstream = run.life.upstream
                if upstream is not None and self._accounts.of(upstream) is account:
                    await strategy.follow(account, active, run)
        finally:
            if queued:
                observer.queued(region, tenant, -1)

    def _ticket(
        self,
        account: AccountState,
        tenant: Tenant,
        model: str,
        cost: int,
        *,
        prompt: str | None = None,
        arrived: float = 0.0,
    ) -> Ticket:
        try:
            return account.queue.issue_ticket(tenant, cost, prompt, model=model, arrived=arrived)
        except GatewayError as full:
            full.retry_after = account.expected_wait(tenant, model)
            self._ports.observer.queue_rejected(tenant.name, "tenant_limit")
            raise

    async def _end(self, active: ActiveEdit) -> None:
        """Write how the whole ends, then wake its clients."""
        await self._promises.recall_if_possible(active)  # what is kept goes with the end
        outcome = active.life.outcome()
        if outcome.recorded:
            await self._write_end(active, outcome.state, outcome.error)
            if outcome.error is not None:
                with suppress(LedgerUnavailable):  # the next process drops it
                    await self._postprocessing.forget(active)
        self._end_now(active, outcome.error)

    def _end_now(self, active: ActiveEdit, error: GatewayError | None) -> None:
        """Wake its clients, and report it once."""
        active.end(error)
        self._ports.ended(ended_edit(active, error, self._ports.clock.now()))

    async def _write_end(
        self, active: ActiveEdit, state: EditState, error: GatewayError | None = None
    ) -> None:
        edit_id = active.edit_id
        ledger = self._ports.ledger
        await self._owed.keep(edit_id, None, lambda: ledger.end_edit(edit_id, state, error))


def _must_wait(account: AccountState, active: ActiveEdit, prompt: str | None) -> bool:
    """Say whether a part waits for longer than the submit of another part of its edit takes."""
    own = any(run.ticket is not None and run.ticket.holds_prompt for run in active.runs)
    return not account.queue.free(active.edit.model) or (
        account.queue.prompts.held(prompt) and not own
    )
