"""A ledger that dies with the process: for tests, trials, and `[state] path = "memory"`."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Self

from cachetools import LRUCache, TLRUCache

from gateway.domain.errors import GatewayError, LedgerConflict, TaskFoundError
from gateway.domain.record import KEPT_SECONDS, EditRecord, EditState, TaskRecord, TaskState
from gateway.ledger.rows import MAYBE_BILLED_KINDS

_MAX_EDITS = 200_000  # about 100 MB; the oldest are dropped first


class MemoryLedger:
    """
    Implements gateway.edits.ports.Ledger without durability.

    Args:
        elapsed: A monotonic clock, in seconds.
        max_edits: How many edits are kept.
    """

    def __init__(self, elapsed: Callable[[], float], *, max_edits: int = _MAX_EDITS) -> None:
        def end_of_edit(_: str, edit: EditRecord, now: float) -> float:
            return math.inf if edit.state is EditState.OPEN else now + KEPT_SECONDS

        self._elapsed = elapsed
        self._edits: TLRUCache[str, EditRecord] = TLRUCache(max_edits, end_of_edit, timer=elapsed)
        self._ids_by_key: LRUCache[tuple[str, str], tuple[str, ...]] = LRUCache(max_edits)
        self._ids_by_content: LRUCache[tuple[str, str], tuple[str, ...]] = LRUCache(max_edits)
        self._delivered_at: LRUCache[str, float] = LRUCache(max_edits)
        self._id_by_task: LRUCache[str, str] = LRUCache(max_edits)
        self._strays: LRUCache[tuple[str, int], tuple[str, str, str]] = LRUCache(max_edits)
        """By edit and part: attempt, upstream and id of a task that was accepted too late."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        record = self._edits.get(edit.edit_id)
        if record is not None and record.state is not EditState.OPEN:
            raise LedgerConflict("This edit has ended: nothing is submitted for it any more.")
        parts = {it.part: it for it in (record.tasks if record else ())}
        before = parts.get(task.part)
        stray = self._strays.get((edit.edit_id, task.part))
        found = None
        if before is not None and before.task_id is not None:
            found = TaskFoundError(before.task_id, before.upstream)
        elif stray is not None:
            _, upstream, task_id = stray
            found = TaskFoundError(task_id, upstream)
            if upstream == task.upstream:
                del self._strays[edit.edit_id, task.part]
                parts[task.part] = replace(task, state=TaskState.ACCEPTED, task_id=task_id)
        elif before is None or before.attempt != task.attempt:
            parts[task.part] = task
        tasks = tuple(parts[part] for part in sorted(parts))
        self._edits[edit.edit_id] = replace(edit, tasks=tasks)
        self._index(edit)
        if found is not None:
            raise found

    async def promise(self, edit: EditRecord) -> None:
        record = self._edits.get(edit.edit_id)
        self._edits[edit.edit_id] = replace(record or edit, promised=True)
        self._index(edit)

    async def unpromise(self, edit_id: str) -> None:
        record = self._edits.get(edit_id)
        if record is not None:
            self._edits[edit_id] = replace(record, promised=False)

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        if not task_id.startswith("request-") and self._belongs_to_another(task_id, edit_id, part):
            raise LedgerConflict("This task is another edit's.")
        self._id_by_task[task_id] = edit_id
        record = self._edits.get(edit_id)
        present = record is not None and any(
            (task.part, task.attempt) == (part, attempt) for task in record.tasks
        )
        if not present and attempt:
            self._strays.setdefault((edit_id, part), (attempt, upstream, task_id))
        self._change(
            edit_id,
            part,
            attempt,
            upstream=upstream,
            task_id=task_id,
            state=TaskState.ACCEPTED,
        )
        return present

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        record = self._edits.get(edit_id)
        if record is not None:
            left = tuple(
                task
                for task in record.tasks
                if (task.part, task.attempt) != (part, attempt)
                or task.state is not TaskState.SUBMITTING
            )
            self._edits[edit_id] = replace(record, tasks=left)

    async def end_task(self, edit_id: str, part: int, outcome: str, *, attempt: str = "") -> None:
        self._change(edit_id, part, attempt, outcome=outcome, state=TaskState.ENDED)

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        record = self._edits.get(edit_id)
        if record is None:
            return
        if state is EditState.DROPPED:
            del self._edits[edit_id]
            return
        ended = replace(record, state=state)
        if error is not None:
            ended = replace(
                ended,
                error_code=error.code,
                error_message=error.message,
                error_kind=type(error).__name__,
                error_retry=error.retry,
            )
        self._edits[edit_id] = ended

    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        record = self._edits.get(edit_id)
        if record is not None:
            self._edits[edit_id] = replace(record, delivered=True)
            self._delivered_at[edit_id] = self._elapsed() - ago

    async def find(self, edit_id: str) -> EditRecord | None:
        return self._edits.get(edit_id)

    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        ids = self._ids_by_key.get((tenant, idempotency_key), ())
        edits = [edit for edit_id in reversed(ids) if (edit := self._edits.get(edit_id))]
        usable = [
            e for e in edits if not (e.state is EditState.FAILED and (e.error_retry or not e.tasks))
        ]
        return max(usable, key=lambda edit: edit.created, default=None)

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        ids = [i for digest in digests for i in self._ids_by_content.get((tenant, digest), ())]
        since = self._elapsed() - within
        found = [
            (self._delivered_at.get(edit_id, 0.0), edit_id)
            for edit_id in ids
            if (edit := self._edits.get(edit_id))
            and (edit.state is EditState.SUCCEEDED or _is_doubtful(edit))
            and (not edit.delivered or self._delivered_at.get(edit_id, 0.0) > since)
        ]
        return self._edits.get(max(found)[1]) if found else None

    async def owed(self) -> list[EditRecord]:
        return sorted(filter(_is_owed, self._kept()), key=lambda edit: edit.created)

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        return {task_id for task_id in task_ids if self._has_task(task_id)}

    async def counts(self) -> dict[str, int]:
        """Return how many edits are kept in each state."""
        states = [edit.state for edit in self._kept()]
        kept = (EditState.OPEN, EditState.SUCCEEDED, EditState.FAILED)
        return {state.value: states.count(state) for state in kept}

    def _index(self, edit: EditRecord) -> None:
        """Make *edit* findable by its key or, without one, by its content."""
        if edit.idempotency_key is not None:
            names = self._ids_by_key
            name = (edit.tenant, edit.idempotency_key)
        else:
            names = self._ids_by_content
            name = (edit.tenant, edit.digest)
        before = [i for i in names.get(name, ()) if i in self._edits]
        names[name] = tuple(dict.fromkeys((*before, edit.edit_id)))

    def _kept(self) -> list[EditRecord]:
        return [edit for edit_id in list(self._edits) if (edit := self._edits.get(edit_id))]

    def _has_task(self, task_id: str) -> bool:
        edit_id = self._id_by_task.get(task_id, "")
        edit = self._edits.get(edit_id)
        if edit is not None and any(task.task_id == task_id for task in edit.tasks):
            return True
        return any(key[0] == edit_id and it[2] == task_id for key, it in self._strays.items())

    def _belongs_to_another(self, task_id: str, edit_id: str, part: int) -> bool:
        """Whether another part of the same account has the task."""
        owner = self._edits.get(self._id_by_task.get(task_id, ""))
        mine = self._edits.get(edit_id)
        if owner is None or mine is None:
            return False
        accounts = [task.account for task in mine.tasks if task.part == part]
        return any(
            task.task_id == task_id
            and task.account in accounts
            and (owner.edit_id, task.part) != (edit_id, part)
            for task in owner.tasks
        )

    def _change(
        self,
        edit_id: str,
        part: int,
        attempt: str,
        *,
        state: TaskState,
        upstream: str | None = None,
        task_id: str | None = None,
        outcome: str | None = None,
    ) -> None:
        record = self._edits.get(edit_id)
        if record is None:
            return
        self._edits[edit_id] = replace(
            record,
            tasks=tuple(
                replace(
                    task,
                    state=task.state if task.state is TaskState.ENDED else state,
                    upstream=upstream or task.upstream,
                    task_id=task_id or task.task_id,
                    outcome=outcome or task.outcome,
                )
                if (task.part, task.attempt) == (part, attempt)
                else task
                for task in record.tasks
            ),
        )


def _is_owed(edit: EditRecord) -> bool:
    if edit.state is EditState.OPEN:
        return edit.promised or bool(edit.tasks)
    return (edit.state is EditState.SUCCEEDED or _is_doubtful(edit)) and not edit.delivered


def _is_doubtful(edit: EditRecord) -> bool:
    return edit.error_kind in MAYBE_BILLED_KINDS and not edit.error_retry
