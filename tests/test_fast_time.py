import asyncio
from collections.abc import Iterator
from threading import Event
from time import monotonic

import pytest

from tests.fast_time import SPEED, ExactFastLoop, FastLoop


@pytest.fixture
def loop() -> Iterator[FastLoop]:
    loop = FastLoop()
    yield loop
    loop.close()


def _stall(seconds: float) -> None:
    Event().wait(seconds)


def test_waiting_is_hurried(loop: FastLoop) -> None:
    """Eight seconds of the loop take one, and never more of the loop's time than was asked for."""
    began, at = monotonic(), loop.time()

    loop.run_until_complete(asyncio.sleep(8.0))

    assert monotonic() - began < 8.0
    assert 8.0 <= loop.time() - at < 9.0


def test_a_stall_costs_no_deadline(loop: FastLoop) -> None:
    """A machine that stands still for a moment does not end what has three seconds."""

    async def work() -> float:
        async with asyncio.timeout(3.0):
            _stall(0.6)
            await asyncio.sleep(0.5)
            _stall(0.6)
            await asyncio.sleep(0.5)
        return asyncio.get_running_loop().time()

    at = loop.time()

    assert 1.0 <= loop.run_until_complete(work()) - at < 3.0


@pytest.mark.parametrize(
    ("waited", "requested", "passes"),
    [
        pytest.param(0.1, 4.0, 0.1 * SPEED, id="something came meanwhile"),
        pytest.param(0.5, 4.0, 4.0, id="to its end"),
        pytest.param(5.0, 4.0, 4.0, id="woken late"),
        pytest.param(0.1, 0.0, 0.0, id="no wait at all"),
        pytest.param(0.1, None, 0.1 * SPEED, id="for whatever comes"),
    ],
)
def test_what_a_wait_costs(
    loop: FastLoop, waited: float, requested: float | None, passes: float
) -> None:
    """A wait costs eight times what it took, up to what was asked for."""
    loop.pause()
    at = loop.time()

    loop.go_on(waited, requested)

    assert loop.time() - at == pytest.approx(passes, abs=0.25)


def test_timers_keep_their_order(loop: FastLoop) -> None:
    """After a stall what was due first still runs first, and each at its own moment."""
    seen: list[tuple[int, float]] = []

    async def work() -> None:
        loop, at = asyncio.get_running_loop(), asyncio.get_running_loop().time()

        def ring(n: int) -> None:
            seen.append((n, loop.time() - at))

        for n in (3, 1, 2):
            loop.call_at(at + n, ring, n)
        _stall(0.6)
        await asyncio.sleep(4.0)

    loop.run_until_complete(work())

    assert [n for n, _ in seen] == [1, 2, 3]
    assert all(n <= when < n + 1 for n, when in seen)


def test_exact_time_stands_still_at_work() -> None:
    """In the exact loop a moment lasts until its work is done, and waits are as long as asked."""
    loop = ExactFastLoop()

    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        _stall(0.1)
        seen.append(loop.time())
        await asyncio.sleep(4.0)
        return [*seen, loop.time()]

    began, later, ended = loop.run_until_complete(work())
    loop.close()

    assert began == later
    assert ended == pytest.approx(began + 4.0)
