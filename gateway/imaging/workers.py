"""Pictures off the event loop: a few threads, bounded waits, and the number of the culprit."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from gateway.domain.edit import AnswerForm, Keepsake, Picture, Size
from gateway.domain.errors import GatewayError, InvalidImage, Overloaded
from gateway.domain.models import Inputs
from gateway.domain.tenant import MetadataRule, Tenant
from gateway.imaging import jpeg
from gateway.imaging.finish import finished
from gateway.imaging.fit import Aim, Fitted, as_it_is, drawn_anew, keeps_pixels, without_drawing
from gateway.imaging.formats import JPEG, format_of
from gateway.imaging.inspect import Inspected, inspect
from gateway.imaging.mask import check_mask
from gateway.imaging.rules import broken_rules
from gateway.imaging.thumbnail import thumbnail
from gateway.imaging.verify import verify

_Result = TypeVar("_Result")

_INLINE_BYTES = 64_000
_INLINE_PIXELS = 1_100_000
"""A JPEG up to both is decoded in under a millisecond: less than a thread costs to ask."""


@dataclass(frozen=True, slots=True)
class Limits:
    """*threads* decode at once; *waiting* more may stand in line; times are in seconds."""

    threads: int = 2
    waiting: int = 256
    patience: float = 30.0
    """In line, for a thread."""
    decode: float = 20.0
    """For one picture; a thread cannot be stopped, so it only stops being waited for."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Pictures that DashScope takes, and what was done to each, in order."""

    pictures: tuple[Picture, ...]
    adjusted: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be done to each picture of an edit."""

    aim: Aim
    fit: bool


class Imaging:
    """Pillow's work, done in threads; Pillow lets go of the interpreter while it decodes."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="imaging")
        self._free = asyncio.Semaphore(limits.threads)
        self._waiting = 0

    async def check(
        self, contents: Sequence[bytes | Picture], tenant: Tenant, inputs: Inputs
    ) -> Checked:
        """
        Decode each picture, and bring it into the rules of *inputs* if *tenant* has ``fit``.

        One after another, so that a customer holds one thread and the first bad picture is
        the one that is named. A Picture is one with an URL: it goes on unread, and counts.

        Raises:
            InvalidImage: names the picture, counted from 1, and the reason or rule.
            Overloaded: no thread came free; nothing was decoded.
        """
        job = _Job(Aim(inputs, tenant.metadata is MetadataRule.KEEP), tenant.fit)
        done = [
            await self._checked(content, number, job)
            for number, content in enumerate(contents, start=1)
        ]
        return Checked(tuple(made for made, _ in done), tuple(notes for _, notes in done))

    async def check_mask(self, kept: Keepsake) -> Size:
        """As gateway.imaging.mask.check_mask; raises Overloaded as check does."""
        return await self._run(lambda: check_mask(kept.mask, kept.original))

    async def finish(self, picture: bytes, form: AnswerForm, kept: Keepsake | None) -> bytes:
        """
        As gateway.imaging.finish.finished.

        It waits for a thread as long as it takes and is never refused: this is paid for.
        """
        await self._free.acquire()
        return await self._in_thread(lambda: finished(picture, form, kept))

    async def thumbnail(self, content: bytes) -> bytes | None:
        """As gateway.imaging.thumbnail.thumbnail; None if no thread is free, or it cannot be."""
        if self._free.locked():
            return None
        try:
            return await self._run(lambda: thumbnail(content))
        except GatewayError:
            return None

    async def close(self) -> None:
        """Let running work end in its thread; what waits is forgotten."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _checked(
        self, content: bytes | Picture, number: int, job: _Job
    ) -> tuple[Picture, tuple[str, ...]]:
        if isinstance(content, Picture):
            return content, ()
        try:
            fitted = await self._fitted(content, job)
        except InvalidImage as exc:
            raise _named(exc, number) from exc
        picture = Picture(content=fitted.content, media_type=fitted.media_type, size=fitted.size)
        return picture, fitted.adjusted

    async def _fitted(self, content: bytes, job: _Job) -> Fitted:
        if _is_light(content):
            inspected = inspect(content)
            if _is_quick(inspected, job.aim.inputs):
                return _check(content, inspected, job)
        return await self._run(lambda: _check(content, inspect(content), job))

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        await self._take_thread()
        try:
            async with asyncio.timeout(self._limits.decode):
                return await self._in_thread(work)
        except TimeoutError as exc:
            raise InvalidImage("it takes too long to decode") from exc

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # The thread is free when the work ends, not when its customer leaves.
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)

    async def _take_thread(self) -> None:
        if self._waiting >= self._limits.waiting:
            raise Overloaded("Too many pictures are being read; try again.", retry_after=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.patience):
                await self._free.acquire()
        except TimeoutError as exc:
            message = "Pictures are being read too slowly; try again."
            raise Overloaded(message, retry_after=5) from exc
        finally:
            self._waiting -= 1


def _check(content: bytes, inspected: Inspected, job: _Job) -> Fitted:
    """Return *content* as it may go upstream, all of it decoded; InvalidImage if it may not."""
    aim = job.aim
    if not job.fit:
        if rules := broken_rules(inspected, len(content), aim.inputs):
            raise InvalidImage("it " + ", and ".join(rule.said(aim.inputs) for rule in rules))
        verify(content, inspected)
        return as_it_is(content, inspected, aim)
    if fitted := without_drawing(content, inspected, aim):
        verify(content, inspected)
        return fitted
    return drawn_anew(content, inspected, aim)


def _is_light(content: bytes) -> bool:
    return (
        len(content) <= _INLINE_BYTES
        and format_of(content) is JPEG
        and jpeg.is_single_pass(content)
    )


def _is_quick(inspected: Inspected, inputs: Inputs) -> bool:
    pixels = inspected.size.width * inspected.size.height
    return pixels <= _INLINE_PIXELS and keeps_pixels(inspected, inputs)


def _named(error: InvalidImage, number: int) -> InvalidImage:
    # OpenAI's words (openai.md 4), and the reason, which theirs lacks.
    return InvalidImage(
        f"Invalid image file or mode for image {number}, "
        f"please check your image file: {error.message}.",
        param="image",
    )
