"""Pictures that are ready for their clients: made once, for all who read them at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from gateway.edits.active_edit import ActiveEdit
from gateway.edits.finishing import Finish
from gateway.edits.surroundings import Surroundings

_LOOK_AGAIN_SECONDS = 0.25


class ReadyPictures:
    """The finished pictures of one edit, as long as somebody reads them."""

    def __init__(self, tenant: str, around: Surroundings) -> None:
        self._room = around.room_of(tenant)
        self._clock = around.clock
        self._finishing = around.finishing
        self._lock = asyncio.Lock()
        self._has_room = False
        self._finish: Finish | None = None
        self._made: dict[str, bytes] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self.readers = 0

    async def begin(self) -> None:
        """Wait until there is room for a picture, for as long as the caller's client does."""
        async with self._lock:
            while not self._has_room:
                self._has_room = self._room.begin()
                if not self._has_room:
                    await self._clock.sleep(_LOOK_AGAIN_SECONDS)

    async def finish(self, active: ActiveEdit) -> Finish:
        """As Finishing.of, whose original and mask are in memory once for all readers."""
        async with self._lock:
            if self._finish is None:
                self._finish = await self._finishing.of(active)
            return self._finish

    async def picture(self, url: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the picture behind *url*, which *make* makes if nobody has yet."""
        name = url.partition("?")[0]  # what follows is the signature, another one each time
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._made:
                self._made[name] = await make()
                self._room.hold(sum(map(len, self._made.values())))
            return self._made[name]

    def all_made(self) -> None:
        """Let go of what was needed to make them."""
        self._finish = None

    def release(self) -> None:
        self._room.release()


class Ready:
    """Who reads which edit: twelve slow readers of one cost the memory of one."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._by_edit: dict[str, ReadyPictures] = {}

    async def of(self, active: ActiveEdit, opened: AsyncExitStack) -> ReadyPictures:
        """Return the pictures of an edit, which are held until *opened* closes."""
        ready = self._by_edit.get(active.edit_id)
        if ready is None:
            ready = ReadyPictures(active.tenant.name, self._around)
            self._by_edit[active.edit_id] = ready
        ready.readers += 1
        opened.callback(self._leave, active.edit_id, ready)
        await ready.begin()
        return ready

    def made(self, edit_id: str) -> None:
        """Say that a reader of this edit has all its pictures."""
        if edit_id in self._by_edit:
            self._by_edit[edit_id].all_made()

    def _leave(self, edit_id: str, ready: ReadyPictures) -> None:
        ready.readers -= 1
        if not ready.readers:
            del self._by_edit[edit_id]
            ready.release()
