"""What a restart finds: edits of another process go on, or are told of, and none is paid twice."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.errors import KeyReused, NotFound, TaskLost
from gateway.domain.record import EditState, TaskRecord, TaskState
from gateway.edits.takeover import OrphanedEditsError
from tests.edits.harness import EditHarness, complete, error_of, retry_until_done
from tests.edits.records import a_record, a_task
from tests.fakes import Run

pytestmark = pytest.mark.anyio


async def test_recovered_running() -> None:
    """A task that another process submitted is followed, and its retry has the picture."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    task = a_task(harness, TaskState.ACCEPTED, task_id=task_id)
    harness.ledger.put(a_record(EditState.OPEN, task))
    async with harness.service() as service:
        account = next(iter(service._accounts.values()))
        await harness.clock.sleep(1.0)
        free = account.queue.free("wan2.5-i2i-preview")
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.edit_id == "edit_1"
    assert answer.status.task_ids == (task_id,)
    assert harness.dashscope.count("submit") == 0
    assert (free, account.queue.free("wan2.5-i2i-preview")) == (5, 6)
    assert harness.observer.of("recovered") == [("task_followed",)]


@pytest.mark.parametrize("comes_after", [0.0, 2.0, 60.0])
async def test_recovered_submitting_with_a_task(comes_after: float) -> None:
    """An intent that had made a task is resolved: nothing is paid twice."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    harness.dashscope.stranger("another prompt", run=Run(0.0, 5.0))
    harness.ledger.put(a_record(EditState.OPEN, a_task(harness, TaskState.SUBMITTING)))
    async with harness.service() as service:
        await harness.clock.sleep(comes_after)
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == (task_id,)
    assert harness.dashscope.count("submit") == 0
    assert harness.observer.of("recovered") == [("submit_resolved",)]


async def test_recovered_submitting_without_a_task() -> None:
    """An intent that made none ends at no cost; a retry that brings the bytes goes on at once."""
    harness = EditHarness()
    harness.ledger.put(a_record(EditState.OPEN, a_task(harness, TaskState.SUBMITTING)))
    async with harness.service() as service:
        await harness.clock.sleep(2.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.edit_id == "edit_1"
    assert harness.dashscope.count("submit") == 1
    assert harness.observer.of("recovered") == [("submit_void",)]


async def test_recovered_submitting_and_nobody_came() -> None:
    """Without the bytes the edit is dropped; a later retry is a new one."""
    harness = EditHarness()
    harness.ledger.put(a_record(EditState.OPEN, a_task(harness, TaskState.SUBMITTING)))
    async with harness.service() as service:
        async with service.collect(
            harness.tenants[0], "edit_1", patience=60.0, phases=Phases(harness.clock.now())
        ) as waiter:
            refused = await error_of(waiter.answer())
        dropped = harness.ledger.records
        answer = await retry_until_done(
            service, lambda count: harness.request(retry_count=count + 1), harness.clock
        )

    assert isinstance(refused, TaskLost)
    assert refused.retry
    assert dropped == []
    assert answer.status.edit_id != "edit_1"
    assert harness.dashscope.count("submit") == 1


async def test_recovered_undelivered() -> None:
    """A picture that was made and not delivered waits for the retry in the next process."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 1.0))
    await harness.clock.sleep(2.0)
    task = replace(a_task(harness, TaskState.ENDED, task_id=task_id), outcome="succeeded")
    harness.ledger.put(a_record(EditState.SUCCEEDED, task))
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.status.edit_id == "edit_1"
    assert answer.pictures == (task_id.encode() + b"|a red cat||0",)
    assert harness.ledger.records[0].delivered


