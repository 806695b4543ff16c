"""Restarts and drains amid models without tasks: what was answered counts, what is lost is told."""

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import (
    GatewayError,
    LedgerUnavailable,
    ResultUnavailable,
    SubmitUncertain,
)
from gateway.domain.record import EditState, TaskState
from gateway.polling.limiter import RateLimiter
from tests.edits.harness import EditHarness, complete, error_of
from tests.edits.records import a_record, a_task
from tests.edits.without_tasks import LOST, QWEN, a_harness, refused_or_made, request
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


def left_behind(harness: EditHarness, state: TaskState, end: EditState = EditState.OPEN) -> None:
    """Leave behind what a process knew of ``edit_1``."""
    task_id = None if state is TaskState.SUBMITTING else "request-r"
    task = replace(a_task(harness, state, task_id=task_id), intended_at=harness.clock.epoch())
    record = a_record(end, task, digest=request(harness).digest)
    harness.ledger.put(replace(record, model=QWEN))


async def test_a_restart_before_the_delivery() -> None:
    """The next process knows where the pictures lie, and asks nobody."""
    harness = a_harness()
    async with harness.service() as service, service.attend(request(harness)):
        await harness.clock.sleep(20.0)
    async with harness.service() as service:
        answer = await complete(service, request(harness, retry_count=1))
        again = await error_of(complete(service, request(harness, patience=0.0)))

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert [call.operation for call in harness.dashscope.calls][:2] == ["submit", "download"]
    assert isinstance(again, GatewayError)  # delivered once: the equal edit is a new one


async def test_a_restart_between_receipt_and_ledger() -> None:
    """What was answered is on the disk: it counts as made."""
    harness = a_harness()
    harness.dashscope.stranger("a red cat", run=Run(0.0, 0.0))
    left_behind(harness, TaskState.SUBMITTING)
    result = await harness.dashscope.fetch(harness.tenants[0].upstreams[0], "task-1")
    await harness.result_urls.put("edit_1", 0, result.images)
    async with harness.service() as service:
        answer = await complete(service, request(harness, retry_count=1))

    assert answer.status.edit_id == "edit_1"
    assert harness.dashscope.count("submit") == 0
    assert harness.observer.of("recovered") == [("submit_resolved",)]


async def test_a_restart_while_its_answer_was_out() -> None:
    """It is told as lost, to each process's first client until somebody was told."""
    harness = a_harness()
    left_behind(harness, TaskState.SUBMITTING)
    async with harness.service():
        await harness.clock.sleep(600.0)
    async with harness.service() as service:
        first = await error_of(complete(service, request(harness, retry_count=1)))
        await harness.clock.sleep(125.0)
    async with harness.service() as service:
        answer = await complete(service, request(harness))

    assert (type(first), first.retry, first.edit_id) == (SubmitUncertain, False, "edit_1")
    assert harness.dashscope.count("submit") == answer.delivered == 1


async def test_told_and_then_killed() -> None:
    """The note that somebody was told goes with the process: better told twice than paid twice."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        await error_of(complete(service, request(harness)))
    async with harness.service() as service:
        again = await error_of(complete(service, request(harness, retry_count=1)))

    assert isinstance(again, SubmitUncertain)
    assert harness.dashscope.count("submit") == 1


@pytest.mark.parametrize("state", [TaskState.ACCEPTED, TaskState.ENDED])
async def test_made_and_the_receipt_is_gone(state: TaskState) -> None:
    """It was paid for and cannot be had: that is told, and it is not made again unasked."""
    harness = a_harness()
    left_behind(harness, state)
    async with harness.service() as service:
        errors = [
            await error_of(complete(service, request(harness, retry_count=1))) for _ in range(2)
        ]

    assert [(type(error), error.retry) for error in errors] == [(ResultUnavailable, False)] * 2
    assert harness.dashscope.count("submit") == harness.dashscope.count("fetch") == 0


async def test_ended_well_and_the_receipt_is_gone() -> None:
    """The same of an edit that was about to be delivered."""
    harness = a_harness()
    left_behind(harness, TaskState.ENDED, EditState.SUCCEEDED)
    async with harness.service() as service:
        error = await error_of(complete(service, request(harness, retry_count=1)))

    assert (type(error), error.retry) == (ResultUnavailable, False)
    assert harness.dashscope.count("fetch") == 0


async def test_a_receipt_that_cannot_be_read_yet() -> None:
    """As long as the disk does not tell, nothing is given up."""
    harness = a_harness()
    left_behind(harness, TaskState.SUBMITTING)
    harness.result_urls.faults["get"] = [LedgerUnavailable("stuck")] * 20
    async with harness.service() as service:
        late = await error_of(complete(service, request(harness, retry_count=1, patience=50.0)))
        error = await error_of(complete(service, request(harness, retry_count=1, patience=300.0)))

    assert late.retry
    assert (type(error), error.retry) == (SubmitUncertain, False)
    assert harness.dashscope.count("submit") == 0


async def test_the_last_minute_of_a_drain() -> None:
    """What could not be answered before the end is not submitted to be cut; it may come again."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow)))
    harness.dashscope.run = Run(0.0, 15.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        task = [
            group.create_task(refused_or_made(service, request(harness, f"cat {i}")))
            for i in range(4)
        ]
        await harness.clock.sleep(1.0)
        service.drain(80.0)
        await harness.clock.sleep(300.0)
        ends = [await one for one in task]

    assert ends == ["made", "made", "server_is_draining", "server_is_draining"]
    assert len(harness.dashscope.paid) == 2


async def test_a_slow_turn_into_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is when it would be sent, not when it began to wait for its turn."""

    async def slow(_: RateLimiter) -> None:
        await asyncio.sleep(100.0)

    monkeypatch.setattr(RateLimiter, "acquire", slow)
    harness = a_harness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        task = group.create_task(refused_or_made(service, request(harness)))
        await harness.clock.sleep(1.0)
        service.drain(80.0)

    assert task.result() == "server_is_draining"
    assert harness.dashscope.count("submit") == 0
