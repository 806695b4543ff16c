"""An edit at the service: bought, had by its id, withdrawn, or sent home while draining (P16)."""

import asyncio

import pytest

from gateway.domain.clock import Phase, Phases
from gateway.domain.errors import (
    Draining,
    LedgerUnavailable,
    NotFound,
    StillRunning,
    TaskLost,
    UpstreamUnavailable,
)
from gateway.domain.record import EditState, TaskState
from tests.edits.harness import NARROW, EditHarness, complete, error_of, leave_after, narrow_harness
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_one_edit() -> None:
    """An edit is submitted once, followed, brought home, told of, and its gauges fall back."""
    harness = EditHarness()
    async with harness.service() as service:
        request = harness.request()
        answer = await complete(service, request)
        spent = request.phases.spent(harness.clock.now())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert (answer.requested, answer.delivered, answer.replayed) == (1, 1, False)
    assert answer.status.task_ids == ("task-1",)
    assert answer.status.upstream_request_ids == ("req-task-1",)
    assert answer.status.stage == "succeeded"
    assert harness.dashscope.count("submit") == 1
    assert sum(spent.values()) == pytest.approx(harness.clock.now() - 1000.0)
    assert spent[Phase.UPSTREAM_PENDING] == pytest.approx(1.0)
    assert spent[Phase.UPSTREAM_RUNNING] == pytest.approx(10.0, rel=0.02)
    assert harness.observer.states == {}
    assert harness.observer.in_line == 0
    assert harness.ledger.records[0].state is EditState.SUCCEEDED
    assert harness.ledger.records[0].delivered
    assert request.digest == harness.ledger.records[0].digest


async def test_bytes_are_released_once() -> None:
    """The bytes are let go as soon as the task exists, and exactly once."""
    harness = EditHarness()
    released: list[float] = []
    async with harness.service() as service:
        await complete(
            service, harness.request(release=lambda: released.append(harness.clock.now()))
        )

    assert len(released) == 1
    assert released[0] - 1000.0 < 1.0


async def test_bytes_of_one_that_joins_are_released_at_once() -> None:
    """A retry whose bytes are not needed lets them go when it joins."""
    harness = EditHarness()
    released: list[str] = []
    async with harness.service() as service:
        await leave_after(service, harness.request(release=lambda: released.append("first")), 5.0)
        await complete(
            service, harness.request(retry_count=1, release=lambda: released.append("second"))
        )

    assert released == ["first", "second"]


async def test_promised_is_not_cancelled() -> None:
    """An edit whose client was told 202 is kept, not cancelled."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service:
        async with service.attend(harness.request(promise=True)) as waiter:
            await harness.clock.sleep(1.0)
        await harness.clock.sleep(100.0)

    assert harness.dashscope.count("cancel") == 0
    assert waiter.status.stage == "succeeded"


async def test_collect_by_id() -> None:
    """A known edit can be looked at and had by its id, also after it was delivered."""
    harness = EditHarness()
    tenant = harness.tenants[0]
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(), 5.0)
        edit_id = waiter.status.edit_id
        async with service.collect(
            tenant, edit_id, patience=60.0, phases=Phases(harness.clock.now())
        ) as running:
            status = running.status
            answer = await running.answer()
            await running.delivered()
            await running.delivered()
        async with service.collect(
            tenant, edit_id, patience=60.0, phases=Phases(harness.clock.now())
        ) as again:
            second = await again.answer()

    assert status.stage == "running"
    assert answer.pictures == second.pictures == (b"task-1|a red cat|in|0",)
    assert len(harness.observer.of("pictures")) == 1


@pytest.mark.parametrize("delivered", [True, False])
async def test_another_tenants_edit_is_none(*, delivered: bool) -> None:
    """An id of another tenant is not found, whether its edit runs or was delivered."""
    harness = EditHarness(a_tenant(), a_tenant("other"))
    async with harness.service() as service:
        if delivered:
            edit_id = (await complete(service, harness.request())).status.edit_id
        else:
            edit_id = (await leave_after(service, harness.request(), 5.0)).status.edit_id

        with pytest.raises(NotFound):
            await service.withdraw(harness.tenants[1], edit_id)
        with pytest.raises(NotFound):
            await service.withdraw(harness.tenants[0], "edit_unknown")


async def test_withdraw_in_line_pending_and_running() -> None:
    """Withdrawing drops what waits, cancels what is pending, lets run what runs."""
    harness = EditHarness(a_tenant("acme", an_upstream(account=NARROW)))
    tenant = harness.tenants[0]
    harness.dashscope.submits.append(Submit(run=Run(pending=5.0, running=20.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(error_of(complete(service, harness.request("pending"))))
        waiting = group.create_task(error_of(complete(service, harness.request("waiting"))))
        await harness.clock.sleep(1.0)
        by_prompt = {e.edit.prompt: e.edit_id for e in service._index}
        await service.withdraw(tenant, by_prompt["waiting"])
        await service.withdraw(tenant, by_prompt["pending"])
        running = group.create_task(complete(service, harness.request("running")))
        await harness.clock.sleep(5.0)
        edit_id = next(e.edit_id for e in service._index)
        reported = await service.withdraw(tenant, edit_id)

    assert isinstance(first.result(), TaskLost)
    assert isinstance(waiting.result(), TaskLost)
    assert reported.stage == "running"
    assert running.result().delivered == 1
    assert harness.dashscope.count("submit") == 2


async def test_withdraw_what_has_ended() -> None:
    """An edit that was delivered stays what it is."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await complete(service, harness.request())
        status = await service.withdraw(harness.tenants[0], answer.status.edit_id)

    assert status.stage == "succeeded"
    assert harness.dashscope.count("cancel") == 0


