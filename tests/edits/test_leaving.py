"""A client leaves, in the queue or later, and comes back in time or not (P4)."""

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
from tests.edits.harness import (
    EditHarness,
    complete,
    error_of,
    leave_after,
    narrow_harness,
    slot_taken,
)
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_leaving_the_line() -> None:
    """One who leaves while waiting is gone from the queue 3 s later, and nothing is submitted."""
    harness = narrow_harness()
    async with harness.service() as service, slot_taken(harness, service):
        waiter = await leave_after(service, harness.request(), 1.0)
        account = next(iter(service._accounts.values()))
        await harness.clock.sleep(2.9)
        before = account.queue.waiting
        await harness.clock.sleep(0.2)
        after = account.queue.waiting
        await harness.clock.sleep(100.0)

    assert waiter.status.stage == "failed"
    assert (before, after) == (1, 0)
    assert harness.dashscope.count("submit") == 1
    assert harness.observer.in_line == 0


async def test_coming_back_to_the_line() -> None:
    """Within the grace a retry finds its place again, before those that came later."""
    harness = narrow_harness()
    order: list[str] = []

    async def come(service: EditService, prompt: str, **changes: Any) -> None:
        await complete(service, harness.request(prompt, **changes))
        order.append(prompt)

    async with (
        harness.service() as service,
        slot_taken(harness, service),
        asyncio.TaskGroup() as group,
    ):
        await leave_after(service, harness.request("early"), 1.0)
        group.create_task(come(service, "late"))
        await harness.clock.sleep(2.0)
        group.create_task(come(service, "early", retry_count=1))

    assert order == ["early", "late"]
    assert harness.dashscope.count("submit") == 3


async def test_the_absent_are_passed_by() -> None:
    """During the grace a free slot goes to one who is there."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 5.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("running")))
        await harness.clock.sleep(1.0)
        await leave_after(service, harness.request("absent"), 3.0)
        answer = await complete(service, harness.request("present"))
        await harness.clock.sleep(10.0)

    assert answer.status.task_ids == ("task-2",)
    assert harness.dashscope.count("submit") == 2


async def test_leaving_a_pending_task() -> None:
    """A task that still queues upstream is cancelled after the grace, at no cost."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(2.9)
        before = harness.dashscope.count("cancel")
        await harness.clock.sleep(100.0)

    assert before == 0
    assert harness.dashscope.count("cancel") == 1
    assert harness.dashscope.paid == []
    assert harness.observer.states == {}


async def test_coming_back_to_a_pending_task() -> None:
    """A retry within the grace keeps the task from being cancelled."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=20.0)
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(2.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert harness.dashscope.count("cancel") == 0
    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


async def test_after_a_cancel_the_retry_is_a_new_edit() -> None:
    """Nothing joins an edit that was cancelled."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=20.0)
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(10.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.task_ids == ("task-2",)
    assert len(harness.dashscope.paid) == 1


async def test_leaving_a_running_task() -> None:
    """A task that runs is followed to its end and kept."""
    harness = EditHarness()
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(), 5.0)
        await harness.clock.sleep(60.0)
        status = waiter.status
        answer = await complete(service, harness.request(retry_count=1))

    assert status.stage == "succeeded"
    assert answer.status == status
    assert harness.dashscope.count("submit") == 1


