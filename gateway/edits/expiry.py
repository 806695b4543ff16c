"""Expire old edits, and the files that were kept for them."""

from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import KEPT_SECONDS, EditState
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.index import EditIndex
from gateway.edits.lifecycle import RETRY_SECONDS, Stage
from gateway.edits.owed import OwedWrites
from gateway.edits.ports import Ports

_EVERY_SECONDS = 60.0
_ROUNDS_OF_AN_HOUR = 60


class Expiry:
    """Goes through the index every minute, and through what is kept every hour."""

    def __init__(self, index: EditIndex, ports: Ports, owed: OwedWrites) -> None:
        self._index = index
        self._ports = ports
        self._owed = owed

    async def run(self) -> None:
        """Tidy for ever; what a process before left is gone through at once."""
        while True:
            await self._drop_orphans()
            for _ in range(_ROUNDS_OF_AN_HOUR):
                await self._ports.clock.sleep(_EVERY_SECONDS)
                await self._forget_the_old()
                self._give_up_the_stale()
                await self._forget_the_reported()

    async def _forget_the_reported(self) -> None:
        """
        Forget uncertain ends whose error a client got: an equal request is a new edit from now on.

        Clients that do not see that it is final have repeated it by then (D94).
        """
        for active in self._index:
            reported_at = active.life.reported_at
            if reported_at is not None and self._ago(reported_at) >= RETRY_SECONDS:
                self._index.remove(active)
                await self._write_reported(active.edit_id, reported_at)

    async def _write_reported(self, edit_id: str, reported_at: float) -> None:
        async def write() -> None:
            await self._ports.ledger.deliver(edit_id, ago=self._ago(reported_at))

        await self._owed.keep(edit_id, None, write)

    def _ago(self, at: float) -> float:
        return self._ports.clock.now() - at

    async def _forget_the_old(self) -> None:
        """
        Forget the edits whose pictures are gone upstream.

        The calendar only says which may be: the ledger knows, whose clock is never set.
        """
        now = self._ports.clock.epoch()
        for active in self._index:
            lately = now - KEPT_SECONDS <= active.created <= now
            if not active.life.ended or lately or await self._is_known(active):
                continue
            self._index.remove(active)
            if active.life.stage is Stage.SUCCEEDED:
                self._count(active)

    async def _is_known(self, active: ActiveEdit) -> bool:
        try:
            return await self._ports.ledger.find(active.edit_id) is not None
        except LedgerUnavailable:
            return True  # until the ledger is back

    def _give_up_the_stale(self) -> None:
        """Give up promised edits that were queued for a day: their pictures are on the disk."""
        old = self._ports.clock.now() - KEPT_SECONDS
        for active in self._index:
            life = active.life
            if life.promised and life.stage is Stage.WAITING and active.since < old:
                active.perform(life.gone_stale())

    def _count(self, active: ActiveEdit) -> None:
        self._ports.observer.undelivered("expired")
        region = active.tenant.region
        model = active.edit.model
        self._ports.observer.pictures(
            active.tenant.name, region, model, "undelivered", active.pictures_made
        )

    async def _drop_orphans(self) -> None:
        """Drop the files that no edit needs any more; while that is not known, they stay."""
        try:
            for store in (self._ports.mask_sources, self._ports.result_urls):
                ids = await store.list_ids()
                if orphans := [it for it in ids if not await self._is_wanted(it)]:
                    await store.drop(*orphans)
            ids = await self._ports.promises.list_ids()
            if done := [it for it in ids if not await self._is_unsubmitted(it)]:
                await self._ports.promises.drop(*done)
        except LedgerUnavailable:
            return  # each store warns the operator itself, and there is a next hour

    async def _is_wanted(self, edit_id: str) -> bool:
        """Say whether the edit may still be answered, for the first time or again."""
        if edit_id in self._index:
            return True
        record = await self._ports.ledger.find(edit_id)
        # An edit that left the index has its row; one that came back meanwhile has it, too.
        return record is not None and record.state is not EditState.FAILED

    async def _is_unsubmitted(self, edit_id: str) -> bool:
        """Say whether a promised edit may still be submitted, here or by a later process."""
        record = None if edit_id in self._index else await self._ports.ledger.find(edit_id)
        active = self._index.get(edit_id)  # it may have come while the ledger was asked
        if active is not None:
            return not active.life.ended and active.life.unsubmitted
        return record is not None and record.state is EditState.OPEN
