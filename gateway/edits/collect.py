"""Downloads the pictures of an ended edit, in order, with retries."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import ResultUnavailable
from gateway.domain.task import ResultImage
from gateway.domain.tenant import Upstream
from gateway.edits.account import Accounts
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.lifecycle import Delivery
from gateway.edits.ports import Ports, ResultPlace, Results
from gateway.edits.postprocess import Postprocess, Postprocessing, SharedPictures
from gateway.edits.request import IncomingPicture, KeptResult
from gateway.edits.submit import SubmitStrategy

_AT_ONCE = 4
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_FINAL_TRIES = 6
"""So many in a row, a quarter of a minute with fresh URLs: the picture is lost for good."""

_Picture = bytes | IncomingPicture | KeptResult
_Fetch = Callable[[Upstream, PartRun, int, str], Awaitable[_Picture]]
"""From a picture's number in its part and its URL to what is answered."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The pictures of an answer, at least one: in one of three ways."""

    pictures: tuple[bytes | IncomingPicture, ...] = ()
    urls: tuple[str, ...] = ()
    """DashScope's own."""
    kept: tuple[KeptResult, ...] = ()


class ResultCollector:
    """Downloads and finishes pictures, with fresh result URLs where the old ones do not work."""

    def __init__(
        self,
        accounts: Accounts,
        ports: Ports,
        *,
        postprocessing: Postprocessing,
        strategy_of: Callable[[ActiveEdit], SubmitStrategy],
    ) -> None:
        self._accounts = accounts
        self._ports = ports
        self._postprocessing = postprocessing
        self._strategy_of = strategy_of
        self._shared = SharedPictures(ports, postprocessing)

    async def collect(
        self, active: ActiveEdit, opened: AsyncExitStack, response_format: ResponseFormat
    ) -> Collected:
        """
        Return the pictures, or the URLs if those were asked for, in the order of the parts.

        Pictures that go back as they were made are only begun: they are read while the
        answer goes out, and closed with *opened*. Those that are answered by a URL of ours are
        kept before the URL is sent. Tries for ever: the caller's deadline ends it.

        Where an earlier config kept pictures and this one does not, what cannot be had by
        DashScope's URL is returned itself: it is paid for.

        Raises:
            ResultUnavailable: none can be downloaded, for good; the operator gets a warning.
            LedgerUnavailable: what is kept for it cannot be read.
            ResultStoreUnavailable: a picture cannot be kept; the edit is not lost by it.
        """
        as_urls = response_format is ResponseFormat.URL
        if as_urls and self._ports.results is None and active.edit.output.is_upstreams_own:
            urls = [made.url for run in active.runs for made in await self._results(active, run)]
            return Collected(urls=_some(urls))
        if as_urls and self._ports.results is not None:
            fetch = await self._keeping(active, opened, self._ports.results)
        else:
            fetch = await self._fetch_of(active, opened)
        region = active.tenant.region
        self._ports.observer.task_state(region, None, "downloading")
        try:
            shares = [await self._pictures_of(active, run, fetch) for run in active.runs]
        finally:
            self._ports.observer.task_state(region, "downloading", None)
        self._shared.all_made(active.edit_id)
        had = [picture for share in shares for picture in share]
        lost = [picture for picture in had if isinstance(picture, ResultUnavailable)]
        pictures = tuple(p for p in had if not isinstance(p, ResultUnavailable))
        if lost:
            self._lost(active, lost, of=len(had))
        if lost and not pictures:
            raise _for_good(active, lost[0])
        kept = tuple(it for it in _some(pictures) if isinstance(it, KeptResult))
        return Collected(tuple(it for it in pictures if not isinstance(it, KeptResult)), kept=kept)

    def _lost(self, active: ActiveEdit, lost: list[ResultUnavailable], *, of: int) -> None:
        """Warn the operator, once, of pictures that were paid for and cannot be downloaded."""
        if active.life.replay or active.life.delivery is not Delivery.OWED:
            return
        region = active.tenant.region
        tenant = active.tenant.name
        why = lost[0].upstream_code
        self._ports.notify(
            "result_unavailable",
            region=region,
            tenant=tenant,
            edit_id=active.edit_id,
            pictures=len(lost),
            why=why or lost[0].message,
            remedy="See docs/runbook.md#wangatewayresultunavailable.",
        )
        if len(lost) == of:  # of the others it is counted with the answer
            self._ports.observer.undelivered("result_unavailable")
            self._ports.observer.pictures(tenant, region, active.edit.model, "undelivered", of)

    async def _fetch_of(self, active: ActiveEdit, opened: AsyncExitStack) -> _Fetch:
        """Return the function that downloads and finishes one picture of *edit*."""
        passes_through = active.edit.output.passes_through
        shared = None if passes_through else await self._shared.of(active, opened)
        finish = await (shared.postprocess(active) if shared else self._postprocessing.of(active))
        finished = _final(finish)

        async def made(upstream: Upstream, url: str) -> bytes:
            return await finished(await self._download(active, upstream, url))

        async def in_memory(url: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
            nonlocal shared
            shared = shared or await self._shared.of(active, opened)
            return await shared.picture(url, make)

        async def fetch(upstream: Upstream, run: PartRun, _: int, url: str) -> _Picture:
            if run.broken_late or not passes_through:
                return await in_memory(url, lambda: made(upstream, url))
            picture = await self._ports.dashscope.open(upstream, url)
            if isinstance(picture, bytes):
                self._postprocessing.inspect(active, picture)
                return await finished(picture)
            opened.push_async_callback(picture.close)
            self._postprocessing.inspect(active, picture.head)
            if self._postprocessing.is_finished(active, picture.head):
                return _HandedOn(picture, run)

            async def read() -> bytes:
                return await finished(b"".join([chunk async for chunk in picture.chunks()]))

            return await in_memory(url, read)

        return fetch

    async def _keeping(
        self, active: ActiveEdit, opened: AsyncExitStack, results: Results
    ) -> _Fetch:
        """Return how each picture of *edit* is kept, unless it is there already."""
        shared = await self._shared.of(active, opened)
        output = active.edit.output

        async def fetch(upstream: Upstream, run: PartRun, index: int, url: str) -> _Picture:
            place = ResultPlace(
                active.tenant.name, active.edit_id, run.part.index, index, output.output_format
            )

            async def keep() -> KeptResult:
                if (kept := await results.find(place)) is not None:
                    return kept
                picture = await self._download(active, upstream, url)
                if not self._postprocessing.is_finished(active, picture):
                    picture = await _final(await shared.postprocess(active))(picture)
                return await results.keep(place, picture)

            return await shared.kept(url, keep)

        return fetch

    async def _pictures_of(
        self, active: ActiveEdit, run: PartRun, fetch: _Fetch
    ) -> list[_Picture | ResultUnavailable]:
        """
        Download one part's pictures, a few at a time; again, with fresh URLs, if one fails.

        Returns:
            Each picture; or why it cannot be had, which several tries in a row have found.
        """
        tried = 0
        made = await self._results(active, run)
        while True:
            pictures = await self._fetch_all(run, made, fetch)
            failed = [picture for picture in pictures if isinstance(picture, ResultUnavailable)]
            final = bool(failed) and not any(failure.retry for failure in failed)
            in_a_row = run.count_failed_download(final=final)
            if not failed or in_a_row >= _FINAL_TRIES:
                return pictures
            await self._ports.clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1
            made = await self._results(active, run, fresh=True)

    async def _results(
        self, active: ActiveEdit, run: PartRun, *, fresh: bool = False
    ) -> tuple[ResultImage, ...]:
        upstream = run.life.upstream
        if upstream is None:
            return ()
        account = self._accounts.of(upstream)
        return await self._strategy_of(active).results(account, active, run, fresh=fresh)

    async def _download(self, active: ActiveEdit, upstream: Upstream, url: str) -> bytes:
        picture = await self._ports.dashscope.download(upstream, url)
        self._postprocessing.inspect(active, picture)
        return picture

    async def _fetch_all(
        self, run: PartRun, made: tuple[ResultImage, ...], fetch: _Fetch
    ) -> list[_Picture | ResultUnavailable]:
        upstream = run.life.upstream
        if upstream is None:
            return []
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int, result: ResultImage) -> _Picture | ResultUnavailable:
            async with slots:
                try:
                    return await fetch(upstream, run, index, result.url)
                except ResultUnavailable as failure:
                    return failure.without_traceback()

        if len(made) == 1:
            return [await one(0, made[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(*it)) for it in enumerate(made)]
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        return [task.result() for task in tasks]


def _final(finish: Postprocess) -> Postprocess:
    """Return *finish*, whose failures no other try can help: the picture came whole."""

    async def finished(picture: bytes) -> bytes:
        try:
            return await finish(picture)
        except ResultUnavailable as broken:
            raise ResultUnavailable(
                broken.message, retry=False, upstream_code="it cannot be decoded"
            ) from broken

    return finished


class _HandedOn:
    """A picture that is read while the answer goes out; its part remembers if it ends badly."""

    def __init__(self, picture: IncomingPicture, run: PartRun) -> None:
        self._picture = picture
        self._run = run
        self.length = picture.length
        self.head = picture.head

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._picture.chunks():
                yield chunk
        except ResultUnavailable as broken:
            self._run.broke_late(final=not broken.retry)
            raise

    async def close(self) -> None:
        await self._picture.close()


_Kind = TypeVar("_Kind")


def _some(pictures: Iterable[_Kind]) -> tuple[_Kind, ...]:
    """Return *pictures*; an answer has one at least."""
    if not (some := tuple(pictures)):
        raise ResultUnavailable(
            "The edit was made, but DashScope does not say any more where its pictures are.",
            retry=False,
        )
    return some


def _for_good(active: ActiveEdit, failure: ResultUnavailable) -> ResultUnavailable:
    """Return the client's error when no further try can succeed."""
    return ResultUnavailable(
        f"{failure.message} It is paid for, and the operator of this gateway sees it. "
        f"GET /v1/images/edits/{active.edit_id} tries again, for 24 hours.",
        retry=False,
        upstream_code=failure.upstream_code,
    )
