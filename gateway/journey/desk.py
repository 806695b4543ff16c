"""Where customers come to the edits: joining or beginning, leaving, coming back, restarting."""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

from gateway.domain.errors import (
    Draining,
    GatewayError,
    StillRunning,
    TaskLost,
)
from gateway.domain.phases import Phases
from gateway.domain.record import EditRecord, EditState
from gateway.domain.snapshot import Snapshot
from gateway.domain.tenant import Tenant, Upstream
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.journey.ask import Ask, Told
from gateway.journey.carry import Carrier
from gateway.journey.collect import Collector
from gateway.journey.errand import Errand, Stage
from gateway.journey.forecast import Forecast
from gateway.journey.housekeeping import Housekeeping
from gateway.journey.lane import lanes_of
from gateway.journey.overview import overview
from gateway.journey.ports import Spool
from gateway.journey.promise import PromiseKeeper
from gateway.journey.recall import Recall
from gateway.journey.register import Register
from gateway.journey.surroundings import Surroundings
from gateway.journey.takeover import PUT_BACK, Takeover
from gateway.journey.visit import Visit

_LOOKED_AT_SECONDS = 600.0  # whoever looks at an edit, or knew it before a restart, looks again
_CANCEL_AGAIN_SECONDS = 60.0
_CARRIES = 3  # tries to carry an edit on whose way we broke


