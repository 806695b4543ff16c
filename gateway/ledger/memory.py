"""A ledger that dies with the process: for tests, trials, and `[state] path = "memory"`."""

from collections.abc import Callable, Collection
from dataclasses import replace

from cachetools import TTLCache

from gateway.domain.errors import GatewayError
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState

_KEPT_SECONDS = 24 * 3600.0
_MOST = 200_000  # about 100 MB; the oldest leave first


class MemoryLedger:
    """Answers gateway.journey.ports.Ledger without durability."""

    def __init__(self, now: Callable[[], float], *, most: int = _MOST) -> None:
        self._edits: TTLCache[str, EditRecord] = TTLCache(most, _KEPT_SECONDS, timer=now)
        self._id_by_key: TTLCache[tuple[str, str], str] = TTLCache(most, _KEPT_SECONDS, timer=now)
        self._id_by_task: TTLCache[str, str] = TTLCache(most, _KEPT_SECONDS, timer=now)

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        known = self._edits.get(edit.edit_id)
        others = tuple(t for t in (known.tasks if known else ()) if t.part != task.part)
        tasks = sorted((*others, task), key=lambda t: t.part)
        self._edits[edit.edit_id] = replace(edit, tasks=tuple(tasks))
        if edit.idempotency_key is not None:
            self._id_by_key[edit.tenant, edit.idempotency_key] = edit.edit_id

    async def accept(self, edit_id: str, part: int, upstream: str, task_id: str) -> None:
        self._change(edit_id, part, upstream=upstream, task_id=task_id, state=TaskState.ACCEPTED)

    async def void(self, edit_id: str, part: int) -> None:
        known = self._edits.get(edit_id)
        if known is not None:
            left = tuple(task for task in known.tasks if task.part != part)
            self._edits[edit_id] = replace(known, tasks=left)

    async def end_task(self, edit_id: str, part: int, outcome: str) -> None:
        self._change(edit_id, part, outcome=outcome, state=TaskState.ENDED)

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        known = self._edits.get(edit_id)
        if known is None:
            return
        if state is EditState.DROPPED:
            del self._edits[edit_id]
            return
        ended = replace(known, state=state)
        if error is not None:
            ended = replace(
                ended,
                error_code=error.code,
                error_message=error.message,
                error_kind=type(error).__name__,
                error_retry=error.retry,
            )
        self._edits[edit_id] = ended

    async def deliver(self, edit_id: str) -> None:
        known = self._edits.get(edit_id)
        if known is not None:
            self._edits[edit_id] = replace(known, delivered=True)

    async def find(self, edit_id: str) -> EditRecord | None:
        return self._edits.get(edit_id)

    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        edit = self._edits.get(self._id_by_key.get((tenant, idempotency_key), ""))
        if edit is None or (edit.state is EditState.FAILED and edit.error_retry):
            return None
        return edit

    async def owed(self) -> list[EditRecord]:
        return []

    async def known(self, task_ids: Collection[str]) -> set[str]:
        return {task_id for task_id in task_ids if task_id in self._id_by_task}

    def _change(
        self,
        edit_id: str,
        part: int,
        *,
        state: TaskState,
        upstream: str | None = None,
        task_id: str | None = None,
        outcome: str | None = None,
    ) -> None:
        known = self._edits.get(edit_id)
        if known is None:
            return
        if task_id is not None:
            self._id_by_task[task_id] = edit_id
        self._edits[edit_id] = replace(
            known,
            tasks=tuple(
                replace(
                    task,
                    state=state,
                    upstream=upstream or task.upstream,
                    task_id=task_id or task.task_id,
                    outcome=outcome or task.outcome,
                )
                if task.part == part
                else task
                for task in known.tasks
            ),
        )
