"""What is too old to be of use is forgotten: edits in memory, and what masked edits kept."""

from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import EditState
from gateway.journey.ports import Keepsakes, Ledger, Observer
from gateway.journey.register import Register

_KEPT_SECONDS = 24 * 3600.0  # so long upstream keeps tasks and pictures (dashscope.md 4.1)
_EVERY_SECONDS = 60.0
_ROUNDS_OF_AN_HOUR = 60


class Housekeeping:
    """Goes through the register every minute, and through the keepsakes every hour."""

    def __init__(
        self,
        register: Register,
        ledger: Ledger,
        keepsakes: Keepsakes,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._register = register
        self._ledger = ledger
        self._keepsakes = keepsakes
        self._clock = clock
        self._observer = observer

    async def run(self) -> None:
        """Tidy for ever; what a process before left is gone through at once."""
        while True:
            await self._drop_orphans()
            for _ in range(_ROUNDS_OF_AN_HOUR):
                await self._clock.sleep(_EVERY_SECONDS)
                self._forget_the_old()

    def _forget_the_old(self) -> None:
        """Forget the edits whose pictures are gone upstream."""
        old = self._clock.epoch() - _KEPT_SECONDS
        for errand in [e for e in self._register if e.ended and e.created < old]:
            self._register.remove(errand)
            self._observer.undelivered("expired")
            made = sum(len(leg.task.made) for leg in errand.legs if leg.task)
            region, model = errand.tenant.region, errand.edit.model
            self._observer.pictures(errand.tenant.name, region, model, "undelivered", made)

    async def _drop_orphans(self) -> None:
        """Drop what no edit can be answered with any more; what cannot be told stays."""
        try:
            for edit_id in await self._keepsakes.kept():
                if not await self._is_wanted(edit_id):
                    await self._keepsakes.drop(edit_id)
        except LedgerUnavailable:
            return  # both tell the operator themselves, and there is a next hour

    async def _is_wanted(self, edit_id: str) -> bool:
        """Say whether the edit may still be answered, for the first time or again."""
        if edit_id in self._register:
            return True
        record = await self._ledger.find(edit_id)
        # It may have come to the register while the ledger was asked, but not the other way.
        return record is not None and record.state is not EditState.FAILED
