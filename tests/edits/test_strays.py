"""A task of which the ledger is told too late is kept, found, and not paid for again."""

import pytest

from gateway.domain.record import EditRecord, TaskRecord, TaskState
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio


async def test_a_stray_is_followed() -> None:
    """An edit that is about to be submitted takes the task that an earlier attempt made."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 5.0))
    intend = harness.ledger.intend

    async def reported_late(edit: EditRecord, task: TaskRecord) -> None:
        harness.ledger.intend = intend  # type: ignore[method-assign]
        kept = await harness.ledger.accept(
            edit.edit_id,
            task.part,
            "main",
            task_id,
            attempt="earlier",
        )
        assert not kept
        await intend(edit, task)

    harness.ledger.intend = reported_late  # type: ignore[method-assign]
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == (task_id,)
    assert harness.dashscope.count("submit") == 0
    assert harness.observer.of("stray_task") == [("beijing",)]
    (record,) = harness.ledger.records
    assert [(task.state, task.task_id) for task in record.tasks] == [(TaskState.ENDED, task_id)]


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
    ((event, said),) = harness.warnings
    assert event == "stray_task"
    assert said["task_id"] == "task-1"
    assert said["edit_id"] == answer.status.edit_id
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
