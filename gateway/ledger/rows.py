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
    "attempt",
)

MAYBE_BILLED_KINDS = tuple(error.__name__ for error in MAYBE_BILLED)
"""The ``error_kind`` of failures that may have been billed, if they are not to be retried."""

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
        task.attempt,
    )


def edit_of_row(row: Sequence[Any], task_rows: Iterable[Sequence[Any]]) -> EditRecord:
    """Return the record of a row in the order of EDIT_COLUMNS and of its tasks' rows."""
    values = dict(zip(EDIT_COLUMNS, row, strict=True))
    values["state"] = EditState(values["state"])
    for name in ("ignored", "adjusted"):
        values[name] = tuple(json.loads(values[name] or "[]"))
    if values["scale_to"] is not None:
        values["scale_to"] = Size(*map(int, values["scale_to"].split("x")))
    values["prompt_forms"] = values["prompt_forms"] or ""  # an older gateway wrote none
    values["composite"] = bool(values["composite"])
    values["delivered"] = bool(values["delivered"])
    values["error_retry"] = bool(values["error_retry"])
    values["promised"] = bool(values["promised"])
    return EditRecord(**values, tasks=tuple(_task_of_row(task) for task in task_rows))


def _texts(texts: tuple[str, ...]) -> str:
    # ASCII: a name that a client made up cannot break the write.
    return json.dumps(texts) if texts else ""


def _task_of_row(row: Sequence[Any]) -> TaskRecord:
    values = dict(zip(TASK_COLUMNS[1:], row[1:], strict=True))
    values["state"] = TaskState(values["state"])
    values["attempt"] = values["attempt"] or ""  # an older gateway wrote none
    return TaskRecord(**values)


def message_without_urls(error: GatewayError) -> str:
    """Return the message without URLs, since none is written to the disk."""
    text = _URL.sub("[URL]", error.message)
    return text.encode("utf-8", "replace").decode()