async def test_draining_takes_nothing_new() -> None:
    """New edits are refused while draining; retries still join."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(1.0)
        service.draining = True
        refused = await error_of(complete(service, harness.request("new")))
        busy_before = service.busy
        joined = await complete(service, harness.request(retry_count=1))

    assert isinstance(refused, Draining)
    assert refused.retry_after == 2.0
    assert joined.pictures == first.result().pictures
    assert (busy_before, service.busy) == (1, 0)


async def test_turned_away_with_the_way_back() -> None:
    """At the end of the grace each client is sent home; the next process has their edits."""
    harness = narrow_harness()
    async with asyncio.TaskGroup() as group, harness.service() as service:
        running = group.create_task(error_of(complete(service, harness.request("running"))))
        await harness.clock.sleep(3.0)
        waiting = group.create_task(error_of(complete(service, harness.request("waiting"))))
        await harness.clock.sleep(1.0)
        service.draining = True
        service.turn_away()
        await harness.clock.sleep(30.0)
    async with harness.service() as service:
        answer = await complete(service, harness.request("running", retry_count=1))
        other = await complete(service, harness.request("waiting", retry_count=1))

    assert isinstance(running.result(), StillRunning)
    assert isinstance(waiting.result(), Draining)
    assert running.result().edit_id == answer.status.edit_id
    assert harness.dashscope.count("submit") == 2
    assert other.delivered == 1


async def test_who_was_turned_away_from_the_line_is_not_submitted() -> None:
    """Another process may take up an edit that was sent home unsubmitted: this one must not."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 5.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(error_of(complete(service, harness.request("running"))))
        await harness.clock.sleep(1.0)
        waiting = group.create_task(error_of(complete(service, harness.request("waiting"))))
        await harness.clock.sleep(1.0)
        service.draining = True
        service.turn_away()
        await harness.clock.sleep(60.0)

    assert isinstance(waiting.result(), Draining)
    assert harness.dashscope.count("submit") == 1


async def test_a_key_that_is_refused_while_its_task_runs() -> None:
    """The task is followed with the other key of its account, and delivered."""
    account = an_account()
    harness = EditHarness(
        a_tenant("acme", an_upstream("one", account), an_upstream("two", account))
    )
    refused = UpstreamUnavailable("key", upstream_code="InvalidApiKey")
    harness.dashscope.fail("fetch", refused)

    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1
    requested = [call.upstream for call in harness.dashscope.calls if call.operation == "fetch"]
    assert requested[0] == "one"
    assert requested[-1] == "two"


async def test_closing_waits_for_its_tasks() -> None:
    """What is owed to the ledger is tried once more before the service has closed."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    harness.ledger.faults["accept"] = [LedgerUnavailable("full")]
    async with harness.service() as service, service.attend(harness.request()):
        while harness.ledger.faults["accept"]:
            await harness.clock.sleep(0.01)
        before = harness.ledger.records[0].tasks[0].state

    assert before is TaskState.SUBMITTING
    assert harness.ledger.records[0].tasks[0].state is TaskState.ACCEPTED
