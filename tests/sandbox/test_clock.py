"""The machine's clock."""

import time
from datetime import UTC, datetime

import pytest

from gateway.sandbox.config import RealClock

pytestmark = pytest.mark.anyio


async def test_real_clock() -> None:
    """The real clock is the monotonic one, the calendar and asyncio's sleep."""
    clock = RealClock()
    before = clock.now()

    await clock.sleep(0.01)

    assert 0.009 < clock.now() - before < 5
    assert abs(clock.now() - time.monotonic()) < 1
    assert abs(clock.epoch() - datetime.now(UTC).timestamp()) < 1
