"""
Where money is spent: the intent, then the submit, exactly once for each part.

The loop here is the same for all models. What differs is a SubmitStrategy: gateway.edits.with_tasks
for models that make tasks, gateway.edits.without_tasks for those that answer with the pictures.
"""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from gateway.domain.clock import Phase
from gateway.domain.edit import Picture
from gateway.domain.errors import (
    GatewayError,
    IntentExpired,
    LedgerUnavailable,
    TaskFoundError,
    TaskLost,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.intent import Intent
from gateway.domain.task import Accepted, ResultImage
from gateway.domain.tenant import Upstream
from gateway.edits.account import Accounts, AccountState
from gateway.edits.active_edit import ActiveEdit, NobodyWaitsError, PartRun
from gateway.edits.owed import OwedWrites
from gateway.edits.part_ledger import PartLedger
from gateway.edits.ports import Ports
from gateway.edits.postprocess import Postprocessing

_LEDGER_SECONDS = 1.0  # between two tries to write an intent
_THROTTLED_SECONDS = (1.0, 2.0, 4.0, 8.0)
_EXPIRED_MAX = 3  # then it is not a machine that slept, but a connection that is too slow


class SubmitStrategy(Protocol):
    """How one kind of model is submitted, followed and collected (D87)."""

    def prompt_to_lock(self, active: ActiveEdit) -> str | None:
        """Return the digest of which only one submit may be open at once, if there is one."""
        ...

    async def prepare(self, account: AccountState, upstream: Upstream) -> None:
        """Do what has to be done before the first intent."""
        ...

    def refuse_if_too_late(self) -> None:
        """
        Check, right before the intent, that the answer can still be waited for.

        Raises:
            Draining: the process ends before.
        """
        ...

    async def send(
        self,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted | None:
        """
        Send one submit, whose intent is written.

        Returns:
            What it made; ``None`` if it surely made nothing.

        Raises:
            IntentExpired: it was left unfinished, and nothing was made.
            GatewayError: DashScope refused, and nothing was made; or ``maybe_billed``: nothing
                can tell.
        """
        ...

    async def accept(
        self, account: AccountState, active: ActiveEdit, run: PartRun, accepted: Accepted
    ) -> None:
        """Take note of what a submit made, at once in this process, then on the disk."""
        ...

    async def take_over(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """
        Find out what became of a part that another process, or a try before a bug, submitted.

        Afterwards the part has its task, or waits: it surely has none.

        Raises:
            GatewayError: it cannot be found out, or where its pictures are is lost.
        """
        ...

    async def follow(self, account: AccountState, active: ActiveEdit, run: PartRun) -> None:
        """Bring a part that has its task to the task's end."""
        ...

    async def results(
        self, account: AccountState, active: ActiveEdit, run: PartRun, *, fresh: bool
    ) -> tuple[ResultImage, ...]:
        """
        Return where a part's pictures are.

        Args:
            account: Where its task was made.
            active: The edit.
            run: The part.
            fresh: What was returned before does not work.

        Raises:
            ResultUnavailable: that is not known any more.
            LedgerUnavailable: it cannot be read now.
        """
        ...


class Submitter:
    """Makes one task for one part, exactly once."""

    def __init__(
        self,
        ports: Ports,
        accounts: Accounts,
        *,
        owed: OwedWrites,
        part_ledger: PartLedger,
        postprocessing: Postprocessing,
    ) -> None:
        self._ports = ports
        self._accounts = accounts
        self._owed = owed
        self._part_ledger = part_ledger
        self._postprocessing = postprocessing
        self._may_begin = asyncio.Event()
        self._may_begin.set()

    def stop(self) -> None:
        """Begin no submit any more: what has its turn waits until it is cancelled."""
        self._may_begin.clear()

    async def submit(
        self, account: AccountState, strategy: SubmitStrategy, active: ActiveEdit, run: PartRun
    ) -> None:
        """
        Submit to the first upstream of this account that takes it.

        The part has its turn in the queue, so it holds its prompt: no equal one is open (D4).
        Afterwards the part has its task; of a model without tasks, the ended one. An earlier
        attempt may have made it on another account.

        Raises:
            GatewayError: refused, and no task exists; or ``maybe_billed``: it cannot be found out.
            NobodyWaitsError: nothing was intended: no client waits for it at the moment.
        """
        refused: GatewayError = UpstreamUnavailable("No upstream of this account works.")
        for upstream in _untried(account, active):
            try:
                await self._submit_to(account, upstream, strategy, active, run)
            except TaskFoundError as found:
                await self._take(found, account, upstream, strategy, active, run)
                return
            except (UpstreamUnreachable, UpstreamUnavailable) as error:
                account.suspend(upstream, error, active.edit.model)
                refused = error
            except GatewayError as error:
                account.record_refusal(upstream, error, active.edit.model)
                raise
            else:
                account.record_success(upstream)
                return
        raise refused

    async def _take(
        self,
        found: TaskFoundError,
        account: AccountState,
        upstream: Upstream,
        strategy: SubmitStrategy,
        active: ActiveEdit,
        run: PartRun,
    ) -> None:
        """
        Take the task that an earlier attempt made; its row names the account that sees it.

        Raises:
            TaskLost: no configured key sees it.
        """
        self._ports.observer.stray_task(upstream.region.name)
        prompt = strategy.prompt_to_lock(active)
        while found.upstream != upstream.name:
            if found.upstream not in self._accounts.upstreams:
                raise TaskLost(
                    f"The edit's task {found.task_id} was made by the upstream {found.upstream}, "
                    "which is not configured any more."
                )
            await self._part_ledger.void(active, run, account=account, prompt=prompt)
            upstream = self._accounts.upstreams[found.upstream]
            found = await self._find_again(found, account, upstream, active, run, prompt)
        active.life.accepted(run.part.index, found.task_id)
        if self._accounts.of(upstream) is account:
            await strategy.take_over(account, active, run)

    async def _find_again(
        self,
        found: TaskFoundError,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        prompt: str | None,
    ) -> TaskFoundError:
        """
        Intend the part for the upstream that made its task, which writes the task.

        Raises:
            TaskLost: the ledger does not have the task any more.
        """
        try:
            while await self._intend(account, upstream, active, run, prompt) is None:
                await self._ports.clock.sleep(_LEDGER_SECONDS)
        except TaskFoundError as again:
            return again
        await self._part_ledger.lose(active, run, account=account, prompt=prompt)
        raise TaskLost(f"The edit's task {found.task_id} is not in the ledger any more.")

    async def _submit_to(
        self,
        account: AccountState,
        upstream: Upstream,
        strategy: SubmitStrategy,
        active: ActiveEdit,
        run: PartRun,
    ) -> None:
        """
        Submit until a task exists; again only when it is certain that the last try made none.

        The intent is durable before the first byte, the task id before the first poll, and
        the end of a try before the next (D6). While the ledger is away the part waits in its
        turn, for as long as a client waits for it; so it does while the ledger's lease is not
        renewed (D105).
        """
        prompt = strategy.prompt_to_lock(active)
        limiter = account.submit_limiter(active.edit.model)
        throttled = expired = 0
        while not active.life.abandoned:
            await self._owed.written(active.edit_id, run.part.index)
            await strategy.prepare(account, upstream)
            pictures = await self._uploaded(upstream, active, run)
            await limiter.acquire()
            await self._may_begin.wait()
            assert run.ticket is not None
            account.queue.release_submit(run.ticket)
            strategy.refuse_if_too_late()
            if active.life.unattended:
                raise NobodyWaitsError
            intent = await self._intend(account, upstream, active, run, prompt)
            if intent is None:
                await self._ports.clock.sleep(_LEDGER_SECONDS)
                continue
            try:
                accepted = await strategy.send(account, upstream, active, run, pictures, intent)
            except IntentExpired as error:
                self._ports.observer.intent_expired(upstream.region.name)
                await self._part_ledger.void(active, run, error, account=account, prompt=prompt)
                expired += 1
                if expired == _EXPIRED_MAX:
                    raise
                continue
            except Throttled as error:
                limiter.slow_down()
                self._ports.observer.upstream_throttled(upstream.region.name, "submit")
                await self._part_ledger.void(active, run, error, account=account, prompt=prompt)
                await self._ports.clock.sleep(_THROTTLED_SECONDS[min(throttled, 3)])
                throttled += 1
                continue
            except GatewayError as error:
                self._ports.observer.task_failed(upstream.region.name, active.edit.model, error)
                if not error.maybe_billed:
                    await self._part_ledger.void(active, run, error, account=account, prompt=prompt)
                raise
            if accepted is not None:
                await strategy.accept(account, active, run, accepted)
                return
            await self._part_ledger.void(active, run, account=account, prompt=prompt)
        raise given_up()

    async def _uploaded(
        self, upstream: Upstream, active: ActiveEdit, run: PartRun
    ) -> tuple[Picture, ...]:
        """Return the pictures as they go into the submit; a large one is uploaded now (D74)."""
        if upstream.name in active.uploaded:
            return active.uploaded[upstream.name]
        pictures = await active.bytes()
        pictures = await self._ports.dashscope.upload(upstream, active.edit, run.part, pictures)
        if all(picture.url for picture in pictures):
            active.keep_uploaded(upstream.name, pictures)
        return pictures

    async def _intend(
        self,
        account: AccountState,
        upstream: Upstream,
        active: ActiveEdit,
        run: PartRun,
        prompt: str | None,
    ) -> Intent | None:
        """
        Write an intent; return ``None`` if it is not written, or this process may not submit.

        Its time begins before the write, however long that takes (D103).

        Raises:
            LedgerConflict: the edit has ended, by what the ledger says.
            TaskFoundError: the part has a task, which an earlier attempt made.
        """
        if not self._ports.may_submit():
            return None
        intent = Intent(self._ports.clock, self._ports.may_submit)
        active.timeline.enter(Phase.SUBMIT, intent.now)
        theirs = intent.epoch + self._ports.dashscope.clock_offset(upstream.region.name)
        active.life.intended(
            run.part.index, upstream, now=intent.now, at=theirs, attempt=intent.attempt
        )
        active.trace.submitting(run.part.index, upstream)
        try:
            await self._postprocessing.keep(active)
            await self._ports.ledger.intend(active.record(), run.record())
        except LedgerUnavailable as away:
            active.life.intent_refused(away)
            # It may be written all the same.
            await self._part_ledger.void(active, run, away, account=account, prompt=prompt)
            return None
        active.life.intent_written()
        return intent


def given_up() -> TaskLost:
    """Return what ends a part that is not wanted any more before it has a task."""
    return TaskLost("The edit was given up before it was submitted.", retry=True)


def _untried(account: AccountState, active: ActiveEdit) -> Iterator[Upstream]:
    """Yield the tenant's upstreams of this account, those that a reload brings meanwhile too."""
    tried: list[Upstream] = []
    while True:
        left = [one for one in account.upstreams_of(active.tenant) if one not in tried]
        if not left:
            return
        tried.append(left[0])
        yield left[0]
