"""A client leaves, in line or later, and comes back in time or not (P4)."""

import asyncio
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.errors import (
    GatewayError,
    SubmitUncertain,
    Throttled,
    UpstreamUnreachable,
)
from gateway.edits.service import EditService
from tests.edits.house import House, busy, buy, narrow_house, refusal, stay
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_leaving_the_line() -> None:
    """One who leaves while waiting is gone from the line 3 s later, and nothing is submitted."""
    house = narrow_house()
    async with house.service() as service, busy(house, service):
        waiter = await stay(service, house.request(), 1.0)
        account = next(iter(service._accounts.values()))
        await house.clock.sleep(2.9)
        before = account.queue.waiting
        await house.clock.sleep(0.2)
        after = account.queue.waiting
        await house.clock.sleep(100.0)

    assert waiter.status.stage == "failed"
    assert (before, after) == (1, 0)
    assert house.world.count("submit") == 1
    assert house.observer.in_line == 0


async def test_coming_back_to_the_line() -> None:
    """Within the grace a retry finds its place again, before those that came later."""
    house = narrow_house()
    order: list[str] = []

    async def come(service: EditService, prompt: str, **changes: Any) -> None:
        await buy(service, house.request(prompt, **changes))
        order.append(prompt)

    async with house.service() as service, busy(house, service), asyncio.TaskGroup() as group:
        await stay(service, house.request("early"), 1.0)
        group.create_task(come(service, "late"))
        await house.clock.sleep(2.0)
        group.create_task(come(service, "early", retry_count=1))

    assert order == ["early", "late"]
    assert house.world.count("submit") == 3


async def test_the_absent_are_passed_by() -> None:
    """During the grace a free slot goes to one who is there."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 5.0)))
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(buy(service, house.request("running")))
        await house.clock.sleep(1.0)
        await stay(service, house.request("absent"), 3.0)
        answer = await buy(service, house.request("present"))
        await house.clock.sleep(10.0)

    assert answer.status.task_ids == ("task-2",)
    assert house.world.count("submit") == 2


async def test_leaving_a_pending_task() -> None:
    """A task that still queues upstream is cancelled after the grace, at no cost."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
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
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(2.0)
        answer = await buy(service, house.request(retry_count=1))

    assert house.world.count("cancel") == 0
    assert house.world.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


async def test_after_a_cancel_the_retry_is_a_new_edit() -> None:
    """Nothing joins an edit that was cancelled."""
    house = House()
    house.world.run = Run(pending=20.0)
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(service, house.request(retry_count=1))

    assert answer.status.task_ids == ("task-2",)
    assert len(house.world.paid) == 1


async def test_leaving_a_running_task() -> None:
    """A task that runs is followed to its end and kept."""
    house = House()
    async with house.service() as service:
        waiter = await stay(service, house.request(), 5.0)
        await house.clock.sleep(60.0)
        told = waiter.status
        answer = await buy(service, house.request(retry_count=1))

    assert told.stage == "succeeded"
    assert answer.status == told
    assert house.world.count("submit") == 1


async def test_cancel_that_is_refused() -> None:
    """Where it is not known whether a cancel worked the task is followed."""
    house = House()
    house.world.run = Run(pending=10.0, running=10.0)
    house.world.fail("cancel", Throttled("slow"))
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(60.0)
        answer = await buy(service, house.request())

    assert answer.status.task_ids == ("task-1",)
    assert house.world.count("submit") == 1


async def test_leaving_during_a_long_submit() -> None:
    """One who leaves during a submit and comes back after the grace pays for one task only."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=0.0)))
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(service, house.request(retry_count=1))
        await house.clock.sleep(60.0)

    assert len(house.world.paid) == 1
    assert answer.status.task_ids == ("task-1",)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_long_submit_that_ends_pending(*, comes_back: bool) -> None:
    """A task made after its client left is cancelled while it is PENDING, unless they return."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=30.0)))
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(10.0)
        if comes_back:
            await buy(service, house.request(retry_count=1))
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.count("cancel") == (not comes_back)
    assert len(house.world.paid) == comes_back


