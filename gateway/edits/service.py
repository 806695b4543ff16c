"""The edit service: a request joins or begins an edit; it follows clients and restarts."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

from gateway.domain.clock import Phases
from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import InvalidRequest, LedgerUnavailable, TaskLost
from gateway.domain.record import KEPT_SECONDS, EditRecord, EditState
from gateway.domain.snapshot import Snapshot
from gateway.domain.tenant import Tenant, Upstream
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.edits.account import AccountState, build_accounts, expected_rest
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.collect import ResultCollector
from gateway.edits.expiry import Expiry
from gateway.edits.index import EditIndex
from gateway.edits.lifecycle import CancelTask, EditLife, Effect, Effects, Stage, draining
from gateway.edits.owed import OwedWrites
from gateway.edits.ports import Ports, Spool
from gateway.edits.postprocess import Postprocessing
from gateway.edits.promise import PromiseKeeper
from gateway.edits.request import EditRequest, EditStatus, ShardMoved, new_edit_id
from gateway.edits.restore import restore_edit
from gateway.edits.runner import EditRunner
from gateway.edits.snapshot import take_snapshot
from gateway.edits.takeover import PUT_BACK, OrphanedEditsError, Takeover
from gateway.edits.waiter import Waiter

_CANCEL_AGAIN_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_CARRIES = 3  # tries to carry an edit on whose way we broke


class EditService:
    """The one object that gateway.downstream uses. An async context manager."""

    draining = False  # refuses new edits; the running ones go on

    def __init__(
        self,
        *,
        tenants: Iterable[Tenant],
        upstreams: Iterable[Upstream] = (),
        ports: Ports,
        on_bug: Callable[[BaseException], None],
        spool: Spool | None = None,
        tracer: Tracer = NO_TRACER,
        abandon: bool = False,
    ) -> None:
        """
        Make a service that has not opened yet.

        Args:
            tenants: Who may come.
            upstreams: More than the tenants have: an earlier config may have used them.
            ports: DashScope, the ledger, the clock, and who counts.
            on_bug: Told of what must not happen.
            spool: Where pictures wait.
            tracer: Writes traces.
            abandon: Open although there are open edits that cannot be followed any more.
        """
        self._ports = ports
        self._tenants = {tenant.name: tenant for tenant in tenants}
        own = [u for t in self._tenants.values() for u in t.upstreams]
        by_name = {u.name: u for u in (*own, *upstreams)}
        self._accounts = build_accounts(
            by_name.values(),
            dashscope=ports.dashscope,
            clock=ports.clock,
            observer=ports.observer,
            notify=ports.notify,
        )
        self._takeover = Takeover(by_name.values(), ports.models)
        self._account_work: dict[AccountState, list[asyncio.Task[None]]] = {}
        self._orphans_may_end = abandon
        self._on_bug = on_bug
        self._tracer = tracer
        self._owed = OwedWrites(ports.clock)
        self._index = EditIndex(ports.ledger, self._adopt, ports.observer, self._owed.owes)
        postprocessing = Postprocessing(ports)
        self._promises = PromiseKeeper(ports, self._owed, postprocessing)
        self._runner = EditRunner(
            self._accounts,
            ports,
            owed=self._owed,
            promises=self._promises,
            postprocessing=postprocessing,
            spool=spool,
        )
        self._collector = ResultCollector(
            self._accounts,
            ports,
            postprocessing=postprocessing,
            strategy_of=self._runner.strategy_of,
        )
        self._expiry = Expiry(self._index, ports, self._owed)
        self._group = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self._moved = False

    async def __aenter__(self) -> Self:
        """
        Go on with what another process left.

        Raises:
            OrphanedEditsError: open edits could not be followed.
        """
        owed = await self._ports.ledger.owed()
        if not self._orphans_may_end:
            self._takeover.refuse_orphans(owed, self._tenants)
        if number := self._takeover.out_of_reach(owed, self._tenants):
            self._ports.notify("pictures_out_of_reach", edits=number, remedy=PUT_BACK)
        await self._group.__aenter__()
        # No await from here on: a task that breaks at once finds the group entered.
        for account in self._accounts.values():
            self._attend_to(account)
        self._start_loop(self._owed.run)
        for record in owed:
            self._recover(record)
        self._start_loop(self._expiry.run)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop all work; unfinished edits are in the ledger."""
        self._closing = True
        for task in list(self._running):
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def __iter__(self) -> Iterator[ActiveEdit]:
        return iter(self._index)

    @property
    def tenants(self) -> Iterable[Tenant]:
        return self._tenants.values()

    @property
    def accounts(self) -> Iterable[AccountState]:
        return self._accounts.values()

    def plan_reload(
        self, tenants: Iterable[Tenant], upstreams: Iterable[Upstream]
    ) -> Callable[[], None]:
        """
        Return what makes this service go by other tenants and upstreams; that cannot fail (D116).

        Edits keep the tenant that they began with. Whatever key, limit or name an account gets,
        it stays the same account; what is not configured any more is kept until its edits have
        ended, and for as long as their pictures can be had.

        Raises:
            AccountsChangedError: a key would move from one account to another.
        """
        by_tenant = {tenant.name: tenant for tenant in tenants}
        own = [u for t in by_tenant.values() for u in t.upstreams]
        by_name = {u.name: u for u in (*own, *upstreams)}
        take = self._accounts.plan(by_name.values(), by_tenant)

        def reload() -> None:
            if self._moved:  # another node goes on with its edits
                return
            gone = self._tenants.keys() - by_tenant.keys()
            self._tenants = by_tenant
            for account in take():
                self._attend_to(account)
            for account in self._accounts.drop_retired(self._accounts_in_use(), KEPT_SECONDS):
                for work in self._account_work.pop(account):
                    work.cancel()
            retired = self._accounts.retired
            in_force = Takeover(by_name.values(), self._ports.models)
            self._takeover = Takeover(by_name.values(), self._ports.models, retired)
            if retired or gone:
                self._start(self._warn_of_orphans(in_force))

        return reload

    def _attend_to(self, account: AccountState) -> None:
        """Poll the tasks of *account*, and probe its refused keys, from now on."""
        self._account_work[account] = [
            self._start_loop(account.poller.run),
            self._start_loop(account.probe),
        ]

    def _accounts_in_use(self) -> set[AccountState]:
        """Return the accounts of the edits that this process has."""
        edits = list(self._index)
        own = [upstream for active in edits for upstream in active.tenant.upstreams]
        used = [part.upstream for active in edits for part in active.life.parts if part.upstream]
        return set(map(self._accounts.of, (*own, *used)))

    async def _warn_of_orphans(self, in_force: Takeover) -> None:
        """Warn of open edits that only this process can follow: a restart would be refused."""
        try:
            in_force.refuse_orphans(await self._ports.ledger.owed(), self._tenants)
        except OrphanedEditsError as error:
            self._ports.notify("restart_would_be_refused", reason=str(error))
        except LedgerUnavailable:
            return  # the ledger itself tells the operator

    @property
    def busy(self) -> int:
        """How many clients are connected to edits, and how many submits must not be cut."""
        return sum(it.life.connected or it.life.one_shot_submit for it in self._index)

    @property
    def recoverable(self) -> int:
        """How many tasks made pictures that no client has got yet or waits for."""
        return sum(len(active.runs) for active in self._index.unclaimed())

    @property
    def oldest_recoverable(self) -> float:
        """How many seconds ago the oldest of their edits was asked for; 0 if there is none."""
        created = [active.created for active in self._index.unclaimed()]
        return max((self._ports.clock.epoch() - at for at in created), default=0.0)

    def oldest_waits(self) -> dict[str, float]:
        """Return for each region the seconds that its oldest queued edit has waited."""
        none = {tenant.region: 0.0 for tenant in self._tenants.values()}
        return none | self._index.oldest_waits(self._ports.clock.epoch())

    def snapshot(self) -> Snapshot:
        """Return a snapshot for the dashboard, of bounded size."""
        return take_snapshot(
            self._tenants.values(), self._accounts.values(), self._index, self._ports.clock
        )

    def drain(self, seconds: float) -> None:
        """Refuse new edits from now on; the running ones go on, for so long."""
        self.draining = True
        self._runner.drain(self._ports.clock.now() + seconds)

    def turn_away(self) -> None:
        """End the wait of every client with an error that says how to get its result (D55)."""
        for active in self._index:
            active.perform(active.life.turned_away())

    async def settle(self, seconds: float, one_shot_seconds: float) -> bool:
        """
        Submit nothing any more, and wait for what must not be cut: another node goes on.

        Args:
            seconds: For the submits that are out, and the answers that are being sent.
            one_shot_seconds: For submits whose answer cannot be fetched again.

        Returns:
            Whether no submit is out any more.
        """
        self._runner.stop_submits()
        now = self._ports.clock.now()
        until = now + seconds
        one_shot_until = now + one_shot_seconds
        while True:
            lives = [active.life for active in self._index]
            handing_on = now < until and any(map(_is_handing_on, lives))
            one_shot = now < one_shot_until and any(life.one_shot_submit for life in lives)
            if not handing_on and not one_shot:
                break
            await self._ports.clock.sleep(_LOOK_SECONDS)
            now = self._ports.clock.now()
        return not any(
            part.stage in (Stage.SUBMITTING, Stage.UNCERTAIN)
            for active in self._index
            for part in active.life.parts
        )

    def move(self) -> None:
        """Take no edit any more, and send every client that waits to the next owner."""
        self._moved = True
        for active in self._index:
            active.move()

    @asynccontextmanager
    async def attend(self, request: EditRequest) -> AsyncIterator[Waiter]:
        """
        Join the edit that *request* repeats, or begin it; the client is connected inside.

        Raises:
            GatewayError: refused before anything was submitted.
            ShardMoved: another node owns the tenant's edits from now on.
        """
        active, replayed, joined = await self._join_or_begin(request)
        waiter = self._waiter(
            active,
            request.patience,
            request.phases,
            request.edit.output.response_format,
            replayed=replayed,
        )
        waiter.trace = active.joined_by(request, self._tracer) if joined else active.trace
        self._arrive(active, request, joined=joined)
        try:
            await self._set_out(active, request, joined=joined)
            yield waiter
        finally:
            self._leave(active)
            await waiter.close()

    @asynccontextmanager
    async def collect(
        self,
        tenant: Tenant,
        edit_id: str,
        *,
        patience: float,
        phases: Phases,
        response_format: ResponseFormat | None = None,
    ) -> AsyncIterator[Waiter]:
        """
        Look at a known edit; coming and leaving only show that somebody still wants it.

        Args:
            tenant: Whose it is.
            edit_id: Which it is.
            patience: How many seconds this client waits.
            phases: Where its time goes.
            response_format: What this client wants; ``None``: as the edit was requested.

        Raises:
            NotFound: this tenant has no such edit (any more).
            InvalidRequest: a URL is wanted, and there is none.
        """
        active = await self._index.find(tenant, edit_id)
        output = active.edit.output
        wanted = response_format or output.response_format
        if wanted is not output.response_format:
            self._refuse_url(wanted)
        waiter = self._waiter(active, patience, phases, wanted, replayed=False)
        active.life.looked_at(self._ports.clock.now())
        try:
            yield waiter
        finally:
            await waiter.close()

    def _refuse_url(self, wanted: ResponseFormat) -> None:
        if wanted is ResponseFormat.URL and self._ports.results is None:
            raise InvalidRequest(
                "This gateway keeps no pictures, and the edit was not made for a URL. Use "
                "response_format 'b64_json'.",
                param="response_format",
            )

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        """Cancel what can be cancelled at no cost; a running task goes on."""
        active = await self._index.find(tenant, edit_id)
        effects = active.life.withdrawn()
        await self._perform(active, effects)
        if Effect.DROP_RECORD in effects:
            await self._ports.ledger.end_edit(active.edit_id, EditState.DROPPED)
        return active.status

    def expected_rest(self, active: ActiveEdit) -> float:
        """Return the seconds until an edit probably ends."""
        return expected_rest(self._accounts, active, self._ports.clock.now())

    async def _join_or_begin(self, request: EditRequest) -> tuple[ActiveEdit, bool, bool]:
        found = await self._index.match(request)
        if found is not None and request.repeats and found.edit_id == request.edit_id:
            return found, False, True  # its client comes by another node: it did not ask twice
        if found is not None:
            known = found.life.delivered or found.life.replay
            replayed = known and request.idempotency_key is not None
            how = "retry_joined" if request.retry_count else "in_flight_joined"
            self._ports.observer.duplicate_prevented("key_replayed" if replayed else how)
            if request.idempotency_key:
                self._ports.observer.idempotency("replayed" if replayed else "joined")
            return found, replayed, True
        if self._moved:
            raise ShardMoved
        if self.draining:
            raise draining()
        active = ActiveEdit.begin(
            request.edit_id or new_edit_id(),
            request,
            self._ports.models.model(request.edit.model),
            created=self._ports.clock.epoch() - request.waited,
            arrived=self._ports.clock.now() - request.waited,
        )
        active.traced_by(
            self._tracer, parent_trace=request.parent_trace, since=request.phases.started
        )
        self._index.add(active)
        self._ports.observer.edit_begun(
            request.tenant.name, request.tenant.region, request.edit.model
        )
        if request.idempotency_key:
            self._ports.observer.idempotency("new")
        return active, False, False

    async def _set_out(self, active: ActiveEdit, request: EditRequest, *, joined: bool) -> None:
        """
        Begin to carry a new edit; one that is answered with 202 is durable before that.

        Raises:
            GatewayError: that cannot be promised; then nothing is submitted for this client.
        """
        try:
            if request.promise:
                if not joined:
                    self._runner.refuse_if_full(active.tenant, active.edit.model)
                await self._promises.make(active)
        except BaseException:
            if not joined and active.life.connected == 1:  # no other client joined it
                active.end(TaskLost("The edit was not accepted.", retry=True))
                self._start(self._forget(active))
            elif not joined:
                self._start(self._carry(active))
            raise
        if not joined:
            self._start(self._carry(active))

    async def _forget(self, active: ActiveEdit) -> None:
        """Forget an edit that was not accepted: a repeat by key must not find its old row."""
        await self._owed.written(active.edit_id, None)
        self._index.remove(active)

    def _waiter(
        self,
        active: ActiveEdit,
        patience: float,
        phases: Phases,
        response_format: ResponseFormat,
        *,
        replayed: bool,
    ) -> Waiter:
        now = self._ports.clock.now()
        return Waiter(
            active=active,
            deadline=now + patience,
            phases=phases,
            clock=self._ports.clock,
            collector=self._collector,
            expected_rest=self.expected_rest,
            on_delivered=self._delivered,
            since=now,
            response_format=response_format,
            replayed=replayed,
        )

    def _arrive(self, active: ActiveEdit, request: EditRequest, *, joined: bool) -> None:
        active.serve(request.request_id)
        effects = active.life.joined(request.retry_count)
        if joined:
            active.take_bytes(request)
        request.mask_source = None  # the edit has it, and lets it go
        active.perform(effects)

    def _leave(self, active: ActiveEdit) -> None:
        effects = active.life.left(self._ports.clock.now())
        active.perform(effects)
        if Effect.START_GRACE in effects and not self._moved:
            self._start(self._grace(active))

    async def _grace(self, active: ActiveEdit) -> None:
        """Give up an edit once no client can be expected back (D97)."""
        left_at = active.life.left_at
        while True:
            seconds = active.life.seconds_left(self._ports.clock.now(), left_at)
            if seconds is None or seconds == math.inf:
                return
            if seconds > 0:
                await self._ports.clock.sleep(seconds)
                continue
            await self._perform(active, active.life.grace_over())
            if not active.may_wait_upstream:
                return
            await self._ports.clock.sleep(_CANCEL_AGAIN_SECONDS)  # the cancel may have failed

    async def _perform(self, active: ActiveEdit, effects: Effects) -> None:
        """Perform *effects*; a task is not cancelled once a client came back for it."""
        active.perform(effects)
        for effect in effects:
            if isinstance(effect, CancelTask) and active.life.abandoned:
                await self._runner.cancel(active, active.runs[effect.part])

    async def _carry(self, active: ActiveEdit) -> None:
        """Carry *edit* to its end; a bug on the way must not lose what may be paid for."""
        left = _CARRIES
        while not active.life.ended:
            try:
                await self._runner.run(active)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - nor may it end the others
                self._on_bug(error)
                left -= 1
                if left and active.life.submitted:
                    await self._ports.clock.sleep(1.0)
                elif not active.life.ended:
                    await self._runner.end_after_bug(active, error)
        if active.life.failed_unbilled:
            self._index.remove(active)

    async def _delivered(self, waiter: Waiter) -> None:
        active = waiter.active
        spent = waiter.phases.spent(self._ports.clock.now())
        self._ports.observer.phases_spent(active.tenant.region, active.edit.model, spent)
        first = not active.life.delivered
        active.life.handed_over()
        self._index.remove(active)
        try:
            # Again, too: from each time on a marked retry may say that it did not arrive.
            await self._owed.keep(
                active.edit_id, None, lambda: self._ports.ledger.deliver(active.edit_id)
            )
        finally:
            if first:
                count = partial(
                    self._ports.observer.pictures,
                    active.tenant.name,
                    active.tenant.region,
                    active.edit.model,
                )
                count("delivered", waiter.answered_pictures)
                if (lost := active.pictures_made - waiter.answered_pictures) > 0:
                    count("undelivered", lost)

    def _adopt(self, record: EditRecord) -> ActiveEdit:
        """Return a known edit; one that nothing carries though it has not ended is carried on."""
        carry_on = record.state is EditState.OPEN and bool(record.tasks or record.promised)
        active = self._restore(record, replay=not carry_on)
        if carry_on:
            active.life.taken_over(active.since)
            active.traced_by(self._tracer)
            self._index.add(active)
            self._start(self._carry(active))
            self._start(self._grace(active))
        return active

    def _recover(self, record: EditRecord) -> None:
        """Take over what another process left unfinished or undelivered."""
        if record.state is EditState.OPEN:
            active = self._adopt(record)
        else:
            active = self._restore(record, replay=False)
            self._index.add(active)
        self._ports.observer.edit_begun(active.tenant.name, active.tenant.region, record.model)

    def _restore(self, record: EditRecord, *, replay: bool) -> ActiveEdit:
        return restore_edit(
            record,
            self._ports.models.model(record.model),
            tenants=self._tenants,
            takeover=self._takeover,
            now=self._ports.clock.now(),
            epoch=self._ports.clock.epoch(),
            replay=replay,
        )

    def _start_loop(self, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start what all edits need: without it the service ends."""
        return self._add(self._go_on(run))

    async def _go_on(self, run: Callable[[], Awaitable[None]]) -> None:
        """Restart *run* after a bug, which must not lose the other tasks."""
        while not self._closing:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the tasks are paid for
                self._on_bug(error)
                await self._ports.clock.sleep(1.0)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """
        Start what one edit needs.

        Raises:
            ShardMoved: another node carries it from now on.
        """
        if self._moved:
            work.close()
            raise ShardMoved
        task = self._add(self._isolate(work))
        task.add_done_callback(lambda _: work.close())  # it may not have begun

    async def _isolate(self, work: Coroutine[Any, Any, None]) -> None:
        """Report a bug in *work*, which must not end the other edits."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._on_bug(error)

    def _add(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def _is_handing_on(life: EditLife) -> bool:
    """Say whether a submit is out, or an answer is being sent."""
    return life.stage is Stage.SUBMITTING or (life.ended and life.connected > 0)
