"""Picture work in a few threads, with bounded waits; errors name the picture by number."""

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
from gateway.imaging.finish import finish_picture, finishing_cost, has_alpha, is_finished, thumbnail
from gateway.imaging.fit import (
    Aim,
    fit_without_decoding,
    frame_of,
    keeps_file,
    keeps_pixels,
    pass_through,
    reencode,
    violated_rules,
)
from gateway.imaging.formats import JPEG, format_of
from gateway.imaging.inspect import Inspected, inspect, needs_decoding, pixels_of, verify
from gateway.imaging.mask import check_mask, has_clear_parts, lay_over, lay_over_cost, mask_cost
from gateway.imaging.slots import SMALL, DecodeSlots, SlotClaim

_Result = TypeVar("_Result")

_IMAGE = "Invalid image file or mode for image {}"  # OpenAI's words (openai.md 4)
_INLINE_BYTES = 64_000
_CHECKS = 20  # waits that the seconds of one picture are divided into
_INLINE_PIXELS = 1_100_000
"""A JPEG up to both is decoded in under a millisecond: faster than a thread is reached."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """
    What decoding may use.

    Attributes:
        threads: Pictures at a time; one more for a tenant that has none.
        memory: Bytes for all large pictures together.
        decode: Seconds for one picture; then the wait ends, though the thread cannot be
            stopped.
    """

    threads: int = 2
    memory: int = MEMORY
    decode: float = 20.0


@dataclass(frozen=True, slots=True)
class _Job:
    """What to do to each picture of an edit, and for which tenant."""

    aim: Aim
    fit: bool
    claim: SlotClaim


class Imaging:
    """Runs Pillow in threads, since it releases the interpreter lock while it decodes (D101)."""

    def __init__(self, limits: DecodeLimits = DecodeLimits()) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.threads + 1, thread_name_prefix="imaging")
        self._slots = DecodeSlots(limits.threads, limits.memory)

    async def check(
        self,
        pictures: Sequence[Picture],
        tenant: Tenant,
        inputs: Inputs,
        claim: SlotClaim | None = None,
    ) -> tuple[Picture, ...]:
        """
        Decode each picture, and fit it to the rules of *inputs* if *tenant* has ``fit``.

        One after another, so that a client uses one thread and the error names the first bad
        picture. A picture by URL is passed on unread, and counts. Without *claim* it waits for
        threads without a limit.

        Raises:
            InvalidImage: names the picture, counted from 1, and the reason or rule.
            Overloaded: no thread came free before *claim* expired.
        """
        aim = Aim(inputs, tenant.metadata is MetadataRule.KEEP)
        job = _Job(aim, tenant.fit, claim or SlotClaim(tenant.name))
        checked = []
        for number, picture in enumerate(pictures, start=1):
            if picture.url:
                checked.append(picture)
                continue
            with _named_picture(_IMAGE.format(number)):
                checked.append(await self._check_one(picture.content, job))
        return tuple(checked)

    async def check_mask(self, kept: MaskSource, claim: SlotClaim) -> Size:
        """As gateway.imaging.mask.check_mask; raises Overloaded as check does."""
        with _named_picture("Invalid mask", "mask"):
            cost = await self._run(lambda: mask_cost(kept.mask, kept.original), claim, SMALL)
            return await self._run(lambda: check_mask(kept.mask, kept.original), claim, cost)

    async def has_clear_parts(self, content: bytes, claim: SlotClaim) -> bool:
        """As gateway.imaging.mask.has_clear_parts; raises Overloaded as check does."""
        with _named_picture(_IMAGE.format(1)):
            inspected = await self._run(lambda: inspect(content), claim, SMALL)
            if not inspected.has_alpha:
                return False
            cost = cost_of(inspected, inspected.size)
            return await self._run(lambda: has_clear_parts(content), claim, cost)

    async def lay_over(self, original: bytes, markup: bytes, claim: SlotClaim) -> bytes:
        """As gateway.imaging.mask.lay_over; raises Overloaded as check does."""
        with _named_picture("Invalid markup", "markup"):
            cost = await self._run(lambda: lay_over_cost(original, markup), claim, SMALL)
            return await self._run(lambda: lay_over(original, markup), claim, cost)

    def size_of(self, head: bytes) -> Size | None:
        """As gateway.imaging.inspect.pixels_of."""
        return pixels_of(head)

    def has_alpha(self, head: bytes) -> bool:
        """As gateway.imaging.finish.has_alpha."""
        return has_alpha(head)

    def is_finished(self, head: bytes, form: OutputOptions) -> bool:
        """As gateway.imaging.finish.is_finished."""
        return is_finished(head, form)

    async def finish(
        self, picture: bytes, form: OutputOptions, kept: MaskSource | None, tenant: str
    ) -> bytes:
        """
        As gateway.imaging.finish.finished.

        It waits for a thread without a limit and is never refused: the picture is paid for.
        """
        if is_finished(picture, form):
            return picture
        claim = SlotClaim(tenant)
        cost = await self._run_to_end(lambda: finishing_cost(picture, kept), claim, SMALL)
        cost = min(cost, self._limits.memory)
        return await self._run_to_end(lambda: finish_picture(picture, form, kept), claim, cost)

    async def thumbnail(self, content: bytes) -> bytes | None:
        """As gateway.imaging.finish.thumbnail; None if all threads are busy, or on an error."""
        if self._slots.busy:
            return None
        claim = SlotClaim.of("", 0.0)
        try:
            inspected = await self._run(lambda: inspect(content), claim, SMALL)
            cost = cost_of(inspected, SMALLEST)
            return await self._run(lambda: thumbnail(content), claim, cost)
        except GatewayError:
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let running work end in its thread; drop what waits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check_one(self, content: bytes, job: _Job) -> Picture:
        if _is_light(content):
            inspected = inspect(content)
            if _is_quick(inspected, job.aim.inputs):
                return _check(content, inspected, job)
        inspected = await self._run(lambda: inspect(content), job.claim, SMALL)
        cost = _cost(content, inspected, job)
        return await self._run(lambda: _check(content, inspected, job), job.claim, cost)

    async def _run(self, work: Callable[[], _Result], claim: SlotClaim, cost: int) -> _Result:
        cost = min(cost, self._limits.memory)  # the work itself refuses what takes more
        running = await self._start(work, claim, cost)
        # Many short waits: a process that was suspended misses one of them only, and the
        # picture is not refused for it.
        for _ in range(_CHECKS):
            done, _ = await asyncio.wait([running], timeout=self._limits.decode / _CHECKS)
            if done:
                return running.result()
        raise InvalidImage("it takes too long to decode")

    async def _run_to_end(
        self, work: Callable[[], _Result], claim: SlotClaim, cost: int
    ) -> _Result:
        return await asyncio.shield(await self._start(work, claim, cost))

    async def _start(
        self, work: Callable[[], _Result], claim: SlotClaim, cost: int
    ) -> asyncio.Future[_Result]:
        """Wait for a slot, then start *work*, which runs to its end even if cancelled."""
        await self._slots.take(claim, cost)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)

        def ended(done: asyncio.Future[_Result]) -> None:
            # The thread is free when the work ends, not when its client leaves.
            self._slots.release(claim.tenant, cost)
            with suppress(asyncio.CancelledError):
                done.exception()  # the caller may have been cancelled

        running.add_done_callback(ended)
        return running


def _cost(content: bytes, inspected: Inspected, job: _Job) -> int:
    """Return the bytes of memory that checking takes; raises InvalidImage for a refusal."""
    _check_rules(content, inspected, job)
    inputs = job.aim.inputs
    if _passes_through(content, inspected, job):
        if not needs_decoding(content, inspected):
            return 0
        check_pixels(inspected)
        return cost_of(inspected, SMALLEST)
    check_pixels(inspected)
    return cost_of(inspected, inspected.as_stored(frame_of(inspected.upright, inputs).drawn))


def _passes_through(content: bytes, inspected: Inspected, job: _Job) -> bool:
    """Return whether the picture is sent on without being re-encoded."""
    if not job.fit:
        return keeps_file(inspected)
    inputs = job.aim.inputs
    return keeps_pixels(inspected, inputs) and len(content) <= inputs.most_bytes


def _check(content: bytes, inspected: Inspected, job: _Job) -> Picture:
    """Return *content* as it may go upstream, verified; raises InvalidImage if it may not."""
    _check_rules(content, inspected, job)
    aim = job.aim
    if not job.fit and keeps_file(inspected):
        verify(content, inspected)
        return pass_through(content, inspected, aim)
    if fitted := fit_without_decoding(content, inspected, aim):
        verify(content, inspected)
        return fitted
    return reencode(content, inspected, aim)


def _check_rules(content: bytes, inspected: Inspected, job: _Job) -> None:
    """Refuse a picture that breaks the model's rules if the tenant has no ``fit``."""
    inputs = job.aim.inputs
    if not job.fit and (rules := violated_rules(inspected, len(content), inputs)):
        raise InvalidImage("it " + ", and ".join(rule.text_for(inputs) for rule in rules))


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
def _named_picture(what: str, param: str = "image") -> Iterator[None]:
    """Name the picture in an InvalidImage, unless it is named already."""
    try:
        yield
    except InvalidImage as exc:
        if exc.param is not None:
            raise
        message = f"{what}, please check your image file: {exc.message}."
        raise InvalidImage(message, param=param) from exc
