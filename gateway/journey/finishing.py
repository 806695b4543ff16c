"""What is done to DashScope's pictures before they go back, and what that needs until then."""

from collections.abc import Awaitable, Callable

from gateway.domain.edit import Keepsake
from gateway.domain.errors import ResultUnavailable
from gateway.journey.errand import Errand
from gateway.journey.ports import Finisher, Keepsakes

Finish = Callable[[bytes], Awaitable[bytes]]
"""From DashScope's picture to the customer's."""


class Finishing:
    """Scales, lays into the masked original, encodes; only edits that ask for it are touched."""

    def __init__(self, keepsakes: Keepsakes, finisher: Finisher) -> None:
        self.keepsakes = keepsakes
        self._finisher = finisher

    async def keep(self, errand: Errand) -> None:
        """
        Keep what *errand* needs again, before anything is paid; from then on it is not held here.

        Raises:
            LedgerUnavailable: it is not kept.
        """
        if errand.keepsake is not None:
            await self.keepsakes.put(errand.edit_id, errand.keepsake)
            errand.keepsake = None

    async def forget(self, errand: Errand) -> None:
        """Drop what *errand* will not need: it ended without a picture."""
        if errand.edit.answer.composite:
            await self.keepsakes.drop(errand.edit_id)

    def is_finished(self, errand: Errand, head: bytes) -> bool:
        """Tell by its first bytes whether a picture of *errand* is what was asked for."""
        return self._finisher.is_finished(head, errand.edit.answer)

    async def of(self, errand: Errand) -> Finish:
        """
        Return what makes of each picture of *errand* what was asked for, if anything was.

        It raises ResultUnavailable for a picture that cannot be read.

        Raises:
            ResultUnavailable: what a mask keeps is gone for good.
            LedgerUnavailable: it cannot be read now.
        """
        form = errand.edit.answer
        kept: Keepsake | None = None
        if form.composite and (kept := await self.keepsakes.get(errand.edit_id)) is None:
            raise ResultUnavailable(
                "The original and the mask of this edit are not kept any more.", retry=False
            )
        tenant = errand.tenant.name
        return lambda picture: self._finisher.finish(picture, form, kept, tenant)
