"""Through the service: a task of which nobody knows any more whether it is wanted."""

import asyncio

import pytest

from gateway.domain.clock import Phases
from gateway.domain.errors import UpstreamUnreachable
from tests.edits.harness import EditHarness, complete, error_of, leave_after
from tests.fake_stores import FakeLedger
from tests.fakes import Run, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


class SlowLedger(FakeLedger):
    """A ledger on a slow disk."""

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        await asyncio.sleep(10.0)
        return await super().accept(edit_id, part, upstream, task_id, attempt=attempt)


async def test_left_while_its_task_is_written_down() -> None:
    """A task whose client left before the ledger had it is cancelled, once it has it."""
    harness = EditHarness()
    harness.ledger = SlowLedger(harness.clock.epoch)
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(1.0)
        await harness.clock.sleep(30.0)

        assert len(service._index) == 0

    assert harness.dashscope.count("cancel") == 1
    assert harness.dashscope.paid == []


async def test_a_bug_in_the_cancel_leaves_no_second_watch() -> None:
    """The part is followed again after it, and what was watched before is not fetched any more."""
    harness = EditHarness()
    harness.ledger = SlowLedger(harness.clock.epoch)
    harness.dashscope.run = Run(pending=60.0)
    harness.dashscope.fail("cancel", KeyError("unforeseen"))
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(1.0)
        while harness.dashscope.count("cancel") < 2:
            await harness.clock.sleep(0.1)
        await harness.clock.sleep(0.1)
        fetched = harness.dashscope.count("fetch")
        await harness.clock.sleep(200.0)

        assert len(service._index) == 0

    assert len(harness.bugs) == 1
    assert harness.dashscope.count("fetch") == fetched


async def test_back_before_the_cancel_had_its_turn() -> None:
    """Who comes back while the cancel waits for the account's call rate keeps the task."""
    slow = an_account(polls_per_second=0.2)
    harness = EditHarness(a_tenant("acme", an_upstream(account=slow)))
    harness.dashscope.run = Run(pending=60.0, running=10.0)
    async with harness.service() as service:
        async with service.attend(harness.request()) as waiter:
            await harness.clock.sleep(1.0)
        active, account = waiter.active, next(iter(service._accounts.values()))
        await account.call_limiter.acquire()  # somebody else's
        while not active.life.abandoned:
            await harness.clock.sleep(0.01)
        waits = account.call_limiter.seconds_until_free()
        answer = await complete(service, harness.request(retry_count=1))

    assert waits > 0.0
    assert harness.dashscope.count("cancel") == 0
    assert answer.status.task_ids == ("task-1",)


async def test_withdrawn_twice() -> None:
    """The second cancel of one task finds it ended, and asks nothing."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    tenant = harness.tenants[0]
    async with harness.service() as service, service.attend(harness.request()) as waiter:
        await harness.clock.sleep(1.0)
        edit_id = waiter.status.edit_id
        async with asyncio.TaskGroup() as group:
            group.create_task(service.withdraw(tenant, edit_id))
            await harness.clock.sleep(0.05)
            group.create_task(service.withdraw(tenant, edit_id))
        async with service.collect(
            tenant, edit_id, patience=1.0, phases=Phases(harness.clock.now())
        ) as reported:
            status = reported.status.stage

    assert status == "failed"
    assert harness.dashscope.count("cancel") == 1


_HOUR = 3600.0


@pytest.mark.parametrize("pending", [0.0, 0.3 * _HOUR])
async def test_a_task_that_never_ends(pending: float) -> None:
    """One that is seen to run longer than upstream allows ends, for good, and frees its slot."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=pending, running=20 * _HOUR)
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(idempotency_key="k"), 2.0)
        waiter.active.life.retry_advised(harness.clock.now(), 1.0)
        await harness.clock.sleep(pending + 2.9 * _HOUR)
        before = waiter.status.stage
        await harness.clock.sleep(0.3 * _HOUR)
        account = next(iter(service._accounts.values()))
        refused = await error_of(complete(service, harness.request(idempotency_key="k")))
        free = account.queue.free("wan2.5-i2i-preview")

    assert before == "running"
    assert (refused.status, refused.code, refused.retry) == (500, "upstream_task_lost", False)
    assert "3 hours" in refused.message
    assert free == 6
    assert [it[3] for it in harness.observer.of("task_ended")] == ["timed_out"]
    assert harness.dashscope.count("submit") == 1


async def test_looks_that_fail_prove_nothing() -> None:
    """While upstream cannot be asked no task is given up for its age."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=0.0, running=4 * _HOUR)
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(), 600.0)
        harness.dashscope.fail("fetch", *[UpstreamUnreachable("No connection.")] * 3000)
        await harness.clock.sleep(3.9 * _HOUR)
        status = waiter.status.stage
        harness.dashscope.forgive("fetch")
        answer = await complete(service, harness.request())

    assert status == "running"
    assert answer.delivered == 1
