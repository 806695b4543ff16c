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
from gateway.journey.errand import Errand
from gateway.journey.surroundings import Surroundings

_PASSING = (Draining, LedgerUnavailable, RateLimited, UpstreamUnreachable)
"""Refusals before a task was made, which a client that waited would have repeated by itself."""


class PromiseKeeper:
    """Writes down what it takes to submit an edit later, and reads it back after a restart."""

    def __init__(self, around: Surroundings) -> None:
        self._promises = around.promises
        self._ledger = around.ledger
        self._finishing = around.finishing

    async def make(self, errand: Errand) -> None:
        """
        Make *errand* outlive this process, whoever is connected to it.

        Raises:
            LedgerUnavailable: it does not; what else goes on with it goes on.
        """
        async with errand.promising:
            if not errand.ended and not errand.promised:
                await self._write(errand)
        errand.kept = True
        errand.expect(math.inf)

    async def _write(self, errand: Errand) -> None:
        # First of all: an intent that is written meanwhile must not take the mark back.
        errand.promised = errand.recorded = True
        try:
            if errand.unsubmitted:
                pictures = await errand.bytes()
                await self._finishing.keep(errand)
                errand.rest_on_disk(await self._promises.put(errand.edit_id, errand.edit, pictures))
            await self._ledger.promise(errand.record())
        except BaseException:
            errand.promised = False
            raise
        if errand.ended and not errand.submitted:  # it was refused meanwhile: that is its answer
            await self._ledger.end_edit(errand.edit_id, EditState.FAILED, errand.error)

    async def recall(self, errand: Errand) -> None:
        """
        Read what another process kept of *errand*, if it is still needed and there.

        Raises:
            LedgerUnavailable: it cannot be read now.
        """
        if not errand.promised or errand.spooled is not None or errand.ended:
            return
        kept = await self._promises.get(errand.edit_id)
        if kept is not None and errand.spooled is None:
            errand.remember(*kept)

    async def recall_if_possible(self, errand: Errand) -> None:
        """Do the same where something else has to go on, whatever the disk says."""
        with suppress(LedgerUnavailable):
            await self.recall(errand)


def outlasts(errand: Errand, error: GatewayError) -> bool:
    """Say whether a promised edit waits until *error* has passed: it cost nothing, and may pass."""
    passes = isinstance(error, _PASSING) and error.retry
    return errand.promised and not errand.abandoned and passes
