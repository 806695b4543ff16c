from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from gateway.domain.errors import LedgerUnavailable
from gateway.observe.metrics import ConfiguredNames, Metrics
from gateway.observe.sampling import measure_loop_lag, sample

pytestmark = pytest.mark.anyio


class _Over(Exception):
    pass


class _LateClock:
    """Wakes each sleeper as much later as *late* says, and raises when that is used up."""

    def __init__(self, *late: float) -> None:
        self.sleeps: list[float] = []
        self._now = 0.0
        self._late = list(late)

    def now(self) -> float:
        return self._now

    def epoch(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if not self._late:
            raise _Over
        self.sleeps.append(seconds)
        self._now += seconds + self._late.pop(0)


async def _sample(*ledger_counts: Mapping[str, int] | None) -> tuple[_LateClock, CollectorRegistry]:
    """Sample as often as there are *ledger_counts*; ``None``: the ledger cannot be read."""
    clock = _LateClock(*(0.0 for _ in ledger_counts[1:]))
    registry = CollectorRegistry()
    left = list(ledger_counts)

    async def count() -> Mapping[str, int]:
        counts = left.pop(0)
        if counts is None:
            raise LedgerUnavailable("The disk is full.")
        return counts

    with pytest.raises(_Over):
        await sample(
            clock,
            Metrics(registry, ConfiguredNames(regions=("beijing", "singapore"))),
            recoverable=lambda: (3, 7200.0),
            oldest_waits=lambda: {"beijing": 12.5, "singapore": 0.0},
            ledger_counts=count,
        )
    return clock, registry


def _entries(registry: CollectorRegistry, state: str) -> float | None:
    return registry.get_sample_value("wan_gateway_journal_entries", {"state": state})


async def test_gauges_are_sampled() -> None:
    """At once, and then every 15 seconds, the gauges are set to what is read."""
    clock, registry = await _sample({"open": 2}, {"open": 1, "failed": 4})

    oldest = "wan_gateway_queue_oldest_wait_seconds"
    assert clock.sleeps == [15.0]
    assert registry.get_sample_value("wan_gateway_recoverable_tasks") == 3
    assert registry.get_sample_value("wan_gateway_recoverable_oldest_seconds") == 7200
    assert registry.get_sample_value(oldest, {"region": "beijing"}) == 12.5
    assert registry.get_sample_value(oldest, {"region": "singapore"}) == 0
    assert _entries(registry, "open") == 1
    assert _entries(registry, "failed") == 4


async def test_a_ledger_that_fails_is_read_again() -> None:
    """A disk that is full for a moment costs one sample, not the gauges."""
    _, registry = await _sample({"open": 2}, None, {"open": 5})

    assert _entries(registry, "open") == 5


async def test_lag_is_how_late_a_sleep_ends() -> None:
    """Each second is observed once, by how much it was late and never less than nothing."""
    registry = CollectorRegistry()

    with pytest.raises(_Over):
        await measure_loop_lag(_LateClock(0.0, 0.25, -0.5), Metrics(registry, ConfiguredNames()))

    lag = "wan_gateway_event_loop_lag_seconds"
    assert registry.get_sample_value(f"{lag}_count") == 3
    assert registry.get_sample_value(f"{lag}_sum") == 0.25
