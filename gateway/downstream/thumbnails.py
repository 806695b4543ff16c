"""
Small pictures of what is edited, for those who watch: few, small, and in memory only.

They are made while somebody watches, of pictures that come then, in the threads of imaging
that are free; nobody waits for them, and what is too much is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn

from cachetools import LRUCache

from gateway.domain.phases import Phases
from gateway.domain.tenant import Tenant
from gateway.downstream.ports import EditService, Waiter
from gateway.edits.request import EditRequest, EditStatus

MOST = 100
_MOST_BYTES = 1_000_000
"""Of all thumbnails together."""
_MOST_IN_LINE = 8
_LARGEST = 4_000_000
"""Bytes of a picture that may wait to be shrunk: eight of them at the most."""

Shrink = Callable[[bytes], Awaitable[bytes | None]]
"""A picture → a small one; ``None``: no time for it, or it cannot be read."""


class Thumbnails:
    """
    Makes and keeps them.

    Args:
        shrink: gateway.imaging answers it.
        watched: Says whether somebody watches now.
    """

    def __init__(self, shrink: Shrink, watched: Callable[[], bool]) -> None:
        self._shrink = shrink
        self._watched = watched
        # Each counts for so many bytes at least that their number is bounded too.
        self._by_id: LRUCache[str, bytes] = LRUCache(
            _MOST_BYTES, getsizeof=lambda picture: max(len(picture), _MOST_BYTES // MOST)
        )
        self._line: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_IN_LINE)

    def of(self, edit_id: str) -> bytes | None:
        return self._by_id.get(edit_id)

    def known(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def wanted(self, picture: bytes) -> bool:
        """Say whether *picture* would be taken now."""
        return self._watched() and not self._line.full() and 0 < len(picture) <= _LARGEST

    def offer(self, edit_id: str, picture: bytes) -> None:
        """Have *picture* shrunk soon, unless too many wait for that."""
        if edit_id not in self._by_id and not self._line.full():
            self._line.put_nowait((edit_id, picture))

    async def run(self) -> NoReturn:
        """Shrink one after another, for ever; cancel to end."""
        while True:
            edit_id, picture = await self._line.get()
            small = await self._shrink(picture)
            if small is not None and len(small) <= _MOST_BYTES:
                self._by_id[edit_id] = small


class WatchedService:
    """A service that shows the first picture of each edit around."""

    def __init__(self, service: EditService, thumbnails: Thumbnails) -> None:
        self._desk = service
        self._thumbnails = thumbnails

    @asynccontextmanager
    async def attend(self, edit_request: EditRequest) -> AsyncIterator[Waiter]:
        # Taken now: once it attends, the edit has the pictures, and lets them go.
        first = edit_request.pictures[0].content if edit_request.pictures else b""
        async with self._desk.attend(edit_request) as waiter:
            if self._thumbnails.wanted(first):
                self._thumbnails.offer(waiter.told.edit_id, first)
            del first
            yield waiter

    def collect(
        self, tenant: Tenant, edit_id: str, *, patience: float, phases: Phases
    ) -> AbstractAsyncContextManager[Waiter]:
        return self._desk.collect(tenant, edit_id, patience=patience, phases=phases)

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        return await self._desk.withdraw(tenant, edit_id)
