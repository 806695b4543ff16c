"""Records for the ledger's tests."""

from dataclasses import replace

from gateway.domain.record import EditRecord, TaskRecord, TaskState

NOW = 1_790_000_000.0
"""Epoch seconds."""
DAY = 24 * 3600.0

EDIT = EditRecord(
    edit_id="edit_1",
    tenant="acme",
    region="beijing",
    digest="d" * 64,
    prompt_digest="p" * 64,
    model="wan2.5-i2i-preview",
    n=5,
    response_format="b64_json",
    output_format="png",
    created=NOW,
    idempotency_key="key-1",
    ignored=("user", "quality"),
)
FIRST = TaskRecord(
    part=0,
    n=4,
    upstream="beijing-main",
    account="acme-cn",
    state=TaskState.SUBMITTING,
    intended_at=NOW + 0.25,
    seed=7,
)
SECOND = replace(FIRST, part=1, n=1, seed=None)


def edit(edit_id: str, *, age: float = 0.0, key: str | None = None) -> EditRecord:
    """Return an edit that began *age* seconds before NOW."""
    return replace(EDIT, edit_id=edit_id, created=NOW - age, idempotency_key=key)


class Calendar:
    """The time of day, in a test's hand."""

    def __init__(self) -> None:
        self.epoch = NOW

    def __call__(self) -> float:
        return self.epoch
