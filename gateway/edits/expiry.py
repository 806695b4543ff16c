"""What is of no use any more is forgotten: edits in memory, and what was kept for them."""

from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import KEPT_SECONDS, EditState
from gateway.edits.active_edit import ActiveEdit, Stage
from gateway.edits.index import EditIndex
from gateway.edits.submit import keep
from gateway.edits.surroundings import Surroundings

_EVERY_SECONDS = 60.0
# Clients that do not see that a doubtful end is final repeat it for so long (openai.md 7.1).
_TOLD_SECONDS = 60.0
_ROUNDS_OF_AN_HOUR = 60


class Expiry:
    """Goes through the register every minute, and through what is kept every hour."""

    def __init__(self, register: EditIndex, around: Surroundings) -> None:
        self._index = register
        self._ledger = around.ledger
        self._kept = around.finishing.mask_sources, around.result_urls
        self._promises = around.promises
        self._clock = around.clock
        self._observer = around.observer

    async def run(self) -> None:
        """Tidy for ever; what a process before left is gone through at once."""
        while True:
            await self._drop_orphans()
            for _ in range(_ROUNDS_OF_AN_HOUR):
                await self._clock.sleep(_EVERY_SECONDS)
                await self._forget_the_old()
                self._give_up_the_stale()
                await self._forget_the_told()

    async def _forget_the_told(self) -> None:
        """Forget the doubtful ends that were told: an equal edit is a new one from now on."""
        lately = self._clock.now() - _TOLD_SECONDS
        for active in self._index:
            if active.told_at is not None and active.told_at <= lately:
                self._index.remove(active)
                ago = self._clock.now() - active.told_at
                await keep(self._ledger.deliver(active.edit_id, ago=ago))

    async def _forget_the_old(self) -> None:
        """
        Forget the edits whose pictures are gone upstream.

        The calendar only says which may be: the ledger knows, whose clock is never set.
        """
        now = self._clock.epoch()
        for active in self._index:
            lately = now - KEPT_SECONDS <= active.created <= now
            if not active.ended or lately or await self._is_known(active):
                continue
            self._index.remove(active)
            if active.stage is Stage.SUCCEEDED:
                self._count(active)

    async def _is_known(self, active: ActiveEdit) -> bool:
        try:
            return await self._ledger.find(active.edit_id) is not None
        except LedgerUnavailable:
            return True  # until it can tell

    def _give_up_the_stale(self) -> None:
        """Give up promised edits that waited in line for a day: their bytes lie on the disk."""
        old = self._clock.now() - KEPT_SECONDS
        for active in self._index:
            if active.promised and active.stage is Stage.WAITING and active.since < old:
                active.promised = False
                for run in active.runs:
                    run.drop()

    def _count(self, active: ActiveEdit) -> None:
        self._observer.undelivered("expired")
        made = sum(len(run.task.images) for run in active.runs if run.task)
        region = active.tenant.region
        model = active.edit.model
        self._observer.pictures(active.tenant.name, region, model, "undelivered", made)

    async def _drop_orphans(self) -> None:
        """Drop what no edit can be answered with any more; what cannot be told stays."""
        try:
            for store in self._kept:
                ids = await store.list_ids()
                if orphans := [it for it in ids if not await self._is_wanted(it)]:
                    await store.drop(*orphans)
            ids = await self._promises.list_ids()
            if done := [it for it in ids if not await self._is_unsubmitted(it)]:
                await self._promises.drop(*done)
        except LedgerUnavailable:
            return  # all tell the operator themselves, and there is a next hour

    async def _is_wanted(self, edit_id: str) -> bool:
        """Say whether the edit may still be answered, for the first time or again."""
        if edit_id in self._index:
            return True
        record = await self._ledger.find(edit_id)
        # It may have come to the register while the ledger was asked, but not the other way.
        return record is not None and record.state is not EditState.FAILED

    async def _is_unsubmitted(self, edit_id: str) -> bool:
        """Say whether a promised edit may still be submitted, here or by a later process."""
        record = None if edit_id in self._index else await self._ledger.find(edit_id)
        active = self._index.get(edit_id)  # it may have come while the ledger was asked
        if active is not None:
            return not active.ended and active.unsubmitted
        return record is not None and record.state is EditState.OPEN
