"""What no event tells: how old the line is, what waits to be fetched, what the ledger holds."""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import NoReturn, Protocol

from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerUnavailable
from gateway.observe.metrics import Metrics

_EVERY = 15.0  # seconds: as often as Prometheus looks, by its default


class EditService(Protocol):
    """Who has the edits; gateway.edits.service answers it."""

    @property
    def recoverable(self) -> int:
        """Tasks whose pictures nobody has got yet."""
        ...

    @property
    def oldest_recoverable(self) -> float:
        """Seconds since the oldest of their edits was asked for; 0 if there is none."""
        ...

    def oldest_waits(self) -> Mapping[str, float]:
        """Region → seconds that its oldest edit in line has waited; 0 if none waits."""
        ...


class Ledger(Protocol):
    """Who keeps the records; gateway.ledger answers it."""

    def counts(self) -> Awaitable[Mapping[str, int]]:
        """State → edits."""
        ...


async def sample(clock: Clock, service: EditService, ledger: Ledger, metrics: Metrics) -> NoReturn:
    """Read the gauges off *service* and *ledger* every 15 seconds; cancel to end."""
    while True:
        metrics.recoverable(service.recoverable, service.oldest_recoverable)
        for region, seconds in service.oldest_waits().items():
            metrics.queue_oldest(region, seconds)
        with suppress(LedgerUnavailable):  # the ledger itself tells the log
            for state, edits in (await ledger.counts()).items():
                metrics.journal_entries(state, edits)
        await clock.sleep(_EVERY)
