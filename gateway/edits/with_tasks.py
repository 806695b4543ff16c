"""Models that make tasks: a lost answer is looked up, the task is followed, its results fetched."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TypeGuard

from gateway.domain.clock import Phase
from gateway.domain.edit import Picture
from gateway.domain.errors import GatewayError, ResultUnavailable, SubmitUncertain, TaskLost
from gateway.domain.intent import Intent
from gateway.domain.task import Accepted, ResultImage, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.part_ledger import PartLedger
from gateway.edits.ports import Ports
from gateway.edits.resolve import SubmitResolver, UncertainSubmit, lost
from gateway.polling.loop import Poller
from gateway.polling.plan import Watch

_CLOCK_SECONDS = 3.0
_CLOCK_PAUSES = (0.0, 0.3)
_LONGEST_RUN_SECONDS = 3 * 3600.0  # then DashScope ends a task itself (dashscope.md 11)
_CHECK_SECONDS = 300.0
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_EMPTY_ANSWERS = 3
"""So many answers in a row that name no picture are believed (D22)."""


class WithTasks:
    """The SubmitStrategy of models that make tasks."""

    def __init__(self, ports: Ports, part_ledger: PartLedger) -> None:
        self._ports = ports
        self._part_ledger = part_ledger
        self._resolver = SubmitResolver(ports.dashscope, ports.ledger, ports.clock, ports.models)

    def prompt_to_lock(self, active: ActiveEdit) -> str | None:
        return active.prompt_digest  # two of one prompt look alike in the task list (D4)

    async def prepare(self, account: AccountState, upstream: Upstream) -> None:
        """
        Learn the region's clock before the first intent is written.

        The intent records that time, and after a crash the next process searches the task list
        by it, so our own clock may be wrong (D71). If the region does not answer within 3 s,
        submit anyway.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOCK_SECONDS):
                for pause in _CLOCK_PAUSES:
                    if self._ports.dashscope.clock_known(upstream.region.name):
                        return
                    await self._ports.clock.sleep(pause)
                    await account.call_limiter.acquire("settlements")
                    until = self._ports.clock.epoch()
                    with suppress(GatewayError):  # a refusal has the time, too
                        await self._ports.dashscope.tasks(
                            upstream, since=until - 60.0, until=until, page_size=1
                        )

    def refuse_if_too_late(self) -> None:
        """Never: the next process follows the task."""

    async def send(
        self,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted | None:
        dashscope = self._ports.dashscope
        observer = self._ports.observer
        region = upstream.region.name
        observer.task_state(region, None, "submitting")
        try:
            accepted = await dashscope.submit(upstream, active.edit, run.part, pictures, intent)
        except SubmitUncertain as doubt:
            account.record_refusal(upstream, doubt, active.edit.model)
            self._now_uncertain(active, run)
            task_id = await self._resolve(account, upstream, active, run)
            if task_id is None and doubt.refusal is not None:
                raise doubt.refusal from doubt
            return None if task_id is None else Accepted(task_id, request_id="")
        finally:
            observer.task_state(region, "submitting", None)
        if not await self._resolver.is_anothers(accepted.task_id):
            return accepted
        # The answer named another part's task: whatever was done with this submit, the list
        # has to show it. It is not submitted again.
        self._now_uncertain(active, run)
        task_id = await self._resolve(account, upstream, active, run)
        if task_id is None:
            await self._lose(account, active, run)
            raise lost()
        return Accepted(task_id, request_id="")

    async def accept(
        self, account: AccountState, active: ActiveEdit, run: PartRun, accepted: Accepted
    ) -> None:
        self._resolver.claim(accepted.task_id)
        active.life.accepted(run.part.index, accepted.task_id, request_id=accepted.request_id)
        await self._write_task(account, active, run, accepted)

    async def _write_task(
        self, account: AccountState, active: ActiveEdit, run: PartRun, accepted: Accepted
    ) -> None:
        await self._part_ledger.accept(
            active,
            run,
            accepted,
            account=account,
            prompt=active.prompt_digest,
            on_written=self._resolver.written,
        )

    async def take_over(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        task_id = run.life.task_id
        upstream = run.life.upstream
        assert upstream is not None
        prompt = active.prompt_digest
        if task_id is not None:
            if run.kept_prompt is not None:  # by a bug: the ledger may not have the task
                async with account.hold_prompt(prompt, run):
                    await self._write_task(account, active, run, Accepted(task_id, request_id=""))
            self._ports.observer.recovered("task_followed")
            return
        async with account.hold_prompt(prompt, run):
            task_id = await self._resolve(account, upstream, active, run)
            if task_id is None:
                await self._part_ledger.void(active, run, account=account, prompt=prompt)
            else:
                await self.accept(account, active, run, Accepted(task_id, request_id=""))
        self._ports.observer.recovered("submit_void" if task_id is None else "submit_resolved")

    async def follow(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        clock = self._ports.clock
        observer = self._ports.observer
        upstream = run.life.upstream
        task_id = run.life.task_id
        assert upstream is not None
        assert task_id is not None
        index = run.part.index
        region = upstream.region.name
        began = clock.now()
        active.life.followed(index, began)
        active.timeline.enter(Phase.UPSTREAM_RUNNING, began)
        theirs = clock.epoch() + self._ports.dashscope.clock_offset(region)
        age = max(0.0, theirs - run.life.intended_at)
        watch = account.poller.watch(
            account.renewed(upstream),
            task_id,
            active.kind,
            age=age,
            is_ours=active.is_ours,
            on_poll=partial(active.trace.polled, index),
        )
        run.follow_with(watch)
        active.trace.accepted(index, upstream, task_id, run.life.request_id)
        observer.task_state(region, None, "pending")
        try:
            if active.life.abandoned:
                await self.cancel(account, active, run)
            task = await self._end_of(account.poller, watch)
        finally:
            account.poller.forget(watch)
            observer.task_state(region, watch.status.lower(), None)
        await self._part_ledger.end(
            active,
            run,
            task or _timed_out(task_id),
            seconds=age + clock.now() - began,
            timed_out=task is None,
        )

    async def cancel(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Cancel a task that still queues upstream, at no cost; one that runs goes on."""
        watch = run.watch
        if watch is None:
            return  # it is being written down; follow() cancels it then
        await account.call_limiter.acquire(f"cancels of {active.tenant.name}", urgent=False)
        if not active.life.abandoned or watch.ended:
            return  # a client came back for it meanwhile
        try:
            gone = await self._ports.dashscope.cancel(watch.upstream, watch.task_id)
        except GatewayError:
            return  # not known to be gone, so it is followed to its end
        if gone:
            fault = TaskLost("The edit was cancelled before it ran.", retry=True)
            task = Task(task_id=watch.task_id, status=TaskStatus.CANCELED, fault=fault)
            account.poller.end(watch, task)

    async def results(
        self, account: AccountState, active: ActiveEdit, run: PartRun, *, fresh: bool
    ) -> tuple[ResultImage, ...]:
        upstream = run.life.upstream
        task_id = run.life.task_id
        if task_id is None or upstream is None:
            return ()
        if fresh:
            active.life.results_expired(run.part.index)  # its URLs may have expired
        tried = silent = 0
        while run.life.task is None:
            await account.call_limiter.acquire(f"results of {active.tenant.name}", urgent=False)
            task = await self._fetched(account.renewed(upstream), task_id)
            silent += task is not None and task.inconclusive
            if _is_end_of(task, active, believe_empty=silent >= _EMPTY_ANSWERS):
                if task.status is TaskStatus.UNKNOWN:
                    raise ResultUnavailable(
                        "DashScope keeps pictures for 24 hours; this one is gone.", retry=False
                    )
                active.life.results_found(run.part.index, task)
                return task.images
            await self._ports.clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1
        return run.life.task.images

    async def _fetched(self, upstream: Upstream, task_id: str) -> Task | None:
        try:
            return await self._ports.dashscope.fetch(upstream, task_id)
        except GatewayError:
            return None

    def _now_uncertain(self, active: ActiveEdit, run: PartRun) -> None:
        active.life.uncertain(run.part.index)
        active.trace.uncertain(run.part.index)

    async def _resolve(
        self, account: AccountState, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> str | None:
        """
        Find out by the task list what became of the open submit (D3).

        Raises:
            TaskLost: it cannot be found out; that is written down.
        """
        doubt = UncertainSubmit(
            upstream=upstream,
            model=active.edit.model,
            prompt_digest=active.prompt_digest,
            prompt_forms=active.prompt_forms,
            broke=self._ports.clock.now(),
            intended=run.life.intended,
            recorded=run.life.intended_at,
            may_leave_until=self._ports.submits_end_at() if run.life.intended is None else 0.0,
        )
        try:
            task_id = await self._resolver.resolve(account, doubt)
        except TaskLost:
            await self._lose(account, active, run)
            raise
        if task_id is not None:
            self._ports.observer.duplicate_prevented("ambiguous_found")
        return task_id

    async def _lose(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        await self._part_ledger.lose(active, run, account=account, prompt=active.prompt_digest)

    async def _end_of(self, poller: Poller, watch: Watch) -> Task | None:
        """
        Wait for a task's end; return ``None`` once it has run for longer than any task may.

        What counts is how long this process saw it run: the age that another process recorded
        depends on the calendar.
        """
        running_since: float | None = None
        while (task := await poller.end_of(watch, within=_CHECK_SECONDS)) is None:
            if watch.failures or watch.status is not TaskStatus.RUNNING:
                continue
            running_since = running_since or self._ports.clock.now()
            if self._ports.clock.now() - running_since >= _LONGEST_RUN_SECONDS:
                break
        return task


def _is_end_of(task: Task | None, active: ActiveEdit, *, believe_empty: bool) -> TypeGuard[Task]:
    """Say whether a fetched task is the end of one of this edit."""
    if task is None or not task.status.ended or not active.is_ours(task):
        return False
    return believe_empty or not task.inconclusive


def _timed_out(task_id: str) -> Task:
    """Return the end of a task that DashScope should have ended itself."""
    fault = TaskLost(
        "The task has run upstream for longer than the 3 hours that DashScope allows, and is not "
        "waited for any more. Whether it makes a picture, and is billed, is not known."
    )
    return Task(task_id=task_id, status=TaskStatus.UNKNOWN, fault=fault)
