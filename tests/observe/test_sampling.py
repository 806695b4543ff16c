from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from gateway.domain.errors import LedgerUnavailable
from gateway.observe.labels import Configured
from gateway.observe.metrics import Metrics
from gateway.observe.sampling import sample

pytestmark = pytest.mark.anyio


class _Over(Exception):
    pass


class _Clock:
    """Ends after some naps, whose lengths it keeps."""

    def __init__(self, naps: int) -> None:
        self.naps: list[float] = []
        self._most = naps

    def now(self) -> float:
        return sum(self.naps)

    def epoch(self) -> float:
        return self.now()

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if len(self.naps) == self._most:
            raise _Over


class _Desk:
    recoverable = 3
    oldest_recoverable = 7200.0

    def oldest_waits(self) -> Mapping[str, float]:
        return {"beijing": 12.5, "singapore": 0.0}


class _Ledger:
    def __init__(self, *answers: Mapping[str, int] | None) -> None:
        self._answers = list(answers)

    async def counts(self) -> Mapping[str, int]:
        answer = self._answers.pop(0)
        if answer is None:
            raise LedgerUnavailable("The disk is full.")
        return answer


async def _sampled(ledger: _Ledger, naps: int) -> tuple[_Clock, CollectorRegistry]:
    clock, registry = _Clock(naps), CollectorRegistry()
    metrics = Metrics(registry, Configured(regions=("beijing", "singapore")))
    with pytest.raises(_Over):
        await sample(clock, _Desk(), ledger, metrics)
    return clock, registry


def _entries(registry: CollectorRegistry, state: str) -> float | None:
    return registry.get_sample_value("wan_gateway_journal_entries", {"state": state})


async def test_gauges_are_read_off() -> None:
    """At once, and then every 15 seconds, the gauges say what service and ledger say."""
    clock, registry = await _sampled(_Ledger({"open": 2}, {"open": 1, "failed": 4}), 2)

    oldest = "wan_gateway_queue_oldest_wait_seconds"
    assert clock.naps == [15.0, 15.0]
    assert registry.get_sample_value("wan_gateway_recoverable_tasks") == 3
    assert registry.get_sample_value("wan_gateway_recoverable_oldest_seconds") == 7200
    assert registry.get_sample_value(oldest, {"region": "beijing"}) == 12.5
    assert registry.get_sample_value(oldest, {"region": "singapore"}) == 0
    assert _entries(registry, "open") == 1
    assert _entries(registry, "failed") == 4


async def test_a_ledger_that_fails_is_asked_again() -> None:
    """A disk that is full for a moment costs one look, not the gauges."""
    _, registry = await _sampled(_Ledger({"open": 2}, None, {"open": 5}), 3)

    assert _entries(registry, "open") == 5
