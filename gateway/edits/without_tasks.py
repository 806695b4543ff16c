"""
Models without tasks: the answer to the submit has the pictures and cannot be fetched again (D87).

There is no list to look a lost answer up in, so it ends the edit in doubt. Where the pictures
are is kept beside the ledger before anything else is written.
"""

import math
from dataclasses import replace

from gateway.domain.clock import Phase
from gateway.domain.edit import Picture
from gateway.domain.errors import (
    LedgerUnavailable,
    ResultUnavailable,
    SubmitUncertain,
)
from gateway.domain.intent import Intent
from gateway.domain.record import KEPT_SECONDS
from gateway.domain.task import Accepted, ResultImage, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.lifecycle import draining
from gateway.edits.part_ledger import PartLedger
from gateway.edits.ports import Ports

_ANSWER_SECONDS = 60.0  # an answer mostly comes within half of it
_READ_AGAIN_SECONDS = 5.0


class WithoutTasks:
    """The SubmitStrategy of models that answer a submit with the pictures."""

    def __init__(self, ports: Ports, part_ledger: PartLedger) -> None:
        self._ports = ports
        self._part_ledger = part_ledger
        self._last_submit = math.inf

    def drain(self, until: float) -> None:
        """Submit nothing any more whose answer may come after *until* (monotonic) (D55)."""
        self._last_submit = until - _ANSWER_SECONDS

    def prompt_to_lock(self, active: ActiveEdit) -> str | None:  # noqa: ARG002 - as the others
        return None  # without a list, two of one prompt cannot be mistaken for each other

    async def prepare(self, account: AccountState, upstream: Upstream) -> None:
        """Nothing: no window of time is ever searched."""

    def refuse_if_too_late(self) -> None:
        if self._ports.clock.now() > self._last_submit:
            raise draining()

    async def send(
        self,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted:
        observer = self._ports.observer
        region = upstream.region.name
        now = self._ports.clock.now()
        active.life.answering(run.part.index, now)
        active.timeline.enter(Phase.UPSTREAM_RUNNING, now)
        observer.task_state(region, None, "running")
        try:
            return await self._ports.dashscope.submit(
                upstream, active.edit, run.part, pictures, intent
            )
        except SubmitUncertain as doubt:
            account.record_refusal(upstream, doubt, active.edit.model)
            active.life.uncertain(run.part.index)
            active.trace.uncertain(run.part.index)
            raise _answer_lost(doubt) from doubt
        finally:
            observer.task_state(region, "running", None)

    async def accept(
        self, account: AccountState, active: ActiveEdit, run: PartRun, accepted: Accepted
    ) -> None:
        index = run.part.index
        active.life.accepted(
            index, accepted.task_id, request_id=accepted.request_id, task=accepted.task
        )
        await self._write_task(account, active, run, accepted)

    async def _write_task(
        self, account: AccountState, active: ActiveEdit, run: PartRun, accepted: Accepted
    ) -> None:
        task = accepted.task
        assert task is not None
        edit_id = active.edit_id
        index = run.part.index
        extended = bool(active.edit.prompt_extend)
        images = tuple(replace(it, extended=it.extended or extended) for it in task.images)
        await self._part_ledger.write(
            active,
            run,
            lambda: self._ports.result_urls.put(edit_id, index, images),
            account=account,
            prompt=None,
            store="result_urls",
        )
        await self._part_ledger.accept(active, run, accepted, account=account, prompt=None)

    async def take_over(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Find the pictures where an earlier try or process left them."""
        task_id = run.life.task_id
        if task_id is not None and run.life.task is not None:
            # After a bug (D70): the ledger may not have it.
            accepted = Accepted(task_id, request_id="", task=run.life.task)
            await self._write_task(account, active, run, accepted)
            return
        made = await self._kept_urls(active, run)
        if made is None:
            raise _answer_lost() if task_id is None else _result_urls_lost()
        task_id = task_id or "request-unknown"
        task = Task(task_id=task_id, status=TaskStatus.SUCCEEDED, results=made)
        await self.accept(account, active, run, Accepted(task_id, request_id="", task=task))
        self._ports.observer.recovered("submit_resolved")

    async def follow(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Write down the end that the answer to the submit brought."""
        task = run.life.task
        assert task is not None
        now = self._ports.clock.now()
        began = run.life.since or now  # 0: another process had the answer
        active.timeline.enter(Phase.UPSTREAM_RUNNING, began)
        seconds = now - began
        if seconds:
            account.durations.learn(active.kind, seconds)
        await self._part_ledger.end(active, run, task, seconds=seconds)

    async def results(
        self,
        account: AccountState,  # noqa: ARG002 - as the other strategy
        active: ActiveEdit,
        run: PartRun,
        *,
        fresh: bool,  # noqa: ARG002 - there are no others
    ) -> tuple[ResultImage, ...]:
        for index, part in enumerate(active.life.parts):
            if part.task_id is None or part.task is not None:
                continue
            made = await self._ports.result_urls.get(active.edit_id, index)
            if made is not None:
                task = Task(part.task_id, TaskStatus.SUCCEEDED, made)
                active.life.results_found(index, task)
        if not active.pictures_made:
            raise _result_urls_lost()
        # Where this part's are may be lost: another part's are there.
        return () if run.life.task is None else run.life.task.images

    async def _kept_urls(self, active: ActiveEdit, run: PartRun) -> tuple[ResultImage, ...] | None:
        """Read where the pictures are; while that cannot be read, nothing ends for a day."""
        until = self._ports.clock.now() + KEPT_SECONDS
        while self._ports.clock.now() < until:
            try:
                return await self._ports.result_urls.get(active.edit_id, run.part.index)
            except LedgerUnavailable:  # the store itself warns the operator
                await self._ports.clock.sleep(_READ_AGAIN_SECONDS)
        return None


def _answer_lost(doubt: SubmitUncertain | None = None) -> SubmitUncertain:
    """Return what ends an edit whose answer was lost."""
    return SubmitUncertain(
        "The upstream's answer was lost, and this model has no list to look it up in: the "
        "picture may have been made and paid for. To submit again, and possibly pay twice, "
        "retry after two minutes or use a new Idempotency-Key.",
        retry=False,
        upstream_code=None if doubt is None else doubt.upstream_code,
        upstream_request_id=None if doubt is None else doubt.upstream_request_id,
    )


def _result_urls_lost() -> ResultUnavailable:
    """Return what ends an edit that was made, but whose result URLs were not kept."""
    return ResultUnavailable("The picture was made, but where it is stored is lost.", retry=False)
