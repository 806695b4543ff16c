"""A task of which the ledger is told too late is kept, found, and not paid for again."""

import asyncio

import pytest

from gateway.domain.errors import LedgerUnavailable
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from tests.edits.harness import NARROW, EditHarness, complete, error_of
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The ledger is away.")


def _reported_late(harness: EditHarness, upstream: str, task_id: str) -> None:
    """Let the ledger learn of a task of an earlier attempt right before the first intent."""
    intend = harness.ledger.intend

    async def reported_late(edit: EditRecord, task: TaskRecord) -> None:
        harness.ledger.intend = intend  # type: ignore[method-assign]
        accept = harness.ledger.accept
        assert not await accept(edit.edit_id, task.part, upstream, task_id, attempt="earlier")
        await intend(edit, task)

    harness.ledger.intend = reported_late  # type: ignore[method-assign]


async def test_a_stray_is_followed() -> None:
    """An edit that is about to be submitted takes the task that an earlier attempt made."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 5.0))
    _reported_late(harness, "main", task_id)
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == (task_id,)
    assert harness.dashscope.count("submit") == 0
    assert harness.observer.of("stray_task") == [("beijing",)]
    (record,) = harness.ledger.records
    assert [(task.state, task.task_id) for task in record.tasks] == [(TaskState.ENDED, task_id)]


def _two_accounts() -> EditHarness:
    far = an_upstream("far", an_account("far"))
    return EditHarness(a_tenant("acme", an_upstream(account=NARROW), far))


@pytest.mark.parametrize("away", [False, True], ids=["at once", "the ledger is away"])
async def test_a_stray_of_another_account_is_followed_there(away: bool) -> None:
    """Only keys of its account see it: its row says which, and its slot is there."""
    harness = _two_accounts()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 60.0), account="far")
    harness.ledger.faults["intend"] = [None, AWAY, AWAY] if away else []
    _reported_late(harness, "far", task_id)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(5.0)
        ((row,),) = (record.tasks for record in harness.ledger.records)
        await complete(service, harness.request("another"))
        harness.dashscope.calls.clear()
        await harness.clock.sleep(100.0)

    assert harness.observer.of("stray_task") == [("beijing",)]
    assert (row.state, row.upstream, row.account) == (TaskState.ACCEPTED, "far", "far")
    assert row.task_id == task_id
    assert [task.account for task in harness.dashscope.ours] == ["acct"]
    polled = {call.upstream for call in harness.dashscope.calls if call.task_id == task_id}
    assert polled == {"far"}
    assert {record.state for record in harness.ledger.records} == {EditState.SUCCEEDED}


async def test_a_stray_of_an_upstream_that_is_gone_is_not_paid_again() -> None:
    """No key sees it any more: the edit ends, the task is named, and nothing is submitted."""
    harness = _two_accounts()
    _reported_late(harness, "gone", "task-9")
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert (refused.code, refused.retry) == ("upstream_task_lost", False)
    assert "task-9" in refused.message
    assert harness.dashscope.count("submit") == 0
    assert [record.state for record in harness.ledger.records] == [EditState.FAILED]
    assert await harness.ledger.find_tasks(["task-9"]) == {"task-9"}


async def test_a_stray_that_the_ledger_forgets_meanwhile_is_not_paid_again() -> None:
    """What it made cannot be told any more, so the edit ends in doubt."""
    harness = _two_accounts()
    _reported_late(harness, "far", "task-9")
    void = harness.ledger.void

    async def forgotten(edit_id: str, part: int, *, attempt: str = "") -> None:
        harness.ledger._strays.clear()
        await void(edit_id, part, attempt=attempt)

    harness.ledger.void = forgotten  # type: ignore[method-assign]
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert (refused.code, refused.retry) == ("upstream_task_lost", False)
    assert harness.dashscope.count("submit") == 0
    (record,) = harness.ledger.records
    assert [(it.state, it.outcome, it.upstream) for it in record.tasks] == [
        (TaskState.ENDED, "lost", "far")
    ]


async def test_a_late_accept_is_counted_and_told() -> None:
    """When another attempt has the part, the task is kept beside it and the operator is told."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 5.0)))
    accept = harness.ledger.accept

    async def taken_over(
        edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        await harness.ledger.void(edit_id, part, attempt=attempt)  # as another owner does
        return await accept(edit_id, part, upstream, task_id, attempt=attempt)

    harness.ledger.accept = taken_over  # type: ignore[method-assign]
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1
    assert harness.observer.of("stray_task") == [("beijing",)]
    ((event, details),) = harness.warnings
    assert event == "stray_task"
    assert details["task_id"] == "task-1"
    assert details["edit_id"] == answer.status.edit_id
    assert await harness.ledger.find_tasks(["task-1"]) == {"task-1"}


async def test_every_intent_has_an_attempt_of_its_own() -> None:
    """What is written about a submit names its intent."""
    harness = EditHarness()
    attempts = list[str]()
    intend = harness.ledger.intend

    async def noted(edit: EditRecord, task: TaskRecord) -> None:
        attempts.append(task.attempt)
        await intend(edit, task)

    harness.ledger.intend = noted  # type: ignore[method-assign]
    async with harness.service() as service:
        await complete(service, harness.request(n=8))
        await complete(service, harness.request("another"))

    assert len(set(attempts)) == 3
    assert all(attempts)
