"""What is of no use any more is forgotten: edits in memory, and what was kept for them."""

from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import EditState
from gateway.journey.errand import Errand, Stage
from gateway.journey.register import Register
from gateway.journey.submit import keep
from gateway.journey.surroundings import Surroundings

_KEPT_SECONDS = 24 * 3600.0  # so long upstream keeps tasks and pictures (dashscope.md 4.1)
_EVERY_SECONDS = 60.0
# Clients that do not see that a doubtful end is final repeat it for so long (openai.md 7.1).
_TOLD_SECONDS = 60.0
_ROUNDS_OF_AN_HOUR = 60


class Housekeeping:
    """Goes through the register every minute, and through what is kept every hour."""

    def __init__(self, register: Register, around: Surroundings) -> None:
        self._register = register
        self._ledger = around.ledger
        self._kept = around.finishing.keepsakes, around.receipts
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
        for errand in self._register:
            if errand.told_at is not None and errand.told_at <= lately:
                self._register.remove(errand)
                ago = self._clock.now() - errand.told_at
                await keep(self._ledger.deliver(errand.edit_id, ago=ago))

    async def _forget_the_old(self) -> None:
        """
        Forget the edits whose pictures are gone upstream.

        The calendar only says which may be: the ledger knows, whose clock is never set.
        """
        now = self._clock.epoch()
        for errand in self._register:
            lately = now - _KEPT_SECONDS <= errand.created <= now
            if not errand.ended or lately or await self._is_known(errand):
                continue
            self._register.remove(errand)
            if errand.stage is Stage.SUCCEEDED:
                self._count(errand)

    async def _is_known(self, errand: Errand) -> bool:
        try:
            return await self._ledger.find(errand.edit_id) is not None
        except LedgerUnavailable:
            return True  # until it can tell

    def _give_up_the_stale(self) -> None:
        """Give up promised edits that waited in line for a day: their bytes lie on the disk."""
        old = self._clock.now() - _KEPT_SECONDS
        for errand in self._register:
            if errand.promised and errand.stage is Stage.WAITING and errand.since < old:
                errand.promised = False
                for leg in errand.legs:
                    leg.drop()

    def _count(self, errand: Errand) -> None:
        self._observer.undelivered("expired")
        made = sum(len(leg.task.made) for leg in errand.legs if leg.task)
        region = errand.tenant.region
        model = errand.edit.model
        self._observer.pictures(errand.tenant.name, region, model, "undelivered", made)

    async def _drop_orphans(self) -> None:
        """Drop what no edit can be answered with any more; what cannot be told stays."""
        try:
            for kept in self._kept:
                ids = await kept.kept()
                if orphans := [it for it in ids if not await self._is_wanted(it)]:
                    await kept.drop(*orphans)
            ids = await self._promises.kept()
            if done := [it for it in ids if not await self._is_unsubmitted(it)]:
                await self._promises.drop(*done)
        except LedgerUnavailable:
            return  # all tell the operator themselves, and there is a next hour

    async def _is_wanted(self, edit_id: str) -> bool:
        """Say whether the edit may still be answered, for the first time or again."""
        if edit_id in self._register:
            return True
        record = await self._ledger.find(edit_id)
        # It may have come to the register while the ledger was asked, but not the other way.
        return record is not None and record.state is not EditState.FAILED

    async def _is_unsubmitted(self, edit_id: str) -> bool:
        """Say whether a promised edit may still be submitted, here or by a later process."""
        record = None if edit_id in self._register else await self._ledger.find(edit_id)
        errand = self._register.get(edit_id)  # it may have come while the ledger was asked
        if errand is not None:
            return not errand.ended and errand.unsubmitted
        return record is not None and record.state is EditState.OPEN
