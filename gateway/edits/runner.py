"""
One edit's way: line → submit → poll, part by part, until the whole has an end.

    _try_lanes   the tenant's accounts, one after another, as long as no byte was sent
      line       a turn inside the account's limits, fair among its tenants
      submit     gateway.edits.submit: where money is spent
      follow     gateway.edits.follow: the wait for the end
"""

import asyncio

from gateway.domain.errors import (
    GatewayError,
    InternalError,
    TaskLost,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.phases import Phase
from gateway.domain.record import EditState
from gateway.domain.tenant import Tenant
from gateway.edits.account import AccountState, route
from gateway.edits.active_edit import ActiveEdit, LeftInLine, PartRun, Stage
from gateway.edits.fair_queue import Ticket
from gateway.edits.follow import Follower
from gateway.edits.owed import OwedWrites
from gateway.edits.ports import Spool
from gateway.edits.promise import PromiseKeeper, outlasts
from gateway.edits.submit import Submitter, given_up, keep
from gateway.edits.surroundings import Surroundings

_ANSWER_SECONDS = 60.0  # models without tasks mostly answer within half of it
_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


class EditRunner:
    """Carries edits to their end; whoever waits for them is somebody else's care."""

    def __init__(
        self,
        accounts: dict[tuple[str, str], AccountState],
        around: Surroundings,
        promises: PromiseKeeper,
        spool: Spool | None = None,
    ) -> None:
        self._accounts = accounts
        self._promises = promises
        self._spool = spool
        self._ledger = around.ledger
        self._finishing = around.finishing
        self._clock = around.clock
        self._observer = around.observer
        self.owed = OwedWrites(around.clock)
        """To be run for as long as this carries."""
        self._submitter = Submitter(around, self.owed)
        self._follower = Follower(around, self.owed)

    def drain(self, until: float) -> None:
        """Submit nothing any more that could not be answered *until* then (monotonic)."""
        self._submitter.until = until - _ANSWER_SECONDS

    async def carry(self, active: ActiveEdit) -> None:
        """
        Bring every part to its end, then the whole.

        After a bug it may be called again: each part goes on from what is known of it.
        """
        for run in active.runs:
            run.runner = None
        if len(active.runs) == 1:
            await self._carry_run(active, active.runs[0])
        else:
            await self._carry_runs(active)
        await self._end(active)

    async def cancel(self, active: ActiveEdit, run: PartRun) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        assert run.upstream is not None
        account = self._accounts[run.upstream.region.name, run.upstream.account.name]
        await self._follower.cancel(account, active, run)

    async def _carry_runs(self, active: ActiveEdit) -> None:
        """Carry the parts side by side; a bug in one waits for the submits that others have out."""
        bugs: list[BaseException] = []

        async def carry(run: PartRun) -> None:
            try:
                await self._carry_run(active, run)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - nor may it cut what is being paid for
                bugs.append(error)
                for other in active.runs:
                    if other is not run and other.stage is Stage.WAITING and other.runner:
                        other.runner.cancel()  # it goes on when all are carried again

        async with asyncio.TaskGroup() as group:
            for run in active.runs:
                run.runner = group.create_task(carry(run))
        if bugs:
            raise bugs[0]

    async def _carry_run(self, active: ActiveEdit, run: PartRun) -> None:
        if run.error is not None:
            return  # it had its end before a bug stopped another part
        run.runner = run.runner or asyncio.current_task()
        try:
            if run.dropped:  # before it was carried at all
                raise given_up()
            if run.upstream is not None and run.stage is not Stage.WAITING:
                await self._take_over(active, run)
            if run.task_id is None:
                await self._submit(active, run)
        except GatewayError as error:
            run.error = error.without_traceback()  # it may be kept for a day
        except asyncio.CancelledError:
            if not run.dropped:
                raise  # the process ends: the ledger knows the rest
            run.error = given_up()
        finally:
            active.let_go()
            active.stirred.set()

    async def _submit(self, active: ActiveEdit, run: PartRun) -> None:
        """Submit a part and follow it; one that was promised outlasts what is only in the way."""
        tried = 0
        while True:
            try:
                await self._have_bytes(active, run)
                await self._try_accounts(active, run)
            except GatewayError as error:
                if not outlasts(active, error):
                    raise
            else:
                return
            await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1

    async def _have_bytes(self, active: ActiveEdit, run: PartRun) -> None:
        """
        Wait for a retry to bring the bytes that a restart lost, as long as another part is out.

        Raises:
            TaskLost: nobody brought them; nothing was paid for this part.
        """
        await self._promises.recall(active)
        while not active.has_bytes:
            if not any(other.out for other in active.runs if other is not run):
                raise TaskLost(
                    "The edit was not submitted before a restart; send it again.", retry=True
                )
            active.stirred.clear()
            await active.stirred.wait()

    async def _try_accounts(self, active: ActiveEdit, run: PartRun) -> None:
        """Go through the tenant's accounts until one takes the part."""
        refused: GatewayError = UpstreamUnavailable("This tenant has no upstream.")
        for account in route(self._accounts, active.tenant):
            try:
                await self._through(account, active, run)
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                refused = error
                run.stage = Stage.WAITING
            else:
                return
        raise refused

    async def _through(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Wait for a turn of this account, submit, and follow the task to its end."""
        # Without a list to look in, two of one prompt cannot be mistaken for each other.
        prompt = active.prompt_digest if active.has_tasks else None
        run.ticket = self._ticket(account, active.tenant, run.part.n, prompt)
        active.mark(Phase.QUEUE, self._clock.now())
        active.trace.queued(run.part.index)
        if self._spool is not None and _must_wait(account, active, prompt):
            await active.spool(self._spool)
        while not await self._turn(account, active, run, run.ticket):
            pass  # back to its place: nobody was there to submit it for

    async def _turn(
        self, account: AccountState, active: ActiveEdit, run: PartRun, ticket: Ticket
    ) -> bool:
        """
        Wait for one turn and use it; False: it was given back, nothing was intended.

        Raises:
            TaskLost: it was given up while another account had it.
        """
        if active.abandoned:
            raise given_up()
        region = active.tenant.region
        tenant = active.tenant.name
        waits_since = self._clock.now()
        ticket.paused = active.away
        self._observer.queued(region, tenant, 1)
        in_line = True
        try:
            async with account.queue.slot(ticket):
                in_line = False
                self._observer.queued(region, tenant, -1)
                self._observer.queue_waited(region, self._clock.now() - waits_since)
                await self._submitter.submit(account, active, run)
                account.queue.release_prompt(ticket)
                await self._follow(account, active, run)
        except LeftInLine:
            return False
        finally:
            if in_line:
                self._observer.queued(region, tenant, -1)
        return True

    def refuse_if_full(self, tenant: Tenant) -> None:
        """
        Refuse what could not even wait in line.

        Raises:
            RateLimited: the tenant has as many edits in line as it may have.
        """
        for account in route(self._accounts, tenant)[:1]:
            self._ticket(account, tenant, 1, None)

    def _ticket(
        self, account: AccountState, tenant: Tenant, cost: int, prompt: str | None
    ) -> Ticket:
        try:
            return account.queue.issue_ticket(tenant, cost, prompt)
        except GatewayError as full:
            full.retry_after = account.expected_wait(tenant)
            self._observer.queue_rejected(tenant.name, "tenant_limit")
            raise

    async def _take_over(self, active: ActiveEdit, run: PartRun) -> None:
        """Go on with a part that another process began: its slot is in use already."""
        assert run.upstream is not None
        account = self._accounts[run.upstream.region.name, run.upstream.account.name]
        account.queue.take_slot(active.tenant)
        try:
            if run.task_id is None or not active.has_tasks:
                await self._submitter.settle(account, active, run)
            else:
                self._observer.recovered("task_followed")
            if run.task_id is not None:
                run.stage = Stage.RUNNING
                await self._promises.recall_if_possible(active)  # what is kept goes with the task
                active.let_go()
                await self._follow(account, active, run)
        finally:
            account.queue.return_slot(active.tenant)

    async def _follow(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Bring a part that has its task to the task's end."""
        if active.has_tasks:
            await self._follower.follow(account, active, run)
        else:
            await self._follower.answered(account, active, run)

    async def _end(self, active: ActiveEdit) -> None:
        """Settle the whole: one good picture is a success."""
        await self._promises.recall_if_possible(active)  # what is kept goes with the end
        errors = [run.error for run in active.runs if run.error]
        if len(errors) < len(active.runs):
            await self._write_end(active, EditState.SUCCEEDED)
            active.end(Stage.SUCCEEDED)
            return
        # A part that may be paid for forbids the retry that another part would allow.
        error = min(errors, key=lambda error: (error.retry, not error.maybe_billed))
        told = active.submitted or active.promised  # somebody may ask what became of it
        state = EditState.FAILED if told else EditState.DROPPED
        if active.submitted or active.recorded or any(run.upstream for run in active.runs):
            await self._write_end(active, state, error)
            await keep(self._finishing.forget(active))
        active.end(Stage.FAILED, error)

    async def end_by_bug(self, active: ActiveEdit, error: BaseException) -> None:
        """End an edit that cannot be carried; one that may be paid for stays open in the ledger."""
        fault = bug(error)
        if active.promised and not active.submitted:
            await self._write_end(active, EditState.FAILED, fault)
        active.end(Stage.FAILED, fault)

    async def _write_end(
        self, active: ActiveEdit, state: EditState, error: GatewayError | None = None
    ) -> None:
        edit_id = active.edit_id
        if state is EditState.DROPPED:  # if it stays, the next process drops it
            await keep(self._ledger.end_edit(edit_id, state, error))
            return
        await self.owed.keep(edit_id, None, lambda: self._ledger.end_edit(edit_id, state, error))


def _must_wait(account: AccountState, active: ActiveEdit, prompt: str | None) -> bool:
    """Say whether a part waits for longer than the submit of another part of its edit takes."""
    own = any(run.ticket is not None and run.ticket.holds_prompt for run in active.runs)
    return not account.queue.free or (account.queue.prompts.held(prompt) and not own)


def bug(error: BaseException) -> InternalError:
    """Return what a client is told when a part of ours broke."""
    fault = InternalError("The gateway failed while it carried this edit.")
    fault.__cause__ = error
    return fault
