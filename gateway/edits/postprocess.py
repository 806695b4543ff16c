"""What is done to DashScope's pictures before they go back, once for all who read them at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from gateway.domain.edit import MaskSource
from gateway.domain.errors import ResultUnavailable
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.ports import PictureMemory, Ports
from gateway.edits.request import KeptResult

_LOOK_AGAIN_SECONDS = 0.25

Postprocess = Callable[[bytes], Awaitable[bytes]]
"""From DashScope's picture to the client's."""


class Postprocessing:
    """Scales, lays into the masked original, encodes; only edits that ask for it are touched."""

    def __init__(self, ports: Ports) -> None:
        self._mask_sources = ports.mask_sources
        self._finisher = ports.finisher

    async def keep(self, active: ActiveEdit) -> None:
        """
        Keep the mask of an edit before anything is paid (D59); then it is not held in memory.

        Raises:
            LedgerUnavailable: it is not kept.
        """
        if active.mask_source is not None:
            await self._mask_sources.put(active.edit_id, active.mask_source)
            active.mask_source_kept()

    async def forget(self, active: ActiveEdit) -> None:
        """Drop the mask of an edit that ended without a picture."""
        if active.edit.output.composite:
            await self._mask_sources.drop(active.edit_id)

    def inspect(self, active: ActiveEdit, head: bytes) -> None:
        """Have the edit remember the size and alpha channel of a picture that came (D110)."""
        active.came(self._finisher.size_of(head), alpha=self._finisher.has_alpha(head))

    def is_finished(self, active: ActiveEdit, head: bytes) -> bool:
        """Return, by its first bytes, whether a picture is as the client asked for it."""
        return self._finisher.is_finished(head, active.edit.output)

    async def of(self, active: ActiveEdit) -> Postprocess:
        """
        Return what makes of each picture of an edit what its client asked for.

        It raises ResultUnavailable for a picture that cannot be read.

        Raises:
            ResultUnavailable: the masked original is gone for good.
            LedgerUnavailable: it cannot be read now.
        """
        form = active.edit.output
        kept: MaskSource | None = None
        if form.composite and (kept := await self._mask_sources.get(active.edit_id)) is None:
            raise ResultUnavailable(
                "The original and the mask of this edit are not kept any more.", retry=False
            )
        tenant = active.tenant.name

        def finish(picture: bytes) -> Awaitable[bytes]:
            return self._finisher.finish(picture, form, kept, tenant)

        return finish


class SharedPictures:
    """
    The finished pictures of edits that are being read.

    Twelve slow readers of one edit cost the memory of one.
    """

    def __init__(self, ports: Ports, postprocessing: Postprocessing) -> None:
        self._ports = ports
        self._postprocessing = postprocessing
        self._by_edit: dict[str, EditPictures] = {}

    async def of(self, active: ActiveEdit, opened: AsyncExitStack) -> "EditPictures":
        """Return the pictures of an edit, which are held until *opened* closes."""
        pictures = self._by_edit.get(active.edit_id)
        if pictures is None:
            pictures = EditPictures(
                self._ports.memory_of(active.tenant.name), self._ports, self._postprocessing
            )
            self._by_edit[active.edit_id] = pictures
        pictures.readers += 1
        opened.callback(self._leave, active.edit_id, pictures)
        await pictures.begin()
        return pictures

    def all_made(self, edit_id: str) -> None:
        """Say that a reader of this edit has all of its pictures."""
        if edit_id in self._by_edit:
            self._by_edit[edit_id].all_made()

    def _leave(self, edit_id: str, pictures: "EditPictures") -> None:
        pictures.readers -= 1
        if not pictures.readers:
            del self._by_edit[edit_id]
            pictures.release()


class EditPictures:
    """The finished pictures of one edit, as long as a client reads them."""

    def __init__(self, memory: PictureMemory, ports: Ports, postprocessing: Postprocessing) -> None:
        self._memory = memory
        self._clock = ports.clock
        self._postprocessing = postprocessing
        self._lock = asyncio.Lock()
        self._has_memory = False
        self._postprocess: Postprocess | None = None
        self._finished: dict[str, bytes] = {}
        self._kept: dict[str, KeptResult] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self.readers = 0

    async def begin(self) -> None:
        """Wait until there is memory for a picture, for as long as the caller's client does."""
        async with self._lock:
            while not self._has_memory:
                self._has_memory = self._memory.begin()
                if not self._has_memory:
                    await self._clock.sleep(_LOOK_AGAIN_SECONDS)

    async def postprocess(self, active: ActiveEdit) -> Postprocess:
        """As Postprocessing.of, with original and mask in memory once for all readers."""
        async with self._lock:
            if self._postprocess is None:
                self._postprocess = await self._postprocessing.of(active)
            return self._postprocess

    async def picture(self, url: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the picture at *url*, which *make* makes if it is not there yet."""
        name = url.partition("?")[0]  # what follows is the signature, another one each time
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._finished:
                self._finished[name] = await make()
                self._memory.hold(sum(map(len, self._finished.values())))
            return self._finished[name]

    async def kept(self, url: str, keep: Callable[[], Awaitable[KeptResult]]) -> KeptResult:
        """Return where the picture at *url* is kept; *keep* finds or makes it, once."""
        name = url.partition("?")[0]
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._kept:
                self._kept[name] = await keep()
            return self._kept[name]

    def all_made(self) -> None:
        """Let go of what was needed to make them."""
        self._postprocess = None

    def release(self) -> None:
        self._memory.release()
