"""What is done to DashScope's pictures before they go back, and what that needs until then."""

from collections.abc import Awaitable, Callable

from gateway.domain.edit import MaskSource
from gateway.domain.errors import ResultUnavailable
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.ports import Finisher, MaskSources

Finish = Callable[[bytes], Awaitable[bytes]]
"""From DashScope's picture to the client's."""


class Finishing:
    """Scales, lays into the masked original, encodes; only edits that ask for it are touched."""

    def __init__(self, mask_sources: MaskSources, finisher: Finisher) -> None:
        self.mask_sources = mask_sources
        self._finisher = finisher

    async def keep(self, active: ActiveEdit) -> None:
        """
        Keep what *edit* needs again, before anything is paid; from then on it is not held here.

        Raises:
            LedgerUnavailable: it is not kept.
        """
        if active.mask_source is not None:
            await self.mask_sources.put(active.edit_id, active.mask_source)
            active.mask_source = None

    async def forget(self, active: ActiveEdit) -> None:
        """Drop what *edit* will not need: it ended without a picture."""
        if active.edit.output.composite:
            await self.mask_sources.drop(active.edit_id)

    def is_finished(self, active: ActiveEdit, head: bytes) -> bool:
        """Tell by its first bytes whether a picture of *edit* is what was asked for."""
        return self._finisher.is_finished(head, active.edit.output)

    async def of(self, active: ActiveEdit) -> Finish:
        """
        Return what makes of each picture of *edit* what was asked for, if anything was.

        It raises ResultUnavailable for a picture that cannot be read.

        Raises:
            ResultUnavailable: what a mask keeps is gone for good.
            LedgerUnavailable: it cannot be read now.
        """
        form = active.edit.output
        kept: MaskSource | None = None
        if form.composite and (kept := await self.mask_sources.get(active.edit_id)) is None:
            raise ResultUnavailable(
                "The original and the mask of this edit are not kept any more.", retry=False
            )
        tenant = active.tenant.name
        return lambda picture: self._finisher.finish(picture, form, kept, tenant)
