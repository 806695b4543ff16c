"""Gauges that are sampled: queue age, undelivered tasks, ledger size, event loop lag."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerUnavailable
from gateway.observe.metrics import Metrics

_SAMPLE_SECONDS = 15.0  # the scrape interval of config/prometheus/prometheus.yml
_LAG_SECONDS = 1.0


async def sample(
    clock: Clock,
    metrics: Metrics,
    *,
    recoverable: Callable[[], tuple[int, float]],
    oldest_waits: Callable[[], Mapping[str, float]],
    ledger_counts: Callable[[], Awaitable[Mapping[str, int]]],
) -> NoReturn:
    """
    Set the gauges every 15 seconds until cancelled.

    Args:
        clock: Time.
        metrics: Where the gauges are.
        recoverable: Tasks whose pictures no client got yet, and the age in seconds of the
            oldest of their edits; 0 if there is none.
        oldest_waits: Region → seconds that its oldest edit in the queue has waited.
        ledger_counts: State → edits in the ledger; may raise LedgerUnavailable.
    """
    while True:
        metrics.recoverable(*recoverable())
        for region, seconds in oldest_waits().items():
            metrics.queue_oldest(region, seconds)
        with suppress(LedgerUnavailable):  # the ledger logs its own failures
            for state, edits in (await ledger_counts()).items():
                metrics.journal_entries(state, edits)
        await clock.sleep(_SAMPLE_SECONDS)


async def measure_loop_lag(clock: Clock, metrics: Metrics) -> NoReturn:
    """Observe once a second how late the event loop wakes a sleeping task, until cancelled."""
    while True:
        due = clock.now() + _LAG_SECONDS
        await clock.sleep(_LAG_SECONDS)
        metrics.event_loop_lag(max(0.0, clock.now() - due))
