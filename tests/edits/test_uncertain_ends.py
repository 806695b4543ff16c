"""An end that leaves it open whether somebody paid: who hears it, who does not, what it holds."""

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import (
    InternalError,
    LedgerUnavailable,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
)
from gateway.domain.record import EditState, TaskState
from tests.edits.harness import EditHarness, complete, error_of
from tests.edits.records import a_record, a_task
from tests.edits.without_tasks import LOST, QWEN, a_harness, request
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_it_holds_no_picture() -> None:
    """It is kept until it was told: what the client sent, and who heard it, is not."""
    harness = a_harness(Submit(SubmitUncertain("cut")))
    async with harness.service() as service:
        for _ in range(3):
            await error_of(complete(service, request(harness, pictures=(Picture(b"canary"),))))
        harness.observer.seen.clear()
        gc.collect()
        held = [
            it for it in gc.get_objects() if isinstance(it, Picture) and it.content == b"canary"
        ]

        assert len(service._index) == 1
    assert held == []


async def test_one_that_runs_comes_first() -> None:
    """Of two equal edits that were left, the one that makes a picture is joined."""
    harness = a_harness(Submit(LOST, run=Run(0.0, 1.0)))
    async with harness.service() as service:
        async with service.attend(request(harness)), service.attend(request(harness)):
            await harness.clock.sleep(5.0)
        answer = await complete(service, request(harness))
        doubt = await error_of(complete(service, request(harness)))

    assert answer.delivered == 1
    assert isinstance(doubt, SubmitUncertain)
    assert harness.dashscope.count("submit") == 2


async def test_one_receipt_of_two_is_gone() -> None:
    """What the other tells is the answer."""
    harness = a_harness()
    tasks = [
        replace(a_task(harness, TaskState.ENDED, task_id=f"request-{part}"), part=part, n=n)
        for part, n in ((0, 6), (1, 2))
    ]
    record = a_record(EditState.OPEN, *tasks, digest=request(harness, n=8).digest)
    harness.ledger.put(replace(record, model=QWEN, n=8))
    harness.dashscope.stranger("a red cat", run=Run(0.0, 0.0))
    result = await harness.dashscope.fetch(harness.tenants[0].upstreams[0], "task-1")
    await harness.result_urls.put("edit_1", 1, result.images)
    async with harness.service() as service:
        answer = await complete(service, request(harness, n=8, retry_count=1))

    assert (answer.delivered, answer.requested) == (1, 8)
    assert harness.dashscope.count("submit") == 0


async def test_made_well_and_the_receipt_is_gone() -> None:
    """It is told like any doubt: an equal edit later is a new one."""
    harness = a_harness()
    task = a_task(harness, TaskState.ENDED, task_id="request-r")
    record = a_record(EditState.SUCCEEDED, task, digest=request(harness).digest)
    harness.ledger.put(replace(record, model=QWEN))
    async with harness.service() as service:
        error = await error_of(complete(service, request(harness, retry_count=1)))
        again = await error_of(complete(service, request(harness)))
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))

    assert (type(error), error.retry) == (ResultUnavailable, False)
    assert type(again) is ResultUnavailable
    assert answer.delivered == harness.dashscope.count("submit") == 1


async def test_a_bug_in_one_part() -> None:
    """The other's answer is out, and is not cut by it."""
    harness = a_harness(Submit(run=Run(0.0, 0.5)))
    harness.ledger.faults["end_task"] = [ValueError("bug")]
    async with harness.service() as service:
        answer = await complete(service, request(harness, n=8))

    assert len(harness.bugs) == 1
    assert answer.delivered == 8
    assert harness.dashscope.count("submit") == 2


async def test_turned_away() -> None:
    """Nobody is told that it goes on, since the process ends; an answer that comes first counts."""
    harness = a_harness()
    async with (
        harness.service() as service,
        service.attend(request(harness)) as waiter,
        asyncio.TaskGroup() as group,
    ):
        waits = group.create_task(error_of(waiter.answer()))
        await harness.clock.sleep(5.0)
        service.turn_away()
        reported = await waits
        await harness.clock.sleep(15.0)  # the process took its time

    assert isinstance(reported, StillRunning)
    assert "goes on" not in reported.message
    assert harness.ledger.records[0].state is EditState.SUCCEEDED