async def test_cancel_that_is_refused() -> None:
    """Where it is not known whether a cancel worked the task is followed."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=10.0, running=10.0)
    harness.dashscope.fail("cancel", Throttled("slow"))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(60.0)
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == ("task-1",)
    assert harness.dashscope.count("submit") == 1


async def test_leaving_during_a_long_submit() -> None:
    """One who leaves during a submit and comes back after the grace pays for one task only."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(takes=20.0, run=Run(pending=0.0)))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(10.0)
        answer = await complete(service, harness.request(retry_count=1))
        await harness.clock.sleep(60.0)

    assert len(harness.dashscope.paid) == 1
    assert answer.status.task_ids == ("task-1",)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_long_submit_that_ends_pending(*, comes_back: bool) -> None:
    """A task made after its client left is cancelled while it is PENDING, unless they return."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(takes=20.0, run=Run(pending=30.0)))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(10.0)
        if comes_back:
            await complete(service, harness.request(retry_count=1))
        await harness.clock.sleep(100.0)

    assert harness.dashscope.count("submit") == 1
    assert harness.dashscope.count("cancel") == (not comes_back)
    assert len(harness.dashscope.paid) == comes_back


async def test_coming_back_during_the_cancel() -> None:
    """One who comes back while the cancel is under way is not given a second paid task."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=3.92, running=10.0)  # runs when the cancel arrives
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(3.02)
        answer = await complete(service, harness.request(retry_count=1))
        await harness.clock.sleep(60.0)

    assert harness.dashscope.count("cancel") == 1
    assert len(harness.dashscope.paid) == 1
    assert answer.delivered == 1


async def test_left_and_then_throttled() -> None:
    """A submit that is throttled after its client has gone is not tried again."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(Throttled("slow"), makes=False, takes=10.0))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(100.0)

    assert harness.dashscope.count("submit") == 1
    assert harness.dashscope.paid == []


async def test_left_and_then_uncertain() -> None:
    """An uncertain submit that made no task is not repeated for a client who has gone."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(SubmitUncertain("cut"), makes=False))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(100.0)

    assert harness.dashscope.count("submit") == 1


async def test_leaving_some_parts_in_line() -> None:
    """Parts in the queue are dropped when the client goes; the running part stays theirs."""
    harness = narrow_harness()
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(n=8), 5.0)
        await harness.clock.sleep(60.0)
        answer = await complete(service, harness.request(n=8))

    assert harness.dashscope.count("submit") == 1
    assert waiter.status.stage == "succeeded"
    assert answer.delivered == 4
    assert all(part.ended for part in waiter.active.life.parts)


async def test_leaving_the_line_while_draining() -> None:
    """One who hangs up in the queue is dropped, though the gateway is about to stop."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 20.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("running")))
        await harness.clock.sleep(0.5)
        leaver = group.create_task(leave_after(service, harness.request("leaver"), 3.0))
        await harness.clock.sleep(0.5)
        service.drain(600.0)
        await harness.clock.sleep(60.0)

    assert leaver.result().status.stage == "failed"
    assert harness.dashscope.count("submit") == 1


async def test_leaving_a_pending_task_while_draining() -> None:
    """Its task is cancelled at no cost, as at any other time."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(leave_after(service, harness.request(), 3.0))
        await harness.clock.sleep(1.0)
        service.drain(600.0)
        await harness.clock.sleep(20.0)

    assert harness.dashscope.count("cancel") == 1
    assert harness.dashscope.paid == []


