import pytest

from gateway.domain.clock import SystemClock, clock_that_counts_sleep

pytestmark = pytest.mark.anyio


async def test_system_clock() -> None:
    """The machine's time goes on, and its calendar is of this century."""
    clock = SystemClock()
    before = clock.now()

    await clock.sleep(0.001)

    assert clock.now() > before
    assert clock.epoch() > 1.7e9


@pytest.mark.parametrize(
    "names",
    [("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"), ("CLOCK_OF_ANOTHER_SYSTEM",), ("CLOCK_BROKEN",)],
)
def test_a_clock_that_the_system_lacks(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """The first clock that works is taken, the plain monotonic one where none does."""
    monkeypatch.setattr("time.CLOCK_BROKEN", 12345, raising=False)
    clock = clock_that_counts_sleep(names)

    before = clock()

    assert clock() >= before
