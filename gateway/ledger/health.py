"""Whether the ledger can be written: a full disk turns readiness off, until it has room again."""

import asyncio
from pathlib import Path

from gateway.domain.clock import Clock
from gateway.ledger.atomic_file import write_file

_PROBE_SECONDS = 2.0
_QUIET_SECONDS = 5.0
"""A failed write is repeated each second, as long as anything waits for it."""
_PROBE_BYTES = 65_536


class LedgerHealth:
    """
    Remembers that a write failed until writing works again.

    Without traffic nothing is written, so that a file beside the ledger is tried.

    Args:
        ledger: Its file; ``None``: it has none here, and five seconds without a failure will do.
        clock: Time.
    """

    def __init__(self, ledger: Path | None, clock: Clock) -> None:
        self._probe = None if ledger is None else ledger.with_name(f"{ledger.name}.probe")
        self._clock = clock
        self._failed_at: float | None = None

    @property
    def is_failing(self) -> bool:
        return self._failed_at is not None

    def failed(self) -> None:
        """Note that a write failed; may be called from any thread."""
        self._failed_at = self._clock.now()

    async def watch(self) -> None:
        """Look every two seconds; runs until it is cancelled."""
        while True:
            await self._clock.sleep(_PROBE_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Find out whether writing works again, once nothing has failed for five seconds."""
        failed_at = self._failed_at
        if failed_at is None or self._clock.now() - failed_at < _QUIET_SECONDS:
            return
        if await asyncio.to_thread(self._can_write) and self._failed_at == failed_at:
            self._failed_at = None

    def _can_write(self) -> bool:
        if self._probe is None:
            return True
        try:
            write_file(self._probe, (bytes(_PROBE_BYTES),), durable=True)
        except OSError:
            return False
        self._probe.unlink(missing_ok=True)
        return True