async def test_turned_away_is_no_leaving() -> None:
    """In its last seconds a process cancels nothing for those whom it sent home itself."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(error_of(complete(service, harness.request())))
        await harness.clock.sleep(2.0)
        service.drain(1.0)
        service.turn_away()
        await harness.clock.sleep(10.0)

    assert harness.dashscope.count("cancel") == 0


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_turn_given_in_the_moment_of_leaving(comes_back: bool) -> None:
    """Between slot and intent nothing is submitted for nobody; who comes back has its place."""
    account = an_account(running_tasks=1, pending_ahead=0, submits_per_second=0.5)
    harness = EditHarness(a_tenant("acme", an_upstream(account=account)))
    harness.dashscope.submits.append(Submit(run=Run(0.0, 1.0)))
    async with harness.service() as service:
        await complete(service, harness.request("the first"))
        # It has the slot at once, and waits for its turn to submit.
        await leave_after(service, harness.request(), 0.2)
        await harness.clock.sleep(2.0)
        submitted = harness.dashscope.count("submit")
        if comes_back:
            answer = await complete(service, harness.request(retry_count=1))
            assert answer.delivered == 1
        await harness.clock.sleep(60.0)
        free = next(iter(service._accounts.values())).queue.free("wan2.5-i2i-preview")

    assert submitted == 1
    assert harness.dashscope.count("submit") == 1 + comes_back
    assert harness.dashscope.count("cancel") == 0
    assert free == 1
    assert harness.observer.in_line == 0


async def test_given_up_while_another_account_refuses() -> None:
    """One that was given up during its submit is not taken to the next account."""
    other = an_upstream("two", an_account("acct2"))
    harness = EditHarness(a_tenant("acme", an_upstream("one"), other))
    fault = UpstreamUnreachable("No connection.")
    harness.dashscope.submits.append(Submit(fault, makes=False, takes=20.0))
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(), 1.0)
        await harness.clock.sleep(60.0)

    assert waiter.status.stage == "failed"
    assert harness.dashscope.count("submit") == 1


async def hear_still_running(
    service: EditService, harness: EditHarness, **changes: Any
) -> GatewayError:
    return await error_of(complete(service, harness.request(patience=5.0, **changes)))


async def test_nobody_came_back_for_a_task_that_waits() -> None:
    """A task that is PENDING is cancelled once whoever was told to come back has not."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=4 * 3600.0)
    async with harness.service() as service:
        refused = await hear_still_running(service, harness)
        await harness.clock.sleep(60.0)
        before = harness.dashscope.count("cancel")
        await harness.clock.sleep(10.0)
        account = next(iter(service._accounts.values()))
        free = account.queue.free("wan2.5-i2i-preview")

    assert refused.code == "still_running"
    assert (before, harness.dashscope.count("cancel")) == (0, 1)
    assert harness.dashscope.paid == []
    assert free == 6


async def test_a_running_task_is_never_given_up() -> None:
    """What costs money goes on to its end for whoever comes within a day."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=1.0, running=600.0)
    async with harness.service() as service:
        await hear_still_running(service, harness)
        await harness.clock.sleep(3600.0)
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == ("task-1",)
    assert len(harness.dashscope.ours) == 1


async def test_a_cancel_that_failed_is_tried_again() -> None:
    """One failed call does not leave the slot taken for hours."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=4 * 3600.0)
    harness.dashscope.fail("cancel", UpstreamUnreachable("No connection."))
    async with harness.service() as service:
        await hear_still_running(service, harness)
        await harness.clock.sleep(200.0)

    assert harness.dashscope.count("cancel") == 2
    assert harness.dashscope.paid == []


@pytest.mark.parametrize(
    "changes", [{"idempotency_key": "k"}, {"promise": True}], ids=["key", "promised"]
)
async def test_who_may_come_for_a_day_is_waited_for(changes: dict[str, Any]) -> None:
    """A key is kept for 24 hours, and a 202 is a promise: their tasks wait as long as it takes."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=900.0)
    async with harness.service() as service:
        await hear_still_running(service, harness, **changes)
        await harness.clock.sleep(1000.0)

    assert harness.dashscope.count("cancel") == 0
    assert len(harness.dashscope.paid) == 1


async def test_who_looks_now_and_then_is_waited_for() -> None:
    """A GET says that somebody still wants it, for ten minutes."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=4 * 3600.0)
    async with harness.service() as service:
        refused = await hear_still_running(service, harness)
        assert refused.edit_id
        for _ in range(8):
            await harness.clock.sleep(50.0)
            phases = Phases(harness.clock.now())
            async with service.collect(
                harness.tenants[0], refused.edit_id, patience=9.0, phases=phases
            ):
                await harness.clock.sleep(0.1)
        await harness.clock.sleep(590.0)
        before = harness.dashscope.count("cancel")
        await harness.clock.sleep(30.0)

    assert (before, harness.dashscope.count("cancel")) == (0, 1)


async def test_nobody_came_back_after_a_restart() -> None:
    """A task that another process left PENDING is cancelled after ten minutes without anybody."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=4 * 3600.0)
    async with harness.service() as service:
        await hear_still_running(service, harness)
    async with harness.service() as service:
        await harness.clock.sleep(590.0)
        before = harness.dashscope.count("cancel")
        await harness.clock.sleep(30.0)

    assert (before, harness.dashscope.count("cancel")) == (0, 1)
    assert harness.dashscope.paid == []
