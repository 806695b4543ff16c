import pytest

from gateway.domain.clock import SystemClock

pytestmark = pytest.mark.anyio


async def test_system_clock() -> None:
    """The machine's time goes on, and its calendar is of this century."""
    clock = SystemClock()
    before = clock.now()

    await clock.sleep(0.001)

    assert clock.now() > before
    assert clock.epoch() > 1.7e9
