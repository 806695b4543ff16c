import pytest

from gateway.observe.loop_lag import measure_loop_lag

pytestmark = pytest.mark.anyio


class _Over(Exception):
    pass


class _LateClock:
    """Wakes each sleeper later than asked, by what the test says."""

    def __init__(self, *late: float) -> None:
        self._time, self._late = 0.0, list(late)

    def now(self) -> float:
        return self._time

    def epoch(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        if not self._late:
            raise _Over
        self._time += seconds + self._late.pop(0)


async def test_lag_is_what_a_sleep_took_too_long() -> None:
    """Each second tells once by how much it was late, never less than nothing."""
    told: list[float] = []

    with pytest.raises(_Over):
        await measure_loop_lag(_LateClock(0.0, 0.25, -0.5), told.append)

    assert told == [0.0, 0.25, 0.0]
