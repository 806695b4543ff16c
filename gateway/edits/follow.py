"""From a task's acceptance to its end, whatever its clients do."""

import asyncio

from gateway.domain.errors import GatewayError, TaskLost, UpstreamFailed
from gateway.domain.phases import Phase
from gateway.domain.quotes import redact_prompt
from gateway.domain.task import Task, TaskStatus
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.owed import OwedWrites
from gateway.edits.surroundings import Surroundings
from gateway.edits.watch import Watch

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

    async def follow(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Watch a task to its end."""
        assert run.upstream is not None
        assert run.task_id is not None
        region = run.upstream.region.name
        accepted = run.accepted_at = self._clock.now()
        active.mark(Phase.UPSTREAM_RUNNING, accepted)
        theirs = self._clock.epoch() + self._dashscope.clock_offset(region)
        age = max(0.0, theirs - run.intended_at)
        run.watch = account.poller.watch(run.upstream, run.task_id, active.kind, age=age)
        run.watch.ours = active.is_ours
        run.watch.trace = active.trace
        run.watch.part = run.part.index
        active.trace.accepted(run.part.index, run.upstream, run.task_id, run.request_id)
        self._observer.task_state(region, None, "pending")
        if active.abandoned:
            await self.cancel(account, active, run)
        try:
            run.task = await self._end_of(run.watch)
        finally:
            self._observer.task_state(region, run.watch.status.lower(), None)
        await self._ended(active, run, run.task, age + self._clock.now() - accepted)

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

    async def answered(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Write down the end of a task that the answer to its submit brought."""
        assert run.task is not None
        now = self._clock.now()
        began = run.accepted_at or now  # 0: another process had the answer
        active.mark(Phase.UPSTREAM_RUNNING, began)
        seconds = now - began
        if seconds:
            account.durations.learn(active.kind, seconds)
        await self._ended(active, run, run.task, seconds)

    async def cancel(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        watch = run.watch
        if watch is None:
            return  # it is being written down; follow() cancels it then
        await account.call_limiter.acquire(f"cancels of {active.tenant.name}", urgent=False)
        if not active.abandoned or watch.ended.done():
            return  # somebody came back for it meanwhile
        try:
            gone = await self._dashscope.cancel(watch.upstream, watch.task_id)
        except GatewayError:
            return  # not known to be gone, so it is followed to its end
        if gone and not watch.ended.done():
            fault = TaskLost("The edit was cancelled before it ran.", retry=True)
            task = Task(task_id=watch.task_id, status=TaskStatus.CANCELED, fault=fault)
            watch.ended.set_result(task)

    async def _ended(self, active: ActiveEdit, run: PartRun, task: Task, seconds: float) -> None:
        region = active.tenant.region
        model = active.edit.model
        for fault in task.faults:
            redact_prompt(fault, active.edit.texts)
        polls = 0 if run.watch is None else run.watch.polls
        self._mark_end(active, run, task)
        if run.watch is not None:
            self._observer.polls_spent(region, polls)
        timed_out = run.watch is not None and run.watch.timed_out
        outcome = "timed_out" if timed_out else _outcome(task, run.part.n)
        self._observer.task_ended(active.tenant.name, region, model, outcome, seconds)
        if (missing := run.part.n - len(task.images)) > 0:
            self._observer.pictures(active.tenant.name, region, model, "failed", missing)
        edit_id = active.edit_id
        index = run.part.index
        status = task.status.lower()
        await self._owed.keep(edit_id, index, lambda: self._ledger.end_task(edit_id, index, status))
        if not task.images:
            run.error = task.fault or UpstreamFailed("The task made no picture.", retry=False)
            self._observer.task_failed(region, model, run.error)
        active.trace.task_ended(run.part.index, outcome, len(task.images), polls, run.error)

    def _mark_end(self, active: ActiveEdit, run: PartRun, task: Task) -> None:
        """Split what we saw as one wait by upstream's own clock: pending, running, our lag."""
        assert run.upstream is not None
        now = self._clock.now()
        times = task.times
        started = run.accepted_at
        if len(active.runs) == 1 and times.submitted is not None and times.scheduled is not None:
            pending = max(0.0, min(now - started, times.scheduled - times.submitted))
            active.marks = [m for m in active.marks if m[1] is not Phase.UPSTREAM_RUNNING]
            active.mark(Phase.UPSTREAM_PENDING, started)
            active.mark(Phase.UPSTREAM_RUNNING, started + pending)
        lag = 0.0
        if run.watch is not None and run.watch.ended_at:
            lag = max(0.0, min(now - started, now - run.watch.ended_at))
            self._observer.end_detected(run.upstream.region.name, active.edit.model, lag)
        if all(other is run or other.ended for other in active.runs):
            active.mark(Phase.DETECTION, max(now - lag, active.marks[-1][0]))
            active.mark(Phase.DOWNLOAD, now)


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
    if task.images and len(task.images) < asked:
        return "partial"
    return str(task.status).lower()
