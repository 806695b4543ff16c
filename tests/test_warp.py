import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from tests.warp import EndlessWarpError, WarpClock, WarpLoop

T = TypeVar("T")


def run(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(story())


def test_hours_pass_at_once() -> None:
    """A sleep of hours takes no time, and ends at its exact second."""

    async def story() -> tuple[float, float]:
        clock = WarpClock()
        began, epoch = clock.now(), clock.epoch()
        await clock.sleep(7 * 3600.0 + 0.1)
        clock.jump = 10.0
        return clock.now() - began, clock.epoch() - epoch

    now, epoch = run(story)

    assert now == pytest.approx(7 * 3600.0 + 0.1)
    assert epoch == pytest.approx(7 * 3600.0 + 10.1)


def test_exact_order() -> None:
    """Timers run in order, however close, each at its own time."""
    waits = [0.3, 1e-9, 5.0, 0.1, 0.1 + 1e-10, 2.0]

    async def story() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, float]] = []

        async def one(wait: float) -> None:
            when = loop.time() + wait
            await asyncio.sleep(wait)
            seen.append((when, loop.time()))

        async with asyncio.TaskGroup() as group:
            for wait in waits:
                group.create_task(one(wait))
        return seen

    seen = run(story)

    assert [when for when, _ in seen] == sorted(when for when, _ in seen)
    assert all(when == at for when, at in seen)


def test_timeout() -> None:
    """asyncio's own patience is in warped time too; a cancelled timer moves nothing."""

    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(3600.0):
            await asyncio.sleep(1.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.Event().wait()
        await asyncio.sleep(1.0)
        return loop.time() - began

    assert run(story) == 4.0


def test_deadlock_is_told() -> None:
    """Waiting for what nobody will do raises instead of hanging."""

    async def story() -> None:
        await asyncio.Event().wait()

    with pytest.raises(EndlessWarpError, match="deadlock"):
        run(story)


def test_endless_time_is_told() -> None:
    """A story that goes on for days raises."""

    async def story() -> None:
        for _ in range(24 * 4):
            await asyncio.sleep(3600.0)

    with pytest.raises(EndlessWarpError, match="three days"):
        run(story)


def test_endless_moment_is_told() -> None:
    """A loop that lets no time pass raises."""

    async def story() -> None:
        for _ in range(10**6):
            await asyncio.sleep(0)

    with pytest.raises(EndlessWarpError, match="does not end"):
        run(story)
