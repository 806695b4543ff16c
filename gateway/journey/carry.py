"""
One edit's way: line → submit → poll, part by part, until the whole has an end.

    _try_lanes   the tenant's accounts, one after another, as long as no byte was sent
      line       a turn inside the account's limits, fair among its tenants
      submit     gateway.journey.submit: where money is spent
      follow     gateway.journey.follow: the wait for the end
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
from gateway.journey.errand import Errand, LeftInLine, Leg, Stage
from gateway.journey.follow import Follower
from gateway.journey.lane import Lane, route
from gateway.journey.line import Place
from gateway.journey.owed import OwedWrites
from gateway.journey.ports import Spool
from gateway.journey.promise import PromiseKeeper, outlasts
from gateway.journey.submit import Submitter, given_up, keep
from gateway.journey.surroundings import Surroundings

_ANSWER_SECONDS = 60.0  # models without tasks mostly answer within half of it
_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


class Carrier:
    """Carries errands to their end; whoever waits for them is somebody else's care."""

    def __init__(
        self,
        lanes: dict[tuple[str, str], Lane],
        around: Surroundings,
        promises: PromiseKeeper,
        spool: Spool | None = None,
    ) -> None:
        self._lanes = lanes
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

    async def carry(self, errand: Errand) -> None:
        """
        Bring every part to its end, then the whole.

        After a bug it may be called again: each part goes on from what is known of it.
        """
        for leg in errand.legs:
            leg.runner = None
        if len(errand.legs) == 1:
            await self._carry_leg(errand, errand.legs[0])
        else:
            await self._carry_legs(errand)
        await self._end(errand)

    async def cancel(self, errand: Errand, leg: Leg) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        assert leg.upstream is not None
        lane = self._lanes[leg.upstream.region.name, leg.upstream.account.name]
        await self._follower.cancel(lane, errand, leg)

    async def _carry_legs(self, errand: Errand) -> None:
        """Carry the parts side by side; a bug in one waits for the submits that others have out."""
        bugs: list[BaseException] = []

        async def carry(leg: Leg) -> None:
            try:
                await self._carry_leg(errand, leg)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - nor may it cut what is being paid for
                bugs.append(error)
                for other in errand.legs:
                    if other is not leg and other.stage is Stage.WAITING and other.runner:
                        other.runner.cancel()  # it goes on when all are carried again

        async with asyncio.TaskGroup() as group:
            for leg in errand.legs:
                leg.runner = group.create_task(carry(leg))
        if bugs:
            raise bugs[0]

    async def _carry_leg(self, errand: Errand, leg: Leg) -> None:
        if leg.error is not None:
            return  # it had its end before a bug stopped another part
        leg.runner = leg.runner or asyncio.current_task()
        try:
            if leg.dropped:  # before it was carried at all
                raise given_up()
            if leg.upstream is not None and leg.stage is not Stage.WAITING:
                await self._take_over(errand, leg)
            if leg.task_id is None:
                await self._submit(errand, leg)
        except GatewayError as error:
            leg.error = error.without_traceback()  # it may be kept for a day
        except asyncio.CancelledError:
            if not leg.dropped:
                raise  # the process ends: the ledger knows the rest
            leg.error = given_up()
        finally:
            errand.let_go()
            errand.stirred.set()

    async def _submit(self, errand: Errand, leg: Leg) -> None:
        """Submit a part and follow it; one that was promised outlasts what is only in the way."""
        tried = 0
        while True:
            try:
                await self._have_bytes(errand, leg)
                await self._try_lanes(errand, leg)
            except GatewayError as error:
                if not outlasts(errand, error):
                    raise
            else:
                return
            await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1

    async def _have_bytes(self, errand: Errand, leg: Leg) -> None:
        """
        Wait for a retry to bring the bytes that a restart lost, as long as another part is out.

        Raises:
            TaskLost: nobody brought them; nothing was paid for this part.
        """
        await self._promises.recall(errand)
        while not errand.has_bytes:
            if not any(other.out for other in errand.legs if other is not leg):
                raise TaskLost(
                    "The edit was not submitted before a restart; send it again.", retry=True
                )
            errand.stirred.clear()
            await errand.stirred.wait()

    async def _try_lanes(self, errand: Errand, leg: Leg) -> None:
        """Go through the tenant's accounts until one takes the part."""
        refused: GatewayError = UpstreamUnavailable("This tenant has no upstream.")
        for lane in route(self._lanes, errand.tenant):
            try:
                await self._through(lane, errand, leg)
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                refused = error
                leg.stage = Stage.WAITING
            else:
                return
        raise refused

    async def _through(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Wait for a turn of this account, submit, and follow the task to its end."""
        # Without a list to look in, two of one prompt cannot be mistaken for each other.
        prompt = errand.prompt_digest if errand.has_tasks else None
        leg.place = self._place(lane, errand.tenant, leg.part.n, prompt)
        errand.mark(Phase.QUEUE, self._clock.now())
        errand.trace.queued(leg.part.index)
        if self._spool is not None and _must_wait(lane, errand, prompt):
            await errand.spool(self._spool)
        while not await self._turn(lane, errand, leg, leg.place):
            pass  # back to its place: nobody was there to submit it for

    async def _turn(self, lane: Lane, errand: Errand, leg: Leg, place: Place) -> bool:
        """
        Wait for one turn and use it; False: it was given back, nothing was intended.

        Raises:
            TaskLost: it was given up while another account had it.
        """
        if errand.abandoned:
            raise given_up()
        region = errand.tenant.region
        tenant = errand.tenant.name
        waits_since = self._clock.now()
        place.away = errand.away
        self._observer.queued(region, tenant, 1)
        in_line = True
        try:
            async with lane.line.turn(place):
                in_line = False
                self._observer.queued(region, tenant, -1)
                self._observer.queue_waited(region, self._clock.now() - waits_since)
                await self._submitter.submit(lane, errand, leg)
                lane.line.submitted(place)
                await self._follow(lane, errand, leg)
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
        for lane in route(self._lanes, tenant)[:1]:
            self._place(lane, tenant, 1, None)

    def _place(self, lane: Lane, tenant: Tenant, cost: int, prompt: str | None) -> Place:
        try:
            return lane.line.place(tenant, cost, prompt)
        except GatewayError as full:
            full.retry_after = lane.expected_wait(tenant)
            self._observer.queue_rejected(tenant.name, "tenant_limit")
            raise

    async def _take_over(self, errand: Errand, leg: Leg) -> None:
        """Go on with a part that another process began: its slot is in use already."""
        assert leg.upstream is not None
        lane = self._lanes[leg.upstream.region.name, leg.upstream.account.name]
        lane.line.take(errand.tenant)
        try:
            if leg.task_id is None or not errand.has_tasks:
                await self._submitter.settle(lane, errand, leg)
            else:
                self._observer.recovered("task_followed")
            if leg.task_id is not None:
                leg.stage = Stage.RUNNING
                await self._promises.recall_if_possible(errand)  # what is kept goes with the task
                errand.let_go()
                await self._follow(lane, errand, leg)
        finally:
            lane.line.give_back(errand.tenant)

    async def _follow(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Bring a part that has its task to the task's end."""
        if errand.has_tasks:
            await self._follower.follow(lane, errand, leg)
        else:
            await self._follower.answered(lane, errand, leg)

    async def _end(self, errand: Errand) -> None:
        """Settle the whole: one good picture is a success."""
        await self._promises.recall_if_possible(errand)  # what is kept goes with the end
        errors = [leg.error for leg in errand.legs if leg.error]
        if len(errors) < len(errand.legs):
            await self._write_end(errand, EditState.SUCCEEDED)
            errand.end(Stage.SUCCEEDED)
            return
        # A part that may be paid for forbids the retry that another part would allow.
        error = min(errors, key=lambda error: (error.retry, not error.doubtful))
        told = errand.submitted or errand.promised  # somebody may ask what became of it
        state = EditState.FAILED if told else EditState.DROPPED
        if errand.submitted or errand.recorded or any(leg.upstream for leg in errand.legs):
            await self._write_end(errand, state, error)
            await keep(self._finishing.forget(errand))
        errand.end(Stage.FAILED, error)

    async def end_by_bug(self, errand: Errand, error: BaseException) -> None:
        """End an edit that cannot be carried; one that may be paid for stays open in the ledger."""
        fault = bug(error)
        if errand.promised and not errand.submitted:
            await self._write_end(errand, EditState.FAILED, fault)
        errand.end(Stage.FAILED, fault)

    async def _write_end(
        self, errand: Errand, state: EditState, error: GatewayError | None = None
    ) -> None:
        edit_id = errand.edit_id
        if state is EditState.DROPPED:  # if it stays, the next process drops it
            await keep(self._ledger.end_edit(edit_id, state, error))
            return
        await self.owed.keep(edit_id, None, lambda: self._ledger.end_edit(edit_id, state, error))


def _must_wait(lane: Lane, errand: Errand, prompt: str | None) -> bool:
    """Say whether a part waits for longer than the submit of another part of its edit takes."""
    own = any(leg.place is not None and leg.place.holds_prompt for leg in errand.legs)
    return not lane.line.free or (lane.line.prompts.held(prompt) and not own)


def bug(error: BaseException) -> InternalError:
    """Return what a customer is told when a part of ours broke."""
    fault = InternalError("The gateway failed while it carried this edit.")
    fault.__cause__ = error
    return fault
