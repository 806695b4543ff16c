"""A customer leaves, in line or later, and comes back in time or not (P4)."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import SubmitUncertain, Throttled
from gateway.journey.desk import Desk
from tests.fakes import Run, Submit
from tests.journey.house import House, busy, buy, narrow_house, stay

pytestmark = pytest.mark.anyio


async def test_leaving_the_line() -> None:
    """One who leaves while waiting is gone from the line 3 s later, and nothing is submitted."""
    house = narrow_house()
    async with house.desk() as desk, busy(house, desk):
        visit = await stay(desk, house.ask(), 1.0)
        lane = next(iter(desk._lanes.values()))
        await house.clock.sleep(2.9)
        before = lane.line.waiting
        await house.clock.sleep(0.2)
        after = lane.line.waiting
        await house.clock.sleep(100.0)

    assert visit.told.status == "failed"
    assert (before, after) == (1, 0)
    assert house.world.count("submit") == 1
    assert house.observer.in_line == 0


async def test_coming_back_to_the_line() -> None:
    """Within the grace a retry finds its place again, before those that came later."""
    house = narrow_house()
    order: list[str] = []

    async def come(desk: Desk, prompt: str, **changes: Any) -> None:
        await buy(desk, house.ask(prompt, **changes))
        order.append(prompt)

    async with house.desk() as desk, busy(house, desk), asyncio.TaskGroup() as group:
        await stay(desk, house.ask("early"), 1.0)
        group.create_task(come(desk, "late"))
        await house.clock.sleep(2.0)
        group.create_task(come(desk, "early", retry_count=1))

    assert order == ["early", "late"]
    assert house.world.count("submit") == 3


async def test_the_absent_are_passed_by() -> None:
    """During the grace a free slot goes to one who is there."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 5.0)))
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        group.create_task(buy(desk, house.ask("running")))
        await house.clock.sleep(1.0)
        await stay(desk, house.ask("absent"), 3.0)
        answer = await buy(desk, house.ask("present"))
        await house.clock.sleep(10.0)

    assert answer.told.task_ids == ("task-2",)
    assert house.world.count("submit") == 2


async def test_leaving_a_pending_task() -> None:
    """A task that still queues upstream is cancelled after the grace, at no cost."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(2.9)
        before = house.world.count("cancel")
        await house.clock.sleep(100.0)

    assert before == 0
    assert house.world.count("cancel") == 1
    assert house.world.paid == []
    assert house.observer.states == {}


async def test_coming_back_to_a_pending_task() -> None:
    """A retry within the grace keeps the task from being cancelled."""
    house = House()
    house.world.run = Run(pending=20.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(2.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert house.world.count("cancel") == 0
    assert house.world.count("submit") == 1
    assert answer.told.task_ids == ("task-1",)


async def test_after_a_cancel_the_retry_is_a_new_edit() -> None:
    """Nothing joins an edit that was cancelled."""
    house = House()
    house.world.run = Run(pending=20.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert answer.told.task_ids == ("task-2",)
    assert len(house.world.paid) == 1


async def test_leaving_a_running_task() -> None:
    """A task that runs is followed to its end and kept."""
    house = House()
    async with house.desk() as desk:
        visit = await stay(desk, house.ask(), 5.0)
        await house.clock.sleep(60.0)
        told = visit.told
        answer = await buy(desk, house.ask(retry_count=1))

    assert told.status == "succeeded"
    assert answer.told == told
    assert house.world.count("submit") == 1


async def test_cancel_that_is_refused() -> None:
    """Where it is not known whether a cancel worked the task is followed."""
    house = House()
    house.world.run = Run(pending=10.0, running=10.0)
    house.world.fail("cancel", Throttled("slow"))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(60.0)
        answer = await buy(desk, house.ask())

    assert answer.told.task_ids == ("task-1",)
    assert house.world.count("submit") == 1


async def test_leaving_during_a_long_submit() -> None:
    """One who leaves during a submit and comes back after the grace pays for one task only."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=0.0)))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(60.0)

    assert len(house.world.paid) == 1
    assert answer.told.task_ids == ("task-1",)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_long_submit_that_ends_pending(*, comes_back: bool) -> None:
    """A task made after its customer left is cancelled while it is PENDING, unless they return."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=30.0)))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        if comes_back:
            await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.count("cancel") == (not comes_back)
    assert len(house.world.paid) == comes_back


async def test_coming_back_during_the_cancel() -> None:
    """One who comes back while the cancel is under way is not given a second paid task."""
    house = House()
    house.world.run = Run(pending=3.92, running=10.0)  # runs when the cancel arrives
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(3.02)
        answer = await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(60.0)

    assert house.world.count("cancel") == 1
    assert len(house.world.paid) == 1
    assert answer.delivered == 1


async def test_left_and_then_throttled() -> None:
    """A submit that is throttled after its customer has gone is not tried again."""
    house = House()
    house.world.submits.append(Submit(Throttled("slow"), makes=False, takes=10.0))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.paid == []


async def test_left_and_then_uncertain() -> None:
    """An uncertain submit that made no task is not repeated for a customer who has gone."""
    house = House()
    house.world.submits.append(Submit(SubmitUncertain("cut"), makes=False))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1


async def test_leaving_some_parts_in_line() -> None:
    """Parts in line are dropped when the customer goes; the running part stays theirs."""
    house = narrow_house()
    async with house.desk() as desk:
        visit = await stay(desk, house.ask(n=8), 5.0)
        await house.clock.sleep(60.0)
        answer = await buy(desk, house.ask(n=8))

    assert house.world.count("submit") == 1
    assert visit.told.status == "succeeded"
    assert answer.delivered == 4
    assert all(leg.error or leg.task for leg in visit.errand.legs)
