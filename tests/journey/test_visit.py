"""One customer's stay: what happens to its deadline when it begins to hear of us."""

import asyncio

import pytest

from gateway.domain.errors import StillRunning
from gateway.domain.phases import Phase
from tests.fakes import Run
from tests.journey.house import House, refusal

pytestmark = pytest.mark.anyio


async def test_extended_while_it_waits() -> None:
    """A customer that hears of us waits on past its own deadline, and has its picture."""
    house = House()
    house.world.run = Run(0.0, 60.0)
    async with (
        house.desk() as desk,
        desk.attend(house.ask(patience=5.0)) as visit,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(visit.answer())
        await house.clock.sleep(3.0)
        visit.extend(540.0)
        answer = await waiting

    assert answer.delivered == 1


async def test_the_longer_deadline_is_one_too() -> None:
    """It counts from the customer's coming, and is told like any other."""
    house = House()
    house.world.run = Run(0.0, 60.0)
    began = house.clock.now()
    async with house.desk() as desk, desk.attend(house.ask(patience=5.0)) as visit:
        visit.extend(20.0)
        refused = await refusal(visit.answer())

    assert isinstance(refused, StillRunning)
    assert house.clock.now() == pytest.approx(began + 20.0)


async def test_extended_too_late() -> None:
    """In the very moment in which the deadline comes, and after it, nothing is extended."""
    house = House()
    house.world.run = Run(0.0, 60.0)
    async with house.desk() as desk, desk.attend(house.ask(patience=5.0)) as visit:
        refused = await refusal(visit.answer())
        visit.extend(540.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0) as visit._timer:
                await house.clock.sleep(1.0)
        visit.extend(540.0)

    assert isinstance(refused, StillRunning)


async def test_where_the_time_went() -> None:
    """At each moment the phases add up to the time since the customer came."""
    house = House()
    house.world.run = Run(0.0, 60.0)
    began = house.clock.now()
    async with (
        house.desk() as desk,
        desk.attend(house.ask(patience=540.0)) as visit,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(visit.answer())
        await house.clock.sleep(30.0)
        meanwhile = dict(visit.spent())
        await waiting
        afterwards = dict(visit.spent())

    assert sum(meanwhile.values()) == pytest.approx(30.0)
    assert max(meanwhile, key=meanwhile.__getitem__) is Phase.UPSTREAM_RUNNING
    assert sum(afterwards.values()) == pytest.approx(house.clock.now() - began)
    assert Phase.DOWNLOAD in afterwards


async def test_where_the_time_of_one_who_left_went() -> None:
    """Who hangs up while the task runs did not spend that time on sending its request."""
    house = House()
    house.world.run = Run(0.0, 60.0)
    async with house.desk() as desk, desk.attend(house.ask(patience=540.0)) as visit:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(visit.answer())
            await house.clock.sleep(30.0)
            waiting.cancel()
        spent = visit.phases.spent(house.clock.now())

    assert max(spent, key=spent.__getitem__) is Phase.UPSTREAM_RUNNING
    assert sum(spent.values()) == pytest.approx(30.0)
