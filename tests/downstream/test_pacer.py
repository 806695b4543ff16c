"""gateway.downstream.pacer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.downstream.pacer import MOST, ROUND_SECONDS, Pacer
from tests.downstream.harness import FakeClock

pytestmark = pytest.mark.anyio


class Rounds:
    """Requests that wait for a turn, and what each round of the event loop let through."""

    def __init__(self, pacer: Pacer, clock: FakeClock, group: asyncio.TaskGroup) -> None:
        self._pacer = pacer
        self._clock = clock
        self._group = group
        self.had: list[str] = []
        self.seconds_each = 0.0
        """How long the work in a turn takes."""

    def come(self, tenant: str, number: int = 1) -> list[asyncio.Task[None]]:
        return [self._group.create_task(self._work(tenant)) for _ in range(number)]

    async def pass_by(self) -> list[str]:
        """Let one round pass; return whose turns were in it."""
        before = len(self.had)
        await asyncio.sleep(0)
        return self.had[before:]

    async def several(self, number: int = 30) -> list[list[str]]:
        """Let so many rounds pass; return those that had turns."""
        return [some for _ in range(number) if (some := await self.pass_by())]

    async def _work(self, tenant: str) -> None:
        await self._pacer.turn(tenant)
        self._clock.time += self.seconds_each
        self.had.append(tenant)


@asynccontextmanager
async def rounds() -> AsyncIterator[Rounds]:
    clock = FakeClock()
    async with asyncio.TaskGroup() as group:
        yield Rounds(Pacer(clock), clock, group)


async def test_few_do_not_wait() -> None:
    """As many as a round has turns go on in the round in which they came, again and again."""
    async with rounds() as paced:
        for _ in range(3):
            paced.come("a", MOST)
            assert await paced.pass_by() == ["a"] * MOST


async def test_a_crowd_is_spread_over_rounds() -> None:
    """Of hundreds that come in one round, only so many work in each."""
    async with rounds() as paced:
        paced.come("a", 10 * MOST)
        passed = await paced.several()

    assert [len(some) for some in passed] == [MOST] * 10


async def test_tenants_take_turns() -> None:
    """One request of another tenant does not wait for a tenant's hundreds."""
    async with rounds() as paced:
        paced.come("a", 10 * MOST)
        paced.come("b")
        paced.come("c", 2)
        _, second, *_ = await paced.several()

    assert second[:5] == ["a", "b", "c", "a", "c"]


async def test_slow_work_gets_fewer_turns() -> None:
    """A round that takes too long is followed by smaller ones, of one turn at least, until it is
    quick again."""
    async with rounds() as paced:
        paced.seconds_each = 2 * ROUND_SECONDS
        paced.come("a", 100)
        slow = [len(some) for some in await paced.several(8)]
        paced.seconds_each = 0.0
        quick = [len(some) for some in await paced.several(4)]

    assert slow == [16, 8, 4, 2, 1, 1, 1]
    assert quick == [1, 2, 3, 4]


async def test_who_leaves_takes_no_turn() -> None:
    """A client that leaves while it waits passes its turn on."""
    async with rounds() as paced:
        paced.come("a", MOST)
        leaving = paced.come("b", 40)
        paced.come("c", 3)
        await paced.pass_by()
        for task in leaving:
            task.cancel()
        left = await paced.several()

    assert left == [["c"] * 3]
