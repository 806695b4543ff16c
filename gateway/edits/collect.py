"""Bringing the pictures of an ended edit home, in order, however often it takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import TypeVar

from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import GatewayError, ResultUnavailable
from gateway.domain.task import ResultImage, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.ready import Ready
from gateway.edits.request import Incoming
from gateway.edits.submit import made_and_lost
from gateway.edits.surroundings import Surroundings

_AT_ONCE = 4
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_TRIES_IN_VAIN = 6
"""So many in a row, a quarter of a minute with fresh URLs: the picture is lost for good."""
_DOUBTED = 3
"""So many answers in a row that tell of no picture are believed."""

_Picture = bytes | Incoming
_Fetch = Callable[[Upstream, PartRun, str], Awaitable[_Picture]]


class Collector:
    """Fetches result URLs again when they are old or were forgotten, downloads and finishes."""

    def __init__(self, accounts: dict[tuple[str, str], AccountState], around: Surroundings) -> None:
        self._accounts = accounts
        self._finishing = around.finishing
        self._dashscope = around.dashscope
        self._result_urls = around.result_urls
        self._clock = around.clock
        self._observer = around.observer
        self._tell = around.tell
        self._ready = Ready(around)

    async def collect(
        self, active: ActiveEdit, opened: AsyncExitStack
    ) -> tuple[tuple[_Picture, ...], tuple[str, ...]]:
        """
        Return the pictures, or the URLs if those were asked for, in the order of the parts.

        Pictures that go back as they were made are only begun: they are read while the
        answer goes out, and closed with *opened*. Tries for ever: the caller's deadline
        ends it.

        Raises:
            ResultUnavailable: none can be had, for good; the operator is told.
            LedgerUnavailable: what is kept for it cannot be read.
        """
        if not active.has_tasks:
            await self._recall(active)
        if active.edit.output.response_format is ResponseFormat.URL:
            urls = [made.url for run in active.runs for made in await self._made(active, run)]
            return (), _some(urls)
        fetch = await self._fetch_of(active, opened)
        region = active.tenant.region
        self._observer.task_state(region, None, "downloading")
        try:
            shares = [await self._leg(active, run, fetch) for run in active.runs]
        finally:
            self._observer.task_state(region, "downloading", None)
        self._ready.made(active.edit_id)
        had = [picture for share in shares for picture in share]
        lost = [picture for picture in had if isinstance(picture, ResultUnavailable)]
        pictures = tuple(p for p in had if not isinstance(p, ResultUnavailable))
        if lost:
            self._lost(active, lost, of=len(had))
        if lost and not pictures:
            raise _for_good(active, lost[0])
        return _some(pictures), ()

    async def _recall(self, active: ActiveEdit) -> None:
        """
        Read where the pictures of a model without tasks lie, if another process had the answer.

        Raises:
            ResultUnavailable: of no part it is known.
        """
        for run in active.runs:
            if run.task_id is None or run.task is not None:
                continue
            made = await self._result_urls.get(active.edit_id, run.part.index)
            if made is not None:
                run.task = Task(run.task_id, TaskStatus.SUCCEEDED, made)
        if not any(run.task.images for run in active.runs if run.task is not None):
            raise made_and_lost()

    def _lost(self, active: ActiveEdit, lost: list[ResultUnavailable], *, of: int) -> None:
        """Tell the operator, once, of pictures that were paid for and cannot be had."""
        if active.delivered or active.replay or active.told_at is not None:
            return
        region = active.tenant.region
        tenant = active.tenant.name
        why = lost[0].upstream_code
        self._tell(
            "result_unavailable",
            region=region,
            tenant=tenant,
            edit_id=active.edit_id,
            pictures=len(lost),
            why=why or lost[0].message,
            remedy="See docs/runbook.md#wangatewayresultunavailable.",
        )
        if len(lost) == of:
            self._observer.undelivered("result_unavailable")
        self._observer.pictures(tenant, region, active.edit.model, "undelivered", len(lost))

    async def _fetch_of(self, active: ActiveEdit, opened: AsyncExitStack) -> _Fetch:
        """Return how each picture of *edit* is had."""
        passes_through = active.edit.output.passes_through
        ready = None if passes_through else await self._ready.of(active, opened)
        finish = await (ready.finish(active) if ready else self._finishing.of(active))

        async def finished(picture: bytes) -> bytes:
            try:
                return await finish(picture)
            except ResultUnavailable as broken:  # it came whole: another try brings the same
                raise ResultUnavailable(
                    broken.message, retry=False, upstream_code="it cannot be decoded"
                ) from broken

        async def made(upstream: Upstream, url: str) -> bytes:
            return await finished(await self._dashscope.download(upstream, url))

        async def in_memory(url: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
            nonlocal ready
            ready = ready or await self._ready.of(active, opened)
            return await ready.picture(url, make)

        async def fetch(upstream: Upstream, run: PartRun, url: str) -> _Picture:
            if run.broken_late or not passes_through:
                return await in_memory(url, lambda: made(upstream, url))
            picture = await self._dashscope.open(upstream, url)
            if isinstance(picture, bytes):
                return await finished(picture)
            opened.push_async_callback(picture.close)
            if self._finishing.is_finished(active, picture.head):
                return _HandedOn(picture, run)

            async def read() -> bytes:
                return await finished(b"".join([chunk async for chunk in picture.chunks()]))

            return await in_memory(url, read)

        return fetch

    async def _leg(
        self, active: ActiveEdit, run: PartRun, fetch: _Fetch
    ) -> list[_Picture | ResultUnavailable]:
        """
        Download one part's pictures, a few at a time; again, with fresh URLs, if one fails.

        Returns:
            Each picture; or why it cannot be had, which several tries in a row have found.
        """
        tried = 0
        while True:
            made = await self._made(active, run)
            had = await self._download(run, made, fetch)
            failed = [picture for picture in had if isinstance(picture, ResultUnavailable)]
            in_vain = failed and not any(failure.retry for failure in failed)
            run.in_vain = run.in_vain + 1 if in_vain else 0
            if not failed or run.in_vain >= _TRIES_IN_VAIN:
                return had
            if active.has_tasks:
                run.task = None  # its URLs may have expired
            await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1

    async def _download(
        self, run: PartRun, made: tuple[ResultImage, ...], fetch: _Fetch
    ) -> list[_Picture | ResultUnavailable]:
        upstream = run.upstream
        if upstream is None:
            return []
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(result: ResultImage) -> _Picture | ResultUnavailable:
            async with room:
                try:
                    return await fetch(upstream, run, result.url)
                except ResultUnavailable as failure:
                    return failure.without_traceback()

        if len(made) == 1:
            return [await one(made[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(result)) for result in made]
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        return [task.result() for task in tasks]

    async def _made(self, active: ActiveEdit, run: PartRun) -> tuple[ResultImage, ...]:
        """
        Return what the part's task made, asking DashScope when we do not know (any more).

        Raises:
            ResultUnavailable: DashScope does not know the task any more.
        """
        if run.task_id is None or run.upstream is None:
            return ()
        if not active.has_tasks and run.task is None:
            return ()  # where it lies is lost; another part's pictures are there
        account = self._accounts[run.upstream.region.name, run.upstream.account.name]
        tried = silent = 0
        while run.task is None:
            await account.call_limiter.acquire(f"results of {active.tenant.name}", urgent=False)
            task = await self._asked(run.upstream, run.task_id)
            silent += task is not None and task.inconclusive
            believed = task is not None and (not task.inconclusive or silent >= _DOUBTED)
            believed = believed and task is not None and active.is_ours(task)
            if task is not None and task.status.ended and believed:
                run.task = _known(task)
                break
            await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1
        return run.task.images

    async def _asked(self, upstream: Upstream, task_id: str) -> Task | None:
        try:
            return await self._dashscope.fetch(upstream, task_id)
        except GatewayError:
            return None


class _HandedOn:
    """A picture that is read while the answer goes out; its part remembers if it ends badly."""

    def __init__(self, picture: Incoming, run: PartRun) -> None:
        self._picture = picture
        self._leg = run
        self.length = picture.length
        self.head = picture.head

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._picture.chunks():
                yield chunk
        except ResultUnavailable as broken:
            self._leg.broken_late = not broken.retry
            raise

    async def close(self) -> None:
        await self._picture.close()


def _known(task: Task) -> Task:
    """Return *task*, if DashScope knows it."""
    if task.status is TaskStatus.UNKNOWN:
        raise ResultUnavailable(
            "DashScope keeps pictures for 24 hours; this one is gone.", retry=False
        )
    return task


_Kind = TypeVar("_Kind")


def _some(pictures: Iterable[_Kind]) -> tuple[_Kind, ...]:
    """Return *pictures*; an answer has one at least."""
    if not (some := tuple(pictures)):
        raise ResultUnavailable(
            "The edit was made, but DashScope does not tell any more where its pictures are.",
            retry=False,
        )
    return some


def _for_good(active: ActiveEdit, failure: ResultUnavailable) -> ResultUnavailable:
    """Return what the client is told when no try will help it."""
    return ResultUnavailable(
        f"{failure.message} It is paid for, and the operator of this gateway is told. "
        f"GET /v1/images/edits/{active.edit_id} tries again, for 24 hours.",
        retry=False,
        upstream_code=failure.upstream_code,
    )