class Desk:
    """The one object that the door in talks to. Use as an async context manager."""

    draining = False  # refuses new edits; the running ones go on

    def __init__(
        self,
        *,
        tenants: Iterable[Tenant],
        upstreams: Iterable[Upstream] = (),
        around: Surroundings,
        on_bug: Callable[[BaseException], None],
        spool: Spool | None = None,
        tracer: Tracer = NO_TRACER,
        abandon: bool = False,
    ) -> None:
        """
        Make a desk that has not opened yet.

        Args:
            tenants: Who may come.
            upstreams: More than the tenants have: an earlier config may have used them.
            around: The far side, the disk, the time, and who counts.
            on_bug: Told of what must not happen.
            spool: Where pictures wait.
            tracer: Writes traces.
            abandon: Open although there are open edits that nobody can follow any more.
        """
        dashscope = around.dashscope
        clock = around.clock
        observer = around.observer
        self._tenants = {tenant.name: tenant for tenant in tenants}
        own = [u for t in self._tenants.values() for u in t.upstreams]
        by_name = {u.name: u for u in (*own, *upstreams)}
        self._lanes = lanes_of(
            by_name.values(),
            dashscope=dashscope,
            clock=clock,
            observer=observer,
            tell=around.tell,
        )
        self._takeover = Takeover(by_name.values())
        self._orphans_may_end = abandon
        self._tell = around.tell
        self._ledger = around.ledger
        self._clock = clock
        self._on_bug = on_bug
        self._observer = observer
        self._tracer = tracer
        self._recall = Recall(self._tenants, self._takeover)
        self._register = Register(around.ledger, self._adopt, observer)
        self._promises = PromiseKeeper(around)
        self._carrier = Carrier(self._lanes, around, self._promises, spool)
        self._collector = Collector(self._lanes, around)
        self.forecast = Forecast(self._lanes, clock)
        self._housekeeping = Housekeeping(self._register, around)
        self._group = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """
        Go on with what another process left.

        Raises:
            OrphanedEditsError: open edits would be followed by nobody.
        """
        owed = await self._ledger.owed()
        if not self._orphans_may_end:
            self._takeover.refuse_orphans(owed, self._tenants)
        if number := self._takeover.out_of_reach(owed, self._tenants):
            self._tell("pictures_out_of_reach", edits=number, remedy=PUT_BACK)
        await self._group.__aenter__()
        # No await from here on: a task that breaks at once finds the group entered.
        for lane in self._lanes.values():
            self._start(self._go_on(lane.poller.run))
            self._start(self._go_on(lane.probe))
        self._start(self._go_on(self._carrier.owed.run))
        for record in owed:
            self._recover(record)
        self._start(self._go_on(self._housekeeping.run))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop where we are: what is unfinished is in the ledger."""
        for task in list(self._running):
            task.cancel()
        await self._group.__aexit__(None, None, None)

    @property
    def busy(self) -> int:
        """How many customers are connected to edits, and how many submits must not be cut."""
        return sum(errand.visitors or errand.answers_once for errand in self._register)

    @property
    def recoverable(self) -> int:
        """How many tasks made pictures that nobody has got yet, nor waits for."""
        return sum(len(errand.legs) for errand in self._register.unclaimed())

    @property
    def oldest_recoverable(self) -> float:
        """How many seconds ago the oldest of their edits was asked for; 0 if there is none."""
        created = [errand.created for errand in self._register.unclaimed()]
        return max((self._clock.epoch() - at for at in created), default=0.0)

    def oldest_waits(self) -> dict[str, float]:
        """Return for each region the seconds that its oldest edit in line has waited."""
        none = {tenant.region: 0.0 for tenant in self._tenants.values()}
        return none | self._register.oldest_waits(self._clock.epoch())

    def snapshot(self) -> Snapshot:
        """Return what goes on, for those who watch; bounded, however many edits there are."""
        return overview(self._tenants.values(), self._lanes.values(), self._register, self._clock)

    def drain(self, seconds: float) -> None:
        """Refuse new edits from now on; the running ones go on, for so long."""
        self.draining = True
        self._carrier.drain(self._clock.now() + seconds)

    def turn_away(self) -> None:
        """Send every connected customer home, with the way back to its edit."""
        for errand in list(self._register):
            error: GatewayError
            if errand.stage is Stage.WAITING:
                error = Draining("The gateway restarts; send the edit again.", retry_after=1.0)
            else:
                what = (
                    "before it has the picture. Send the same request again to hear what became"
                    " of it."
                    if errand.answers_once
                    else "and the edit goes on. Send the same request again to get its picture."
                )
                error = StillRunning(f"The gateway restarts {what}", retry_after=2.0)
                errand.kept = True
            errand.expect(math.inf)  # of the next process
            if (errand.stage is Stage.WAITING and not errand.promised) or errand.answers_once:
                for leg in errand.legs:  # the next process has it from here, or nobody
                    if leg.stage is Stage.WAITING:
                        leg.drop()
            error.edit_id = errand.edit_id
            errand.turn_away(error)

    @asynccontextmanager
    async def attend(self, ask: Ask) -> AsyncIterator[Visit]:
        """
        Join the edit that *ask* repeats, or begin it; the customer is connected inside.

        Raises:
            GatewayError: refused before anything was submitted.
        """
        errand, replayed, joined = await self._join_or_begin(ask)
        visit = self._visit(errand, ask.patience, ask.phases, replayed=replayed)
        visit.trace = errand.joined_by(ask, self._tracer) if joined else errand.trace
        self._arrive(errand, ask, joined=joined)
        try:
            await self._set_out(errand, ask, joined=joined)
            yield visit
        finally:
            self._leave(errand)
            await visit.close()

    @asynccontextmanager
    async def collect(
        self, tenant: Tenant, edit_id: str, *, patience: float, phases: Phases
    ) -> AsyncIterator[Visit]:
        """
        Look at a known edit; coming and leaving only tell that somebody still wants it.

        Raises:
            NotFound: this tenant has no such edit (any more).
        """
        errand = await self._register.find(tenant, edit_id)
        visit = self._visit(errand, patience, phases, replayed=False)
        errand.expect(self._clock.now() + _LOOKED_AT_SECONDS)
        try:
            yield visit
        finally:
            await visit.close()

    async def withdraw(self, tenant: Tenant, edit_id: str) -> Told:
        """Cancel what can be cancelled at no cost; a running task goes on."""
        errand = await self._register.find(tenant, edit_id)
        if not errand.ended:
            promised = errand.promised
            errand.promised = False
            await self._abandon(errand)
            if promised and not errand.submitted:
                # Else the next process would find it, and submit what was called off.
                await self._ledger.end_edit(errand.edit_id, EditState.DROPPED)
        return errand.told

    async def _join_or_begin(self, ask: Ask) -> tuple[Errand, bool, bool]:
        found = await self._register.match(ask)
        if found is not None:
            known = found.delivered or found.replay
            replayed = known and ask.idempotency_key is not None
            how = "retry_joined" if ask.retry_count else "in_flight_joined"
            self._observer.duplicate_prevented("key_replayed" if replayed else how)
            if ask.idempotency_key:
                self._observer.idempotency("replayed" if replayed else "joined")
            return found, replayed, True
        if self.draining:
            raise Draining(
                "The gateway restarts; send the edit again in a moment.", retry_after=2.0
            )
        errand = Errand.begin("edit_" + secrets.token_hex(16), ask, created=self._clock.epoch())
        errand.traced_by(self._tracer, came=ask.came, since=ask.phases.started)
        self._register.add(errand)
        self._observer.edit_begun(ask.tenant.name, ask.tenant.region, ask.edit.model)
        if ask.idempotency_key:
            self._observer.idempotency("new")
        return errand, False, False

    async def _set_out(self, errand: Errand, ask: Ask, *, joined: bool) -> None:
        """
        Begin to carry a new edit; one that is to be told 202 is durable before that.

        Raises:
            GatewayError: that cannot be promised; then nothing is submitted for this client.
        """
        try:
            if ask.promise:
                if not joined:
                    self._carrier.refuse_if_full(errand.tenant)
                await self._promises.make(errand)
        except BaseException:
            if not joined and errand.visitors == 1:  # nobody joined it meanwhile
                errand.end(Stage.FAILED, TaskLost("The edit was not accepted.", retry=True))
                self._register.remove(errand)
            elif not joined:
                self._start(self._carry(errand))
            raise
        if not joined:
            self._start(self._carry(errand))

    def _visit(self, errand: Errand, patience: float, phases: Phases, *, replayed: bool) -> Visit:
        now = self._clock.now()
        return Visit(
            errand=errand,
            deadline=now + patience,
            phases=phases,
            clock=self._clock,
            collector=self._collector,
            expected_rest=self.forecast.rest,
            on_delivered=self._delivered,
            since=now,
            replayed=replayed,
        )

    def _arrive(self, errand: Errand, ask: Ask, *, joined: bool) -> None:
        errand.visitors += 1
        errand.abandoned = False
        errand.retry_count = ask.retry_count
        if joined:
            errand.bring(ask)
        ask.keepsake = None  # the errand has it, and lets it go
        for leg in errand.legs:
            if leg.place is not None:
                leg.place.line.come_back(leg.place)

    def _leave(self, errand: Errand) -> None:
        errand.visitors -= 1
        errand.left_at = self._clock.now()
        if errand.visitors or errand.ended:
            return
        if errand.away:
            for leg in errand.legs:
                if leg.place is not None:
                    leg.place.away = True
        self._start(self._grace(errand))

    async def _grace(self, errand: Errand) -> None:
        """Give up an edit once nobody can be expected back: what can end at no cost ends."""
        left = errand.left_at
        while not errand.visitors and not errand.ended and errand.left_at == left:
            rest = errand.given_up_at - self._clock.now()
            if rest == math.inf:
                return
            if rest > 0:
                await self._clock.sleep(rest)
                continue
            await self._abandon(errand)
            if not errand.may_wait_upstream:
                return
            await self._clock.sleep(_CANCEL_AGAIN_SECONDS)  # the cancel may have failed

    async def _abandon(self, errand: Errand) -> None:
        """Nobody wants it: out of the line, or cancelled upstream while it is PENDING."""
        errand.abandoned = True
        errand.kept = False
        for leg in errand.legs:
            if leg.stage is Stage.WAITING:
                leg.drop()
            elif leg.stage is Stage.RUNNING:
                await self._carrier.cancel(errand, leg)
            if not errand.abandoned:
                return  # somebody came back meanwhile

    async def _carry(self, errand: Errand) -> None:
        """Carry *errand* to its end; a bug on the way must not lose what may be paid for."""
        left = _CARRIES
        while not errand.ended:
            try:
                await self._carrier.carry(errand)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - nor may it end the others
                self._on_bug(error)
                left -= 1
                if left and errand.submitted:
                    await self._clock.sleep(1.0)
                else:
                    await self._carrier.end_by_bug(errand, error)
        if errand.stage is Stage.FAILED and not errand.doubtful:
            self._register.remove(errand)

    async def _delivered(self, visit: Visit) -> None:
        errand = visit.errand
        spent = visit.phases.spent(self._clock.now())
        self._observer.phases_spent(errand.tenant.region, errand.edit.model, spent)
        first = not errand.delivered
        errand.delivered = True
        self._register.remove(errand)
        try:
            # Again, too: from each time on a marked retry may say that it did not arrive.
            await self._carrier.owed.keep(
                errand.edit_id, None, lambda: self._ledger.deliver(errand.edit_id)
            )
        finally:
            if first:
                self._count_delivered(errand)

    def _count_delivered(self, errand: Errand) -> None:
        n = sum(len(leg.task.made) for leg in errand.legs if leg.task)
        region = errand.tenant.region
        model = errand.edit.model
        self._observer.pictures(errand.tenant.name, region, model, "delivered", n)

    def _adopt(self, record: EditRecord) -> Errand:
        """Return a known edit; one that nobody carries though it has not ended is carried on."""
        errand = self._recall(record)
        if record.state is EditState.OPEN and (record.tasks or record.promised):
            errand.replay = False
            errand.since = errand.left_at = self._clock.now()
            for_ever = record.promised or record.idempotency_key is not None
            errand.expect(math.inf if for_ever else errand.since + _LOOKED_AT_SECONDS)
            errand.traced_by(self._tracer)
            self._register.add(errand)
            self._start(self._carry(errand))
            self._start(self._grace(errand))
        return errand

    def _recover(self, record: EditRecord) -> None:
        """Take over what another process left unfinished or undelivered."""
        errand = self._adopt(record)
        self._observer.edit_begun(errand.tenant.name, errand.tenant.region, record.model)
        if record.state is not EditState.OPEN:
            errand.replay = False
            self._register.add(errand)

    async def _go_on(self, run: Callable[[], Awaitable[None]]) -> None:
        """Keep *run* running: a bug in one look must not lose the other tasks."""
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the tasks are paid for
                self._on_bug(error)
                await self._clock.sleep(1.0)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