async def test_a_part_in_line_when_all_are_turned_away() -> None:
    """It is not submitted any more: its answer would be cut."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow)))
    harness.dashscope.run = Run(0.0, 15.0)
    async with harness.service() as service:
        async with service.attend(request(harness, n=8)):
            await harness.clock.sleep(14.0)
            service.turn_away()
        await harness.clock.sleep(4.0)

        assert harness.dashscope.count("submit") == 1


async def test_restored_pictures_are_counted() -> None:
    """Delivered by the next process, they are booked as delivered."""
    harness = a_harness()
    async with harness.service() as service, service.attend(request(harness)):
        await harness.clock.sleep(20.0)
    async with harness.service() as service:
        await complete(service, request(harness, retry_count=1))

    assert harness.observer.of("pictures")[-1][3:] == ("delivered", 1)


async def test_about_to_be_sent() -> None:
    """While the intent goes to the disk a drain waits too: the submit would be out and cut."""
    harness = a_harness()
    intend = harness.ledger.intend

    async def slowly(*records: Any) -> None:
        await harness.clock.sleep(2.0)
        await intend(*records)

    harness.ledger.intend = slowly  # type: ignore[method-assign,assignment]  # a slow disk
    async with harness.service() as service:
        async with service.attend(request(harness)):
            await harness.clock.sleep(1.0)

        assert service.busy == 1


async def test_a_bug_that_stays() -> None:
    """It may have been paid for: who repeats it at once pays for no second one."""
    harness = a_harness()
    harness.ledger.faults["end_task"] = [ValueError("bug")] * 3
    async with harness.service() as service:
        errors = [await error_of(complete(service, request(harness))) for _ in range(3)]
        paid = len(harness.dashscope.paid)
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))

    assert [(type(error), error.retry) for error in errors] == [(InternalError, False)] * 3
    assert paid == 1
    assert answer.delivered == 1


async def test_more_than_was_asked_for() -> None:
    """All of it is delivered; nothing is counted as missing, which no counter could take."""
    harness = a_harness()
    task = a_task(harness, TaskState.ACCEPTED, task_id="request-r")
    record = a_record(EditState.OPEN, task, digest=request(harness).digest)
    harness.ledger.put(replace(record, model=QWEN))
    for _ in range(2):
        harness.dashscope.stranger("a red cat", run=Run(0.0, 0.0))
    one, two = harness.dashscope.tasks_by_id
    upstream = harness.tenants[0].upstreams[0]
    results = [await harness.dashscope.fetch(upstream, task_id) for task_id in (one, two)]
    await harness.result_urls.put("edit_1", 0, (*results[0].images, *results[1].images))
    async with harness.service() as service:
        answer = await complete(service, request(harness, retry_count=1))

    assert answer.delivered == 2
    assert [call[3:] for call in harness.observer.of("pictures")] == [("delivered", 2)]


async def test_the_ledger_is_away_while_it_is_forgotten() -> None:
    """An equal request is a new edit all the same; that it was reported is written later."""
    harness = a_harness(Submit(LOST))
    harness.ledger.faults["deliver"] = [LedgerUnavailable("The ledger is away.")] * 3
    async with harness.service() as service:
        await error_of(complete(service, request(harness)))
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))
    (first, _) = harness.ledger.records

    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 2
    assert (first.state, first.delivered) == (EditState.FAILED, True)


async def test_a_bug_while_it_is_forgotten() -> None:
    """It ends no other edit, and the tidying goes on."""
    harness = a_harness(Submit(LOST))
    harness.ledger.faults["deliver"] = [ValueError("bug")]
    async with harness.service() as service:
        await error_of(complete(service, request(harness)))
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert len(harness.bugs) == 1


async def test_a_receipt_that_can_never_be_read() -> None:
    """After a day its URLs are worth nothing: the slot is free again, and no drain waits for it."""
    harness = a_harness()
    task = a_task(harness, TaskState.SUBMITTING)
    record = a_record(EditState.OPEN, task, digest=request(harness).digest)
    harness.ledger.put(replace(record, model=QWEN))
    harness.result_urls.faults["get"] = [LedgerUnavailable("stuck") for _ in range(18_000)]
    async with harness.service() as service:
        (account,) = service._accounts.values()
        await harness.clock.sleep(23 * 3600.0)
        waits = [account.queue.free(QWEN), service.busy]
        await harness.clock.sleep(2 * 3600.0)

        assert waits == [5, 1]
        assert [account.queue.free(QWEN), service.busy] == [6, 0]
