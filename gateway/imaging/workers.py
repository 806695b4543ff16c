"""Pictures off the event loop: a few threads, bounded waits, and the number of the culprit."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self, TypeVar

from gateway.domain.edit import MaskSource, OutputOptions, Picture, Size
from gateway.domain.errors import GatewayError, InvalidImage
from gateway.domain.models import Inputs
from gateway.domain.tenant import MetadataRule, Tenant
from gateway.imaging import jpeg
from gateway.imaging.cost import MEMORY, SMALLEST, check_pixels, cost_of
from gateway.imaging.finish import finished, finishing_cost, is_finished, thumbnail
from gateway.imaging.fit import (
    Aim,
    as_it_is,
    broken_rules,
    drawn_anew,
    frame_of,
    keeps_pixels,
    without_drawing,
)
from gateway.imaging.formats import JPEG, format_of
from gateway.imaging.inspect import Inspected, inspect, is_decoded, verify
from gateway.imaging.mask import check_mask, has_clear_parts, laid_over, laying_cost, masked_cost
from gateway.imaging.turns import SMALL, Stand, Turns

_Result = TypeVar("_Result")

_IMAGE = "Invalid image file or mode for image {}"  # OpenAI's words (openai.md 4)
_INLINE_BYTES = 64_000
_LOOKS = 20  # at a decoder, over the time that it may take
_INLINE_PIXELS = 1_100_000
"""A JPEG up to both is decoded in under a millisecond: less than a thread costs to ask."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What decoding may take.

    Attributes:
        threads: Pictures at once; one more for a tenant that has none.
        memory: Bytes for all large pictures together.
        waiting: Pictures of one tenant that may stand in line.
        decode: Seconds for one picture; a thread cannot be stopped, so it only stops being
            waited for.
    """

    threads: int = 2
    memory: int = MEMORY
    waiting: int = 256
    decode: float = 20.0


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be done to each picture of an edit, and for whom."""

    aim: Aim
    fit: bool
    stand: Stand