async def test_recovered_of_a_tenant_that_is_gone() -> None:
    """Its task is followed to its end, though nobody can come for it."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    task = a_task(harness, TaskState.ACCEPTED, task_id=task_id)
    harness.ledger.put(a_record(EditState.OPEN, task, tenant="gone"))
    async with harness.service() as service:
        await harness.clock.sleep(30.0)
        seen = service.snapshot()
        with pytest.raises(NotFound):
            async with service.collect(
                harness.tenants[0], "edit_1", patience=1.0, phases=Phases(harness.clock.now())
            ):
                raise AssertionError

    assert harness.ledger.records[0].state is EditState.SUCCEEDED
    assert [edit.tenant for edit in seen.kept.rows] == ["gone"]
    assert harness.bugs == []


async def test_recovered_of_an_account_that_is_gone() -> None:
    """Nobody could follow its task: the service does not open, and says what to do."""
    harness = EditHarness()
    task = TaskRecord(0, 1, "gone", "acct-2", TaskState.ACCEPTED, 0.0, task_id="task-9")
    harness.ledger.put(a_record(EditState.OPEN, task))

    with pytest.raises(OrphanedEditsError, match="1 open edit of the account acct-2 in beijing"):
        async with harness.service():
            raise AssertionError
    assert harness.dashscope.calls == []


async def test_recovered_without_tasks_of_an_account_that_is_gone() -> None:
    """Where its pictures lie is on the disk, so no key of that account is needed."""
    harness = EditHarness()
    task = TaskRecord(0, 1, "gone", "acct-2", TaskState.SUBMITTING, 0.0)
    harness.ledger.put(a_record(EditState.OPEN, task, model="qwen-image-edit-plus"))
    async with harness.service():
        await harness.clock.sleep(1.0)

    assert harness.ledger.records[0].error_code == "submit_uncertain"


async def test_recovered_in_a_region_that_its_tenant_has_left() -> None:
    """It is told in the region where it was made."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    task = a_task(harness, TaskState.ACCEPTED, task_id=task_id)
    harness.ledger.put(a_record(EditState.OPEN, task))
    harness.tenants = (replace(harness.tenants[0], region="singapore"),)
    async with harness.service() as service:
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.region == "beijing"
    assert harness.dashscope.count("submit") == 0


@pytest.mark.parametrize(
    ("changes", "formerly"),
    [
        pytest.param({"retry_count": 1}, {"old"}, id="marked"),
        pytest.param({}, {"old", "older"}, id="unmarked"),
        pytest.param({"idempotency_key": "k"}, {"old"}, id="by-key"),
        pytest.param({"idempotency_key": "k"}, set(), id="by-key-fitted-otherwise"),
    ],
)
async def test_an_edit_of_the_version_before(changes: dict[str, Any], formerly: set[str]) -> None:
    """After an upgrade a retry joins what the version before wrote down, and nothing is paid."""
    harness = EditHarness()
    task_id = harness.dashscope.stranger("a red cat", run=Run(0.0, 20.0))
    task = a_task(harness, TaskState.ACCEPTED, task_id=task_id)
    key = changes.get("idempotency_key")
    harness.ledger.put(a_record(EditState.OPEN, task, digest="old", idempotency_key=key))
    async with harness.service() as service:
        answer = await complete(
            service, harness.request(**changes, earlier_digests=frozenset(formerly))
        )

    assert answer.status.task_ids == (task_id,)
    assert harness.dashscope.count("submit") == 0


async def test_other_content_under_a_key_of_the_version_before() -> None:
    """After an upgrade, too, a key is refused for another prompt, and for another picture."""
    harness = EditHarness()
    for digest, key, picture in (("old", "1", b"in"), (harness.request().digest, "2", b"other")):
        task = a_task(harness, TaskState.ACCEPTED, task_id=harness.dashscope.stranger("a red cat"))
        record = a_record(EditState.OPEN, task, digest=digest, idempotency_key=key)
        harness.ledger.put(replace(record, edit_id=f"edit_{key}"))
        request = harness.request("a cat" if key == "1" else "a red cat", picture=picture)
        async with harness.service() as service:
            with pytest.raises(KeyReused):
                await complete(service, replace(request, idempotency_key=key))
