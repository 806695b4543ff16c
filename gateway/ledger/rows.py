"""Pure: records ⇄ rows of the two tables."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.domain.edit import Size
from gateway.domain.errors import MAYBE_BILLED, GatewayError
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState

EDIT_COLUMNS = (
    "edit_id",
    "tenant",
    "region",
    "digest",
    "prompt_digest",
    "model",
    "n",
    "response_format",
    "output_format",
    "created",
    "state",
    "idempotency_key",
    "ignored",
    "adjusted",
    "compression",
    "scale_to",
    "composite",
    "delivered",
    "promised",
    "error_code",
    "error_message",
    "error_kind",
    "error_retry",
    "prompt_forms",
)
TASK_COLUMNS = (
    "edit_id",
    "part",
    "n",
    "upstream",
    "account",
    "state",
    "intended_at",
    "seed",
    "task_id",
    "outcome",
    "key_id",
    "base_url",
)

MAYBE_BILLED_KINDS = tuple(error.__name__ for error in MAYBE_BILLED)
"""The ``error_kind`` of failures that, without a retry, leave it open whether they were paid."""

_URL = re.compile(r"\b\w+://\S+")


def row_of_edit(edit: EditRecord) -> tuple[Any, ...]:
    """Return *edit* in the order of EDIT_COLUMNS, as plain types: those bind fastest."""
    return (
        edit.edit_id,
        edit.tenant,
        edit.region,
        edit.digest,
        edit.prompt_digest,
        edit.model,
        edit.n,
        str(edit.response_format),
        edit.output_format,
        edit.created,
        edit.state.value,
        edit.idempotency_key,
        _texts(edit.ignored),
        _texts(edit.adjusted),
        edit.compression,
        None if edit.scale_to is None else str(edit.scale_to),
        int(edit.composite),
        int(edit.delivered),
        int(edit.promised),
        edit.error_code,
        edit.error_message,
        edit.error_kind,
        int(edit.error_retry),
        edit.prompt_forms,
    )


def row_of_task(edit_id: str, task: TaskRecord) -> tuple[Any, ...]:
    """Return *task* in the order of TASK_COLUMNS."""
    return (
        edit_id,
        task.part,
        task.n,
        task.upstream,
        task.account,
        task.state.value,
        task.intended_at,
        task.seed,
        task.task_id,
        task.outcome,
        task.key_id,
        task.base_url,
    )


def edit_of_row(row: Sequence[Any], task_rows: Iterable[Sequence[Any]]) -> EditRecord:
    """Return the record of a row in the order of EDIT_COLUMNS and of its tasks' rows."""
    known = dict(zip(EDIT_COLUMNS, row, strict=True))
    known["state"] = EditState(known["state"])
    for name in ("ignored", "adjusted"):
        known[name] = tuple(json.loads(known[name] or "[]"))
    if known["scale_to"] is not None:
        known["scale_to"] = Size(*map(int, known["scale_to"].split("x")))
    known["prompt_forms"] = known["prompt_forms"] or ""  # an older gateway wrote none
    known["composite"] = bool(known["composite"])
    known["delivered"] = bool(known["delivered"])
    known["error_retry"] = bool(known["error_retry"])
    known["promised"] = bool(known["promised"])
    return EditRecord(**known, tasks=tuple(_task_of_row(task) for task in task_rows))


def _texts(texts: tuple[str, ...]) -> str:
    # ASCII, so that no name a client makes up can break the write.
    return json.dumps(texts) if texts else ""


def _task_of_row(row: Sequence[Any]) -> TaskRecord:
    _, *values = row
    known = dict(zip(TASK_COLUMNS[1:], values, strict=True))
    known["state"] = TaskState(known["state"])
    return TaskRecord(**known)


def message_to_keep(error: GatewayError) -> str:
    """Return what was told, without URLs: none goes to the disk."""
    kept = _URL.sub("[URL]", error.message)
    return kept.encode("utf-8", "replace").decode()
