"""Edits that are answered with 202: their bytes and row are durable before it is sent."""

from contextlib import suppress
from functools import partial

from gateway.domain.errors import (
    Draining,
    GatewayError,
    LedgerUnavailable,
    RateLimited,
    UpstreamUnreachable,
)
from gateway.domain.record import EditState
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.owed import OwedWrites
from gateway.edits.ports import Ports
from gateway.edits.postprocess import Postprocessing

_PASSING = (Draining, LedgerUnavailable, RateLimited, UpstreamUnreachable)
"""Refusals before a task was made, which a client that waited would have repeated by itself."""


class PromiseKeeper:
    """Writes down what it takes to submit an edit later, and reads it back after a restart."""

    def __init__(self, ports: Ports, owed: OwedWrites, postprocessing: Postprocessing) -> None:
        self._promises = ports.promises
        self._ledger = ports.ledger
        self._owed = owed
        self._postprocessing = postprocessing

    async def make(self, active: ActiveEdit) -> None:
        """
        Make *edit* outlive this process, also without a connected client.

        Raises:
            LedgerUnavailable: it does not; what else goes on with it goes on.
        """
        async with active.promise_lock:
            if not active.life.ended and not active.life.promised:
                await self._write(active)
        active.life.promise_kept()

    async def _write(self, active: ActiveEdit) -> None:
        active.life.promising()
        try:
            if active.life.unsubmitted and not active.promise_stored:
                pictures = await active.bytes()
                await self._postprocessing.keep(active)
                active.move_to_disk(await self._promises.put(active.edit_id, active.edit, pictures))
            await self._ledger.promise(active.record())
        except BaseException:
            active.life.promise_failed()
            # The ledger may have it all the same, also of a client that hung up meanwhile.
            self._owed.add(active.edit_id, None, partial(self._take_back, active))
            raise
        if active.life.ended and not active.life.submitted:
            # It was refused meanwhile: that is its answer.
            error = active.life.error
            await self._owed.keep(
                active.edit_id,
                None,
                lambda: self._ledger.end_edit(active.edit_id, EditState.FAILED, error),
            )

    async def _take_back(self, active: ActiveEdit) -> None:
        """Write that no 202 was sent: the next process must not submit it."""
        if active.life.promised:
            return  # it was promised again meanwhile
        if active.life.ended and not active.life.submitted:
            await self._ledger.end_edit(active.edit_id, EditState.DROPPED)
        else:
            await self._ledger.unpromise(active.edit_id)

    async def recall(self, active: ActiveEdit) -> None:
        """
        Read what another process kept of *edit*, if it is still needed and there.

        Raises:
            LedgerUnavailable: it cannot be read now.
        """
        if not active.life.promised or active.spooled is not None or active.life.ended:
            return
        kept = await self._promises.get(active.edit_id)
        if kept is not None and active.spooled is None:
            active.restore_pictures(*kept)

    async def recall_if_possible(self, active: ActiveEdit) -> None:
        """Do the same where the caller has to go on even if the disk fails."""
        with suppress(LedgerUnavailable):
            await self.recall(active)


def outlasts(active: ActiveEdit, error: GatewayError) -> bool:
    """Say whether a promised edit waits until *error* has passed: it cost nothing, and may pass."""
    passes = isinstance(error, _PASSING) and error.retry
    return active.life.promised and not active.life.abandoned and passes