class Imaging:
    """Pillow's work, done in threads; Pillow lets go of the interpreter while it decodes."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.threads + 1, thread_name_prefix="imaging")
        self._turns = Turns(limits.threads, limits.memory, limits.waiting)

    async def check(
        self,
        pictures: Sequence[Picture],
        tenant: Tenant,
        inputs: Inputs,
        patience: float | None = None,
    ) -> tuple[Picture, ...]:
        """
        Decode each picture, and bring it into the rules of *inputs* if *tenant* has ``fit``.

        One after another, so that a client holds one thread and the first bad picture is
        the one that is named. A picture by URL is passed on unread, and counts.

        Raises:
            InvalidImage: names the picture, counted from 1, and the reason or rule.
            Overloaded: no thread came free within *patience* seconds.
        """
        stand = Stand.of(tenant.name, patience)
        aim = Aim(inputs, tenant.metadata is MetadataRule.KEEP)
        job = _Job(aim, tenant.fit, stand)
        checked = []
        for number, picture in enumerate(pictures, start=1):
            if picture.url:
                checked.append(picture)
                continue
            with _naming(_IMAGE.format(number)):
                checked.append(await self._fitted(picture.content, job))
        return tuple(checked)

    async def check_mask(
        self, kept: MaskSource, tenant: Tenant, patience: float | None = None
    ) -> Size:
        """As gateway.imaging.mask.check_mask; raises Overloaded as check does."""
        stand = Stand.of(tenant.name, patience)
        with _naming("Invalid mask", "mask"):
            cost = await self._run(lambda: masked_cost(kept.mask, kept.original), stand, SMALL)
            return await self._run(lambda: check_mask(kept.mask, kept.original), stand, cost)

    async def has_clear_parts(
        self, content: bytes, tenant: Tenant, patience: float | None = None
    ) -> bool:
        """As gateway.imaging.mask.has_clear_parts; raises Overloaded as check does."""
        stand = Stand.of(tenant.name, patience)
        with _naming(_IMAGE.format(1)):
            seen = await self._run(lambda: inspect(content), stand, SMALL)
            if not seen.has_alpha:
                return False
            cost = cost_of(seen, seen.size)
            return await self._run(lambda: has_clear_parts(content), stand, cost)

    async def lay_over(
        self, original: bytes, markup: bytes, tenant: Tenant, patience: float | None = None
    ) -> bytes:
        """As gateway.imaging.mask.laid_over; raises Overloaded as check does."""
        stand = Stand.of(tenant.name, patience)
        with _naming("Invalid markup", "markup"):
            cost = await self._run(lambda: laying_cost(original, markup), stand, SMALL)
            return await self._run(lambda: laid_over(original, markup), stand, cost)

    def is_finished(self, head: bytes, form: OutputOptions) -> bool:
        """As gateway.imaging.finish.is_finished."""
        return is_finished(head, form)

    async def finish(
        self, picture: bytes, form: OutputOptions, kept: MaskSource | None, tenant: str
    ) -> bytes:
        """
        As gateway.imaging.finish.finished.

        It waits for a thread as long as it takes and is never refused: this is paid for.
        """
        if is_finished(picture, form):
            return picture
        stand = Stand(tenant)
        cost = await self._in_turn(lambda: finishing_cost(picture, kept), stand, SMALL)
        cost = min(cost, self._limits.memory)
        return await self._in_turn(lambda: finished(picture, form, kept), stand, cost)

    async def thumbnail(self, content: bytes) -> bytes | None:
        """As gateway.imaging.finish.thumbnail; None without room at once, or if it cannot be."""
        if self._turns.busy:
            return None
        stand = Stand.of("", 0.0)
        try:
            seen = await self._run(lambda: inspect(content), stand, SMALL)
            cost = cost_of(seen, SMALLEST)
            return await self._run(lambda: thumbnail(content), stand, cost)
        except GatewayError:
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let running work end in its thread; what waits is forgotten."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fitted(self, content: bytes, job: _Job) -> Picture:
        if _is_light(content):
            inspected = inspect(content)
            if _is_quick(inspected, job.aim.inputs):
                return _check(content, inspected, job)
        inspected = await self._run(lambda: inspect(content), job.stand, SMALL)
        cost = _cost(content, inspected, job)
        return await self._run(lambda: _check(content, inspected, job), job.stand, cost)

    async def _run(self, work: Callable[[], _Result], stand: Stand, cost: int) -> _Result:
        cost = min(cost, self._limits.memory)  # what takes more is refused by the work itself
        running = await self._begun(work, stand, cost)
        # Many short waits: a process that was stopped meanwhile has missed one of them, and
        # the picture is not to blame.
        for _ in range(_LOOKS):
            done, _ = await asyncio.wait([running], timeout=self._limits.decode / _LOOKS)
            if done:
                return running.result()
        raise InvalidImage("it takes too long to decode")

    async def _in_turn(self, work: Callable[[], _Result], stand: Stand, cost: int) -> _Result:
        return await asyncio.shield(await self._begun(work, stand, cost))

    async def _begun(
        self, work: Callable[[], _Result], stand: Stand, cost: int
    ) -> asyncio.Future[_Result]:
        """Wait for a turn, then begin; it runs to its end whoever waits for it."""
        await self._turns.take(stand, cost)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)

        def ended(done: asyncio.Future[_Result]) -> None:
            # The thread is free when the work ends, not when its client leaves.
            self._turns.give_back(stand.tenant, cost)
            with suppress(asyncio.CancelledError):
                done.exception()  # perhaps nobody is there any more to hear of it

        running.add_done_callback(ended)
        return running


def _cost(content: bytes, inspected: Inspected, job: _Job) -> int:
    """Return the bytes that it takes to check *content*; InvalidImage if it is not to be."""
    _refuse_if_broken(content, inspected, job)
    inputs = job.aim.inputs
    if _passes(content, inspected, job):
        if not is_decoded(content, inspected):
            return 0
        check_pixels(inspected)
        return cost_of(inspected, SMALLEST)
    check_pixels(inspected)
    return cost_of(inspected, inspected.lying(frame_of(inspected.upright, inputs).drawn))


def _passes(content: bytes, inspected: Inspected, job: _Job) -> bool:
    """Tell whether the picture goes on without being re-encoded."""
    if not job.fit:
        return not inspected.foreign_colours
    inputs = job.aim.inputs
    return keeps_pixels(inspected, inputs) and len(content) <= inputs.most_bytes


def _check(content: bytes, inspected: Inspected, job: _Job) -> Picture:
    """Return *content* as it may go upstream, all of it decoded; InvalidImage if it may not."""
    _refuse_if_broken(content, inspected, job)
    aim = job.aim
    if not job.fit and not inspected.foreign_colours:
        verify(content, inspected)
        return as_it_is(content, inspected, aim)
    if fitted := without_drawing(content, inspected, aim):
        verify(content, inspected)
        return fitted
    return drawn_anew(content, inspected, aim)


def _refuse_if_broken(content: bytes, inspected: Inspected, job: _Job) -> None:
    """Refuse a picture against the rules of the model, where it may not be fitted."""
    inputs = job.aim.inputs
    if not job.fit and (rules := broken_rules(inspected, len(content), inputs)):
        raise InvalidImage("it " + ", and ".join(rule.said(inputs) for rule in rules))


def _is_light(content: bytes) -> bool:
    return (
        len(content) <= _INLINE_BYTES
        and format_of(content) is JPEG
        and jpeg.is_single_pass(content)
        and not jpeg.has_profile(content)
    )


def _is_quick(inspected: Inspected, inputs: Inputs) -> bool:
    pixels = inspected.size.width * inspected.size.height
    return pixels <= _INLINE_PIXELS and keeps_pixels(inspected, inputs)


@contextmanager
def _naming(what: str, param: str = "image") -> Iterator[None]:
    """Say of which picture it is that something is wrong, unless that is said."""
    try:
        yield
    except InvalidImage as exc:
        if exc.param is not None:
            raise
        message = f"{what}, please check your image file: {exc.message}."
        raise InvalidImage(message, param=param) from exc
