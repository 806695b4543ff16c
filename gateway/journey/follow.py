"""From a task's acceptance to its end, whatever its customers do."""

import asyncio

from gateway.domain.errors import GatewayError, TaskLost, UpstreamFailed
from gateway.domain.phases import Phase
from gateway.domain.quotes import without_quotes
from gateway.domain.task import Task, TaskStatus
from gateway.journey.errand import Errand, Leg
from gateway.journey.lane import Lane
from gateway.journey.owed import OwedWrites
from gateway.journey.surroundings import Surroundings
from gateway.journey.watch import Watch

_LONGEST_RUN_SECONDS = 3 * 3600.0  # then DashScope ends a task itself (dashscope.md 11)
_LOOK_SECONDS = 300.0


class Follower:
    """Knows when a task has ended, and writes down how."""

    def __init__(self, around: Surroundings, owed: OwedWrites) -> None:
        self._dashscope = around.dashscope
        self._ledger = around.ledger
        self._clock = around.clock
        self._observer = around.observer
        self._owed = owed

    async def follow(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Watch a task to its end."""
        assert leg.upstream is not None
        assert leg.task_id is not None
        region = leg.upstream.region.name
        accepted = leg.accepted_at = self._clock.now()
        errand.mark(Phase.UPSTREAM_RUNNING, accepted)
        theirs = self._clock.epoch() + self._dashscope.clock_offset(region)
        age = max(0.0, theirs - leg.intended_at)
        leg.watch = lane.poller.watch(leg.upstream, leg.task_id, errand.kind, age=age)
        leg.watch.ours = errand.is_ours
        leg.watch.trace = errand.trace
        leg.watch.part = leg.part.index
        errand.trace.accepted(leg.part.index, leg.upstream, leg.task_id, leg.request_id)
        self._observer.task_state(region, None, "pending")
        if errand.abandoned:
            await self.cancel(lane, errand, leg)
        try:
            leg.task = await self._end_of(leg.watch)
        finally:
            self._observer.task_state(region, leg.watch.status.lower(), None)
        await self._ended(errand, leg, leg.task, age + self._clock.now() - accepted)

    async def _end_of(self, watch: Watch) -> Task:
        """
        Wait for a task's end; one that is seen to run for longer than any may is given up.

        What counts is how long it was seen here: what another process knew is from a calendar.
        """
        running_since: float | None = None
        try:
            while not watch.ended.done():
                await asyncio.wait([watch.ended], timeout=_LOOK_SECONDS)
                if watch.ended.done() or watch.missed or watch.status is not TaskStatus.RUNNING:
                    continue
                running_since = running_since or self._clock.now()
                if self._clock.now() - running_since >= _LONGEST_RUN_SECONDS:
                    watch.timed_out = True
                    watch.ended.set_result(_timed_out(watch.task_id))
        finally:
            watch.ended.cancel()  # nobody waits for it any more, if it has not come
        return watch.ended.result()

    async def answered(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Write down the end of a task that the answer to its submit brought."""
        assert leg.task is not None
        now = self._clock.now()
        began = leg.accepted_at or now  # 0: another process had the answer
        errand.mark(Phase.UPSTREAM_RUNNING, began)
        seconds = now - began
        if seconds:
            lane.durations.learn(errand.kind, seconds)
        await self._ended(errand, leg, leg.task, seconds)

    async def cancel(self, lane: Lane, errand: Errand, leg: Leg) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        watch = leg.watch
        if watch is None:
            return  # it is being written down; follow() cancels it then
        await lane.calls.turn(f"cancels of {errand.tenant.name}", urgent=False)
        if not errand.abandoned or watch.ended.done():
            return  # somebody came back for it meanwhile
        try:
            gone = await self._dashscope.cancel(watch.upstream, watch.task_id)
        except GatewayError:
            return  # not known to be gone, so it is followed to its end
        if gone and not watch.ended.done():
            fault = TaskLost("The edit was cancelled before it ran.", retry=True)
            task = Task(task_id=watch.task_id, status=TaskStatus.CANCELED, fault=fault)
            watch.ended.set_result(task)

    async def _ended(self, errand: Errand, leg: Leg, task: Task, seconds: float) -> None:
        region = errand.tenant.region
        model = errand.edit.model
        for fault in task.faults:
            without_quotes(fault, errand.edit.texts)
        polls = 0 if leg.watch is None else leg.watch.polls
        self._mark_end(errand, leg, task)
        if leg.watch is not None:
            self._observer.polls_spent(region, polls)
        timed_out = leg.watch is not None and leg.watch.timed_out
        outcome = "timed_out" if timed_out else _outcome(task, leg.part.n)
        self._observer.task_ended(errand.tenant.name, region, model, outcome, seconds)
        if (missing := leg.part.n - len(task.made)) > 0:
            self._observer.pictures(errand.tenant.name, region, model, "failed", missing)
        edit_id = errand.edit_id
        index = leg.part.index
        status = task.status.lower()
        await self._owed.keep(edit_id, index, lambda: self._ledger.end_task(edit_id, index, status))
        if not task.made:
            leg.error = task.fault or UpstreamFailed("The task made no picture.", retry=False)
            self._observer.task_failed(region, model, leg.error)
        errand.trace.task_ended(leg.part.index, outcome, len(task.made), polls, leg.error)

    def _mark_end(self, errand: Errand, leg: Leg, task: Task) -> None:
        """Split what we saw as one wait by upstream's own clock: pending, running, our lag."""
        assert leg.upstream is not None
        now = self._clock.now()
        times = task.times
        started = leg.accepted_at
        if len(errand.legs) == 1 and times.submitted is not None and times.scheduled is not None:
            pending = max(0.0, min(now - started, times.scheduled - times.submitted))
            errand.marks = [m for m in errand.marks if m[1] is not Phase.UPSTREAM_RUNNING]
            errand.mark(Phase.UPSTREAM_PENDING, started)
            errand.mark(Phase.UPSTREAM_RUNNING, started + pending)
        lag = 0.0
        if leg.watch is not None and leg.watch.ended_at:
            lag = max(0.0, min(now - started, now - leg.watch.ended_at))
            self._observer.end_detected(leg.upstream.region.name, errand.edit.model, lag)
        if all(other is leg or other.ended for other in errand.legs):
            errand.mark(Phase.DETECTION, max(now - lag, errand.marks[-1][0]))
            errand.mark(Phase.DOWNLOAD, now)


def _timed_out(task_id: str) -> Task:
    """Return the end of a task that DashScope should have ended itself."""
    fault = TaskLost(
        "The task has run upstream for longer than the 3 hours that DashScope allows, and is not "
        "waited for any more. Whether it makes a picture, and is billed, is not known."
    )
    return Task(task_id=task_id, status=TaskStatus.UNKNOWN, fault=fault)


def _outcome(task: Task, asked: int) -> str:
    """Return the metric's word for how a task ended."""
    if task.status is TaskStatus.UNKNOWN:
        return "lost"
    if task.made and len(task.made) < asked:
        return "partial"
    return str(task.status).lower()