async def test_coming_back_during_the_cancel() -> None:
    """One who comes back while the cancel is under way is not given a second paid task."""
    house = House()
    house.world.run = Run(pending=3.92, running=10.0)  # runs when the cancel arrives
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(3.02)
        answer = await buy(service, house.request(retry_count=1))
        await house.clock.sleep(60.0)

    assert house.world.count("cancel") == 1
    assert len(house.world.paid) == 1
    assert answer.delivered == 1


async def test_left_and_then_throttled() -> None:
    """A submit that is throttled after its client has gone is not tried again."""
    house = House()
    house.world.submits.append(Submit(Throttled("slow"), makes=False, takes=10.0))
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.paid == []


async def test_left_and_then_uncertain() -> None:
    """An uncertain submit that made no task is not repeated for a client who has gone."""
    house = House()
    house.world.submits.append(Submit(SubmitUncertain("cut"), makes=False))
    async with house.service() as service:
        await stay(service, house.request(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1


async def test_leaving_some_parts_in_line() -> None:
    """Parts in line are dropped when the client goes; the running part stays theirs."""
    house = narrow_house()
    async with house.service() as service:
        waiter = await stay(service, house.request(n=8), 5.0)
        await house.clock.sleep(60.0)
        answer = await buy(service, house.request(n=8))

    assert house.world.count("submit") == 1
    assert waiter.status.stage == "succeeded"
    assert answer.delivered == 4
    assert all(part.ended for part in waiter.active.life.parts)


async def test_leaving_the_line_while_draining() -> None:
    """One who hangs up in line is dropped, though the gateway is about to stop."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 20.0)))
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(buy(service, house.request("running")))
        await house.clock.sleep(0.5)
        leaver = group.create_task(stay(service, house.request("leaver"), 3.0))
        await house.clock.sleep(0.5)
        service.drain(600.0)
        await house.clock.sleep(60.0)

    assert leaver.result().status.stage == "failed"
    assert house.world.count("submit") == 1


async def test_leaving_a_pending_task_while_draining() -> None:
    """Its task is cancelled at no cost, as at any other time."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(stay(service, house.request(), 3.0))
        await house.clock.sleep(1.0)
        service.drain(600.0)
        await house.clock.sleep(20.0)

    assert house.world.count("cancel") == 1
    assert house.world.paid == []


async def test_turned_away_is_no_leaving() -> None:
    """In its last seconds a process cancels nothing for those whom it sent home itself."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(refusal(buy(service, house.request())))
        await house.clock.sleep(2.0)
        service.drain(1.0)
        service.turn_away()
        await house.clock.sleep(10.0)

    assert house.world.count("cancel") == 0


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_turn_given_in_the_moment_of_leaving(comes_back: bool) -> None:
    """Between slot and intent nothing is submitted for nobody; who comes back has its place."""
    account = an_account(running_tasks=1, pending_ahead=0, submits_per_second=0.5)
    house = House(a_tenant("acme", an_upstream(account=account)))
    house.world.submits.append(Submit(run=Run(0.0, 1.0)))
    async with house.service() as service:
        await buy(service, house.request("the first"))
        # It has the slot at once, and waits for its turn to submit.
        await stay(service, house.request(), 0.2)
        await house.clock.sleep(2.0)
        submitted = house.world.count("submit")
        if comes_back:
            answer = await buy(service, house.request(retry_count=1))
            assert answer.delivered == 1
        await house.clock.sleep(60.0)
        free = next(iter(service._accounts.values())).queue.free

    assert submitted == 1
    assert house.world.count("submit") == 1 + comes_back
    assert house.world.count("cancel") == 0
    assert free == 1
    assert house.observer.in_line == 0


async def test_given_up_while_another_account_refuses() -> None:
    """One that was given up during its submit is not taken to the next account."""
    other = an_upstream("two", an_account("acct2"))
    house = House(a_tenant("acme", an_upstream("one"), other))
    fault = UpstreamUnreachable("No connection.")
    house.world.submits.append(Submit(fault, makes=False, takes=20.0))
    async with house.service() as service:
        waiter = await stay(service, house.request(), 1.0)
        await house.clock.sleep(60.0)

    assert waiter.status.stage == "failed"
    assert house.world.count("submit") == 1


async def told_still_running(service: EditService, house: House, **changes: Any) -> GatewayError:
    return await refusal(buy(service, house.request(patience=5.0, **changes)))


async def test_nobody_came_back_for_a_task_that_waits() -> None:
    """A task that is PENDING is cancelled once whoever was told to come back has not."""
    house = House()
    house.world.run = Run(pending=4 * 3600.0)
    async with house.service() as service:
        refused = await told_still_running(service, house)
        await house.clock.sleep(60.0)
        before = house.world.count("cancel")
        await house.clock.sleep(10.0)
        account = next(iter(service._accounts.values()))
        free = account.queue.free

    assert refused.code == "still_running"
    assert (before, house.world.count("cancel")) == (0, 1)
    assert house.world.paid == []
    assert free == 6


async def test_a_running_task_is_never_given_up() -> None:
    """What costs money goes on to its end for whoever comes within a day."""
    house = House()
    house.world.run = Run(pending=1.0, running=600.0)
    async with house.service() as service:
        await told_still_running(service, house)
        await house.clock.sleep(3600.0)
        answer = await buy(service, house.request())

    assert answer.status.task_ids == ("task-1",)
    assert len(house.world.ours) == 1


async def test_a_cancel_that_failed_is_tried_again() -> None:
    """One failed call does not leave the slot taken for hours."""
    house = House()
    house.world.run = Run(pending=4 * 3600.0)
    house.world.fail("cancel", UpstreamUnreachable("No connection."))
    async with house.service() as service:
        await told_still_running(service, house)
        await house.clock.sleep(200.0)

    assert house.world.count("cancel") == 2
    assert house.world.paid == []


@pytest.mark.parametrize(
    "changes", [{"idempotency_key": "k"}, {"promise": True}], ids=["key", "promised"]
)
async def test_who_may_come_for_a_day_is_waited_for(changes: dict[str, Any]) -> None:
    """A key is kept for 24 hours, and a 202 is a promise: their tasks wait as long as it takes."""
    house = House()
    house.world.run = Run(pending=900.0)
    async with house.service() as service:
        await told_still_running(service, house, **changes)
        await house.clock.sleep(1000.0)

    assert house.world.count("cancel") == 0
    assert len(house.world.paid) == 1


async def test_who_looks_now_and_then_is_waited_for() -> None:
    """A GET says that somebody still wants it, for ten minutes."""
    house = House()
    house.world.run = Run(pending=4 * 3600.0)
    async with house.service() as service:
        refused = await told_still_running(service, house)
        assert refused.edit_id
        for _ in range(8):
            await house.clock.sleep(50.0)
            phases = Phases(house.clock.now())
            async with service.collect(
                house.tenants[0], refused.edit_id, patience=9.0, phases=phases
            ):
                await house.clock.sleep(0.1)
        await house.clock.sleep(590.0)
        before = house.world.count("cancel")
        await house.clock.sleep(30.0)

    assert (before, house.world.count("cancel")) == (0, 1)


async def test_nobody_came_back_after_a_restart() -> None:
    """A task that another process left PENDING is cancelled after ten minutes without anybody."""
    house = House()
    house.world.run = Run(pending=4 * 3600.0)
    async with house.service() as service:
        await told_still_running(service, house)
    async with house.service() as service:
        await house.clock.sleep(590.0)
        before = house.world.count("cancel")
        await house.clock.sleep(30.0)

    assert (before, house.world.count("cancel")) == (0, 1)
    assert house.world.paid == []
