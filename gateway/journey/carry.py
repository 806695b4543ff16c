"""One edit's way through its tasks: line → submit → poll. Read this for where money is spent."""

import asyncio
from collections.abc import Awaitable

from gateway.domain.clock import Clock
from gateway.domain.errors import (
    GatewayError,
    InternalError,
    LedgerUnavailable,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.phases import Phase
from gateway.domain.record import EditState
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.errand import Errand, Leg, Stage
from gateway.journey.lane import Lane, route
from gateway.journey.ports import DashScope, Ledger, Observer
from gateway.journey.settle import Doubt, Settlement

_THROTTLED_SECONDS = (1.0, 2.0, 4.0, 8.0)


class Carrier:
    """Carries errands to their end; whoever waits for them is somebody else's care."""

    def __init__(
        self,
        lanes: dict[tuple[str, str], Lane],
        *,
        dashscope: DashScope,
        ledger: Ledger,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._lanes = lanes
        self._dashscope = dashscope
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._settlement = Settlement(dashscope, ledger, clock)

    async def carry(self, errand: Errand) -> None:
        """Bring every part to its end, then the whole; never raises but when cancelled."""
        if len(errand.legs) == 1:
            await self._carry_leg(errand, errand.legs[0])
        else:
            async with asyncio.TaskGroup() as group:
                for leg in errand.legs:
                    leg.runner = group.create_task(self._carry_leg(errand, leg))
        await self._end(errand)

    async def _carry_leg(self, errand: Errand, leg: Leg) -> None:
        leg.runner = leg.runner or asyncio.current_task()
        try:
            if leg.upstream is None:
                await self._try_lanes(errand, leg)
            else:
                await self._take_over(errand, leg)
        except GatewayError as error:
            leg.error = error
        except asyncio.CancelledError:
            if not leg.dropped:
                raise  # the process ends: the ledger knows the rest
            leg.error = TaskLost("The edit was given up before it was submitted.", retry=True)
        finally:
            errand.let_go()

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
        tenant, region = errand.tenant, errand.tenant.region
        try:
            leg.place = lane.line.place(tenant, leg.part.n)
        except GatewayError as full:
            full.retry_after = lane.expected_wait()
            self._observer.queue_rejected(tenant.name, "tenant_limit")
            raise
        errand.mark(Phase.QUEUE, self._clock.now())
        waits_since = self._clock.now()
        self._observer.queued(region, tenant.name, 1)
        left_line = False
        try:
            async with lane.line.turn(leg.place):
                left_line = True
                self._observer.queued(region, tenant.name, -1)
                self._observer.queue_waited(region, self._clock.now() - waits_since)
                await self._submit(lane, errand, leg)
                await self._follow(lane, errand, leg)
        finally:
            if not left_line:
                self._observer.queued(region, tenant.name, -1)

    async def _submit(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Submit to the first upstream of this account that takes it."""
        refused: GatewayError = UpstreamUnavailable("No upstream of this account works.")
        for upstream in lane.upstreams_of(errand.tenant):
            try:
                async with lane.prompt(errand.prompt_digest):
                    await self._submit_to(lane, upstream, errand, leg)
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                lane.rest(upstream, error)
                refused = error
            else:
                lane.works(upstream)
                return
        raise refused

    async def _submit_to(self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg) -> None:
        """
        Submit until a task exists; again only when it is certain that the last try made none.

        The intent is durable before the first byte, the task id before the first poll.
        """
        throttled = 0
        while not errand.abandoned:
            await lane.submits.turn()
            errand.mark(Phase.SUBMIT, self._clock.now())
            leg.upstream, leg.intended_at = upstream, self._clock.epoch()
            leg.stage = Stage.SUBMITTING
            self._raise_stage(errand)
            task_id = None
            try:
                await self._ledger.intend(errand.record(), leg.record())
                task_id = await self._send(lane, upstream, errand, leg)
            except Throttled:
                lane.submits.throttled()
                self._observer.upstream_throttled(upstream.region.name, "submit")
                await self._undo(errand, leg)
                await self._clock.sleep(_THROTTLED_SECONDS[min(throttled, 3)])
                throttled += 1
                continue
            except TaskLost:
                raise  # a task of ours may exist: nothing is certain, so nothing is undone
            except GatewayError:
                await self._undo(errand, leg)
                raise
            if task_id is None:
                await self._undo(errand, leg)
                continue
            leg.task_id, leg.stage = task_id, Stage.RUNNING
            self._raise_stage(errand)
            await self._keep(
                self._ledger.accept(errand.edit_id, leg.part.index, upstream.name, task_id)
            )
            errand.let_go()
            return
        raise TaskLost("The edit was given up before it was submitted.", retry=True)

    async def _send(self, lane: Lane, upstream: Upstream, errand: Errand, leg: Leg) -> str | None:
        """Send one submit; return its task's id, or ``None`` when it surely made none."""
        assert errand.pictures is not None
        region = upstream.region.name
        intended = self._clock.now()
        self._observer.task_state(region, None, "submitting")
        try:
            accepted = await self._dashscope.submit(
                upstream, errand.edit, leg.part, errand.pictures
            )
        except SubmitUncertain:
            leg.stage = Stage.UNCERTAIN
            self._raise_stage(errand)
            return await self._resolve(lane, upstream, errand, intended)
        finally:
            self._observer.task_state(region, "submitting", None)
        leg.request_id = accepted.request_id
        return accepted.task_id

    async def _resolve(
        self, lane: Lane, upstream: Upstream, errand: Errand, intended: float
    ) -> str | None:
        doubt = Doubt(
            upstream=upstream,
            model=errand.edit.model,
            prompt_digest=errand.prompt_digest,
            intended=intended,
            broke=self._clock.now(),
        )
        task_id = await self._settlement.resolve(lane, doubt)
        if task_id is not None:
            self._observer.duplicate_prevented("ambiguous_found")
        return task_id

    async def _take_over(self, errand: Errand, leg: Leg) -> None:
        """Go on with a part that another process began: its slot is in use already."""
        assert leg.upstream is not None
        lane = self._lanes[leg.upstream.region.name, leg.upstream.account.name]
        lane.line.take(errand.tenant)
        try:
            if leg.task_id is None:
                async with lane.prompt(errand.prompt_digest):
                    age = max(0.0, self._clock.epoch() - leg.intended_at)
                    leg.task_id = await self._resolve(
                        lane, leg.upstream, errand, self._clock.now() - age
                    )
                    if leg.task_id is not None:
                        await self._keep(
                            self._ledger.accept(
                                errand.edit_id, leg.part.index, leg.upstream.name, leg.task_id
                            )
                        )
                self._observer.recovered("submit_resolved" if leg.task_id else "submit_void")
            else:
                self._observer.recovered("task_followed")
            if leg.task_id is not None:
                leg.stage = Stage.RUNNING
                await self._follow(lane, errand, leg)
                return
        finally:
            lane.line.give_back(errand.tenant)
        await self._undo(errand, leg)
        if errand.pictures is None:
            raise TaskLost(
                "The edit was not submitted before a restart; send it again.", retry=True
            )
        await self._try_lanes(errand, leg)

    async def _follow(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Watch a task to its end, whatever its customers do."""
        assert leg.upstream is not None
        assert leg.task_id is not None
        region = leg.upstream.region.name
        accepted = leg.accepted_at = self._clock.now()
        errand.mark(Phase.UPSTREAM_RUNNING, accepted)
        age = max(0.0, self._clock.epoch() - leg.intended_at)
        leg.watch = lane.poller.watch(leg.upstream, leg.task_id, errand.kind, age=age)
        self._observer.task_state(region, None, "pending")
        if errand.abandoned:
            await self.cancel(leg)
        try:
            leg.task = await leg.watch.ended
        finally:
            self._observer.task_state(region, leg.watch.status.lower(), None)
        await self._ended(lane, errand, leg, leg.task, age + self._clock.now() - accepted)

    async def _ended(
        self, lane: Lane, errand: Errand, leg: Leg, task: Task, seconds: float
    ) -> None:
        region, model = errand.tenant.region, errand.edit.model
        assert leg.watch is not None
        if task.status is TaskStatus.SUCCEEDED:
            lane.durations.learn(errand.kind, seconds)
        self._mark_end(errand, leg, task)
        self._observer.polls_spent(region, leg.watch.polls)
        missing = task.status is TaskStatus.SUCCEEDED and len(task.made) < leg.part.n
        outcome = "partial" if missing and task.made else str(task.status).lower()
        outcome = "lost" if task.status is TaskStatus.UNKNOWN else outcome
        self._observer.task_ended(errand.tenant.name, region, model, outcome, seconds)
        await self._keep(self._ledger.end_task(errand.edit_id, leg.part.index, task.status.lower()))
        if not task.made:
            errors = [result for result in task.results if isinstance(result, GatewayError)]
            leg.error = task.fault or (errors or [UpstreamUnavailable("No picture was made.")])[0]
            self._observer.task_failed(region, model, leg.error)

    def _mark_end(self, errand: Errand, leg: Leg, task: Task) -> None:
        """Split what we saw as one wait by upstream's own clock: pending, running, our lag."""
        assert leg.watch is not None
        assert leg.upstream is not None
        now, times = self._clock.now(), task.times
        started = leg.accepted_at
        if len(errand.legs) == 1 and times.submitted is not None and times.scheduled is not None:
            pending = max(0.0, min(now - started, times.scheduled - times.submitted))
            errand.marks = [m for m in errand.marks if m[1] is not Phase.UPSTREAM_RUNNING]
            errand.mark(Phase.UPSTREAM_PENDING, started)
            errand.mark(Phase.UPSTREAM_RUNNING, started + pending)
        lag = 0.0
        if times.ended is not None:
            offset = self._dashscope.clock_offset(leg.upstream.region.name)
            lag = max(0.0, min(now - started, self._clock.epoch() + offset - times.ended))
            self._observer.end_detected(leg.upstream.region.name, errand.edit.model, lag)
        if all(other is leg or other.task or other.error for other in errand.legs):
            errand.mark(Phase.DETECTION, max(now - lag, errand.marks[-1][0] if errand.marks else 0))
            errand.mark(Phase.DOWNLOAD, now)

    async def cancel(self, leg: Leg) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        if leg.upstream is None or leg.task_id is None or leg.watch is None:
            return
        lane = self._lanes[leg.upstream.region.name, leg.upstream.account.name]
        await lane.calls.turn()
        try:
            gone = await self._dashscope.cancel(leg.upstream, leg.task_id)
        except GatewayError:
            return  # not known to be gone, so it is followed to its end
        if gone and not leg.watch.ended.done():
            fault = TaskLost("The edit was cancelled before it ran.", retry=True)
            task = Task(task_id=leg.task_id, status=TaskStatus.CANCELED, fault=fault)
            leg.watch.ended.set_result(task)

    async def _end(self, errand: Errand) -> None:
        """Settle the whole: one good picture is a success."""
        submitted = any(leg.task_id or leg.stage is Stage.UNCERTAIN for leg in errand.legs)
        error = next((leg.error for leg in errand.legs if leg.error), None)
        if any(leg.task and leg.task.made for leg in errand.legs) or error is None:
            await self._keep(self._ledger.end_edit(errand.edit_id, EditState.SUCCEEDED))
            errand.end(Stage.SUCCEEDED)
            return
        state = EditState.FAILED if submitted else EditState.DROPPED
        if any(leg.upstream for leg in errand.legs):
            await self._keep(self._ledger.end_edit(errand.edit_id, state, error))
        errand.end(Stage.FAILED, error)

    async def _undo(self, errand: Errand, leg: Leg) -> None:
        """It is certain that no task was made: back to waiting."""
        await self._keep(self._ledger.void(errand.edit_id, leg.part.index))
        leg.stage, leg.task_id = Stage.WAITING, None
        self._raise_stage(errand)

    @staticmethod
    async def _keep(write: Awaitable[None]) -> None:
        """Write after money was spent: the edit goes on though the ledger cannot follow."""
        try:
            await write
        except LedgerUnavailable:
            return

    @staticmethod
    def _raise_stage(errand: Errand) -> None:
        """Let the edit's stage be that of its furthest part."""
        order = (Stage.WAITING, Stage.SUBMITTING, Stage.UNCERTAIN, Stage.RUNNING)
        stages = [leg.stage for leg in errand.legs if leg.stage in order]
        errand.stage = max(stages, key=order.index, default=Stage.WAITING)


def bug(error: BaseException) -> InternalError:
    """Return what a customer is told when a part of ours broke."""
    fault = InternalError("The gateway failed while it carried this edit.")
    fault.__cause__ = error
    return fault
