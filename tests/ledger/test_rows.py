from dataclasses import fields, replace

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import UpstreamFailed
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from gateway.ledger.rows import (
    EDIT_COLUMNS,
    TASK_COLUMNS,
    edit_of_row,
    message_without_urls,
    row_of_edit,
    row_of_task,
)
from tests.ledger.records import EDIT, FIRST, SECOND, edit

ENDED = replace(SECOND, state=TaskState.ENDED, task_id="t1", outcome="failed")


def test_each_field_has_its_column() -> None:
    """A field that is added to a record cannot be forgotten on the disk."""
    assert [*EDIT_COLUMNS, "tasks"] == [field.name for field in fields(EditRecord)]
    assert set(TASK_COLUMNS) == {"edit_id", *(field.name for field in fields(TaskRecord))}


@pytest.mark.parametrize(
    ("record", "tasks"),
    [
        pytest.param(EDIT, (), id="no-task"),
        pytest.param(EDIT, (FIRST, ENDED), id="two-tasks"),
        pytest.param(replace(EDIT, ignored=()), (FIRST,), id="nothing-ignored"),
        pytest.param(replace(EDIT, ignored=("\udc80", "ä")), (), id="names-of-any-letters"),
        pytest.param(replace(EDIT, adjusted=("1:rotated",)), (), id="adjusted"),
        pytest.param(
            replace(EDIT, compression=0, scale_to=Size(512, 8), composite=True), (), id="finished"
        ),
        pytest.param(replace(EDIT, promised=True), (), id="promised"),
        pytest.param(edit("edit_2"), (), id="no-key"),
        pytest.param(replace(EDIT, error_retry=True, error_code="c"), (), id="failed"),
    ],
)
def test_a_record_survives_its_row(record: EditRecord, tasks: tuple[TaskRecord, ...]) -> None:
    """Out of the rows comes what went in."""
    row = row_of_edit(record)
    task_rows = [row_of_task(record.edit_id, task) for task in tasks]

    assert edit_of_row(row, task_rows) == replace(record, tasks=tasks)


def test_a_row_holds_plain_types() -> None:
    """Subclasses of str and int would bind slowly."""
    values = (*row_of_edit(EDIT), *row_of_task("edit_1", FIRST))

    assert {type(value) for value in values} == {str, int, float, type(None)}


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        pytest.param("No more.", "No more.", id="plain"),
        pytest.param("See https://a.example/b?c=d now.", "See [URL] now.", id="url"),
        pytest.param("oss://bucket/key", "[URL]", id="any-scheme"),
        pytest.param("half \ud83d", "half ?", id="half-a-letter"),
    ],
)
def test_what_is_kept_of_a_message(message: str, kept: str) -> None:
    """URLs go, and what no file can hold; the rest is as it was told."""
    assert message_without_urls(UpstreamFailed(message)) == kept
