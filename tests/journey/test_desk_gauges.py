"""What the desk says of itself to whoever reads gauges off it."""

import asyncio

import pytest

from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream
from tests.journey.house import House, buy

pytestmark = pytest.mark.anyio


async def test_the_oldest_wait() -> None:
    """Each region tells how long its oldest edit has been in line; 0 once it is submitted."""
    house = House(
        a_tenant("acme", an_upstream(account=an_account(running_tasks=1, pending_ahead=0)))
    )
    house.world.submits.append(Submit(run=Run(0.0, 20.0)))

    async with house.desk() as desk, asyncio.TaskGroup() as group:
        empty = desk.oldest_waits()
        group.create_task(buy(desk, house.ask("running")))
        await house.clock.sleep(1.0)
        first = group.create_task(buy(desk, house.ask("first in line")))
        await house.clock.sleep(3.0)
        group.create_task(buy(desk, house.ask("second in line")))
        await house.clock.sleep(2.0)
        crowded = desk.oldest_waits()
        await first
        after_first = desk.oldest_waits()

    assert empty == {"beijing": 0.0}
    assert crowded == {"beijing": pytest.approx(5.0, abs=0.01)}
    assert after_first == {"beijing": 0.0}


async def test_what_can_be_had_by_a_retry() -> None:
    """A task counts from its end, if its customer has left, until somebody gets its pictures."""
    house = House()
    async with house.desk() as desk:
        async with desk.attend(house.ask()):
            await house.clock.sleep(5.0)
            running = desk.recoverable, desk.oldest_recoverable
        await house.clock.sleep(30.0)
        left = desk.recoverable, desk.oldest_recoverable
        await buy(desk, house.ask())
        served = desk.recoverable, desk.oldest_recoverable

    assert (running, left, served) == ((0, 0.0), (1, 35.0), (0, 0.0))
