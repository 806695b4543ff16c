"""Bringing the pictures of an ended edit home, in order, however often it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from gateway.domain.edit import ResponseFormat
from gateway.domain.errors import GatewayError, ResultUnavailable
from gateway.domain.task import Made, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.ask import Incoming
from gateway.journey.errand import Errand, Leg
from gateway.journey.lane import Lane
from gateway.journey.submit import made_and_lost
from gateway.journey.surroundings import Surroundings

_AT_ONCE = 4
Fetch = Callable[[Upstream, str], Awaitable[bytes | Incoming]]
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)


class Collector:
    """Fetches result URLs again when they are old or were forgotten, downloads and finishes."""

    def __init__(self, lanes: dict[tuple[str, str], Lane], around: Surroundings) -> None:
        self._lanes = lanes
        self._finishing = around.finishing
        self._dashscope = around.dashscope
        self._receipts = around.receipts
        self._clock = around.clock
        self._observer = around.observer

    async def collect(
        self, errand: Errand, opened: AsyncExitStack
    ) -> tuple[tuple[bytes | Incoming, ...], tuple[str, ...]]:
        """
        Return the pictures, or the URLs if those were asked for, in the order of the parts.

        Pictures that go back as they were made are only begun: they are read while the
        answer goes out, and closed with *opened*. Tries for ever: the caller's deadline
        ends it.

        Raises:
            ResultUnavailable: it is gone for good.
            LedgerUnavailable: what is kept for it cannot be read.
        """
        if not errand.has_tasks:
            await self._recall(errand)
        if errand.edit.answer.response_format is ResponseFormat.URL:
            urls = [made.url for leg in errand.legs for made in await self._made(errand, leg)]
            return (), tuple(urls)
        fetch = await self._fetch_of(errand, opened)
        region = errand.tenant.region
        self._observer.task_state(region, None, "downloading")
        try:
            shares = [await self._leg(errand, leg, fetch) for leg in errand.legs]
        finally:
            self._observer.task_state(region, "downloading", None)
        return tuple(picture for share in shares for picture in share), ()

    async def _recall(self, errand: Errand) -> None:
        """
        Read where the pictures of a model without tasks lie, if another process had the answer.

        Raises:
            ResultUnavailable: of no part it is known.
        """
        for leg in errand.legs:
            if leg.task_id is None or leg.task is not None:
                continue
            made = await self._receipts.get(errand.edit_id, leg.part.index)
            if made is not None:
                leg.task = Task(leg.task_id, TaskStatus.SUCCEEDED, made)
        if not any(leg.task.made for leg in errand.legs if leg.task is not None):
            raise made_and_lost()

    async def _fetch_of(self, errand: Errand, opened: AsyncExitStack) -> Fetch:
        """Return how each picture of *errand* is had."""
        if errand.edit.answer.as_made:

            async def begin(upstream: Upstream, url: str) -> bytes | Incoming:
                picture = await self._dashscope.open(upstream, url)
                if not isinstance(picture, bytes):
                    opened.push_async_callback(picture.close)
                return picture

            return begin
        finish = await self._finishing.of(errand)

        async def download(upstream: Upstream, url: str) -> bytes | Incoming:
            return await finish(await self._dashscope.download(upstream, url))

        return download

    async def _leg(self, errand: Errand, leg: Leg, fetch: Fetch) -> list[bytes | Incoming]:
        """Download one part's pictures, a few at a time; again, with fresh URLs, if one fails."""
        tried = 0
        while True:
            made = await self._made(errand, leg)
            try:
                return await self._download(leg, made, fetch)
            except ResultUnavailable:
                if errand.has_tasks:
                    leg.task = None  # its URLs may have expired
                await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
                tried += 1

    async def _download(
        self, leg: Leg, made: tuple[Made, ...], fetch: Fetch
    ) -> list[bytes | Incoming]:
        upstream = leg.upstream
        if upstream is None:
            return []
        if len(made) == 1:
            return [await fetch(upstream, made[0].url)]
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(result: Made) -> bytes | Incoming:
            async with room:
                return await fetch(upstream, result.url)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(result)) for result in made]
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        return [task.result() for task in tasks]

    async def _made(self, errand: Errand, leg: Leg) -> tuple[Made, ...]:
        """Return what the part's task made, asking DashScope when we do not know (any more)."""
        if leg.task_id is None or leg.upstream is None:
            return ()
        if not errand.has_tasks and leg.task is None:
            return ()  # where it lies is lost; another part's pictures are there
        lane = self._lanes[leg.upstream.region.name, leg.upstream.account.name]
        tried = 0
        while leg.task is None:
            await lane.calls.turn(f"results of {errand.tenant.name}", urgent=False)
            try:
                task = await self._dashscope.fetch(leg.upstream, leg.task_id)
            except GatewayError:
                task = None
            if task is not None and task.status.ended:
                if task.status is TaskStatus.UNKNOWN:
                    raise ResultUnavailable(
                        "DashScope keeps pictures for 24 hours; this one is gone.", retry=False
                    )
                leg.task = task
                break
            await self._clock.sleep(_AGAIN_SECONDS[min(tried, len(_AGAIN_SECONDS) - 1)])
            tried += 1
        return leg.task.made
