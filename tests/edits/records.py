"""What another process left behind in the ledger."""

from dataclasses import replace
from typing import Any

from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.edits.digest import prompt_digest
from tests.edits.harness import EditHarness


def a_record(state: EditState = EditState.OPEN, *tasks: TaskRecord, **changes: Any) -> EditRecord:
    request = EditHarness().request()
    record = EditRecord(
        edit_id="edit_1",
        tenant="acme",
        region="beijing",
        digest=request.digest,
        prompt_digest=prompt_digest(request.edit.prompt),
        model=request.edit.model,
        n=1,
        response_format="b64_json",
        output_format="png",
        created=EditHarness().clock.epoch() - 30.0,
        state=state,
        tasks=tasks,
    )
    return replace(record, **changes)


def a_task(
    harness: EditHarness, state: TaskState, *, task_id: str | None = None, ago: float = 5.0
) -> TaskRecord:
    at = harness.clock.epoch() - ago
    return TaskRecord(0, 1, "main", "acct", state, intended_at=at, task_id=task_id)
