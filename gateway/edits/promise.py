"""A 202 that was told is kept: the edit's bytes and row are durable before it is sent."""

import math
from contextlib import suppress

from gateway.domain.errors import (
    Draining,
    GatewayError,
    LedgerUnavailable,
    RateLimited,
    UpstreamUnreachable,
)
from gateway.domain.record import EditState
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.surroundings import Surroundings

_PASSING = (Draining, LedgerUnavailable, RateLimited, UpstreamUnreachable)
"""Refusals before a task was made, which a client that waited would have repeated by itself."""


class PromiseKeeper:
    """Writes down what it takes to submit an edit later, and reads it back after a restart."""

    def __init__(self, around: Surroundings) -> None:
        self._promises = around.promises
        self._ledger = around.ledger
        self._finishing = around.finishing

    async def make(self, active: ActiveEdit) -> None:
        """
        Make *edit* outlive this process, whoever is connected to it.

        Raises:
            LedgerUnavailable: it does not; what else goes on with it goes on.
        """
        async with active.promising:
            if not active.ended and not active.promised:
                await self._write(active)
        active.kept = True
        active.expect(math.inf)

    async def _write(self, active: ActiveEdit) -> None:
        # First of all: an intent that is written meanwhile must not take the mark back.
        active.promised = active.recorded = True
        try:
            if active.unsubmitted:
                pictures = await active.bytes()
                await self._finishing.keep(active)
                active.rest_on_disk(await self._promises.put(active.edit_id, active.edit, pictures))
            await self._ledger.promise(active.record())
        except BaseException:
            active.promised = False
            raise
        if active.ended and not active.submitted:  # it was refused meanwhile: that is its answer
            await self._ledger.end_edit(active.edit_id, EditState.FAILED, active.error)

    async def recall(self, active: ActiveEdit) -> None:
        """
        Read what another process kept of *edit*, if it is still needed and there.

        Raises:
            LedgerUnavailable: it cannot be read now.
        """
        if not active.promised or active.spooled is not None or active.ended:
            return
        kept = await self._promises.get(active.edit_id)
        if kept is not None and active.spooled is None:
            active.remember(*kept)

    async def recall_if_possible(self, active: ActiveEdit) -> None:
        """Do the same where something else has to go on, whatever the disk says."""
        with suppress(LedgerUnavailable):
            await self.recall(active)


def outlasts(active: ActiveEdit, error: GatewayError) -> bool:
    """Say whether a promised edit waits until *error* has passed: it cost nothing, and may pass."""
    passes = isinstance(error, _PASSING) and error.retry
    return active.promised and not active.abandoned and passes
