"""Which pictures are kept, for how long, and when they are deleted."""

from contextlib import AbstractAsyncContextManager, suppress
from typing import NoReturn, Protocol

from gateway.domain.clock import Clock
from gateway.domain.errors import ResultStoreUnavailable
from gateway.edits.ports import ResultPlace
from gateway.edits.request import KeptResult
from gateway.results.names import ResultName, owner_of
from gateway.results.store import OpenResult, ResultStore, Stored

_EVERY_SECONDS = 3600.0
_LEAST_SECONDS = 60.0
"""A picture that expires sooner is written again: its client needs time to fetch it."""


class ResultObserver(Protocol):
    """Counts; gateway.observe.metrics implements it. Nothing here may raise."""

    def results_changed(self, action: str, n: int = 1) -> None:
        """Actions: written, reused, deleted, expired."""
        ...

    def result_written(self, size: int) -> None: ...
    def results_stored(self, n: int, size: int) -> None: ...
    def result_store_failed(self, operation: str) -> None: ...


class ResultKeeper:
    """
    Implements gateway.edits.ports.Results over a store.

    A picture has one name, made of its edit and its place there: a retry that joins and a replay
    find it, and nothing is written twice (D112).

    Args:
        store: Where the pictures are.
        keep_seconds: How long a picture, and the URL that leads to it, live.
        clock: Time.
        observer: Counts.
    """

    def __init__(
        self, store: ResultStore, *, keep_seconds: float, clock: Clock, observer: ResultObserver
    ) -> None:
        self._store = store
        self.keep_seconds = keep_seconds
        self._clock = clock
        self._observer = observer
        self._expired: frozenset[ResultName] = frozenset()
        """What the last round found."""

    async def find(self, place: ResultPlace) -> KeptResult | None:
        stored = await self._store.find(_name_of(place))
        if stored is None or self._expires(stored) < self._clock.epoch() + _LEAST_SECONDS:
            return None
        self._observer.results_changed("reused")
        return self._kept(stored)

    async def keep(self, place: ResultPlace, picture: bytes) -> KeptResult:
        stored = await self._store.put(_name_of(place), picture)
        self._observer.results_changed("written")
        self._observer.result_written(stored.size)
        return self._kept(stored)

    async def stat(self, name: ResultName) -> Stored | None:
        """Return what is known of a picture, or ``None`` if there is none."""
        return await self._store.find(name)

    def open(self, name: ResultName) -> AbstractAsyncContextManager[OpenResult | None]:
        """Begin to read a picture; see ResultStore.open."""
        return self._store.open(name)

    async def delete(self, name: ResultName) -> bool:
        """Delete a picture; return whether there was one."""
        if await self._store.find(name) is None:
            return False
        await self._store.delete([name])
        self._observer.results_changed("deleted")
        return True

    async def delete_all(self, tenant: str) -> int:
        """Delete every picture of a tenant; return how many there were."""
        names = [stored.name async for stored in self._store.list(owner_of(tenant))]
        await self._store.delete(names)
        self._observer.results_changed("deleted", len(names))
        return len(names)

    async def run(self) -> NoReturn:
        """Delete what has expired, every hour until cancelled; the store reports its failures."""
        while True:
            with suppress(ResultStoreUnavailable):
                await self.delete_expired()
            await self._clock.sleep(_EVERY_SECONDS)

    async def delete_expired(self) -> None:
        """
        Delete the pictures that the call before this found expired already, and count the others.

        So a calendar that is wrong for less than an hour deletes nothing.

        Raises:
            ResultStoreUnavailable: the store fails.
        """
        now = self._clock.epoch()
        expired = set()
        n = size = 0
        async for stored in self._store.list():
            if self._expires(stored) < now:
                expired.add(stored.name)
            else:
                n += 1
                size += stored.size
        doomed = expired & self._expired
        self._expired = frozenset(expired - doomed)
        self._observer.results_stored(n, size)
        await self._store.delete(doomed)
        self._observer.results_changed("expired", len(doomed))
        await self._store.delete_remains(now - _EVERY_SECONDS)

    def _kept(self, stored: Stored) -> KeptResult:
        return KeptResult(str(stored.name), self._expires(stored))

    def _expires(self, stored: Stored) -> int:
        return int(stored.modified + self.keep_seconds)


def _name_of(place: ResultPlace) -> ResultName:
    return ResultName(
        owner_of(place.tenant), place.edit_id, place.part, place.index, place.output_format
    )
