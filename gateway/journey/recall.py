"""An edit as the ledger remembers it → an edit of this process, if the config still knows it."""

from collections.abc import Mapping

from gateway.domain.edit import (
    AnswerForm,
    Edit,
    Part,
    ResponseFormat,
    most_of_a_task,
    parts_of,
)
from gateway.domain.errors import NotFound, remembered
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.tenant import Tenant, Upstream
from gateway.journey.errand import Errand, Leg, Stage
from gateway.journey.settle import lost


class Recall:
    """Rebuilds edits, to be looked at, answered again or carried on."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._tenants = tenants
        self._upstreams = {u.name: u for t in tenants.values() for u in t.upstreams}

    def __call__(self, record: EditRecord) -> Errand:
        """
        Return the edit of *record*.

        Raises:
            NotFound: its tenant or an upstream of its tasks is no longer configured.
        """
        tenant = self._tenants.get(record.tenant)
        if tenant is None or not all(self._still_ours(task) for task in record.tasks):
            raise NotFound("This edit's tenant or upstream is no longer configured.")
        errand = _rebuilt(record, tenant, self._upstreams)
        errand.replay = True
        if record.state is EditState.FAILED:
            kind, code, message = record.error_kind, record.error_code, record.error_message
            errand.end(Stage.FAILED, remembered(kind, code, message, retry=record.error_retry))
        elif record.state is EditState.SUCCEEDED:
            errand.end(Stage.SUCCEEDED)
        return errand

    def _still_ours(self, task: TaskRecord) -> bool:
        """Whether the task's upstream still means the account that made it."""
        upstream: Upstream | None = self._upstreams.get(task.upstream)
        return upstream is not None and upstream.account.name == task.account


def _rebuilt(record: EditRecord, tenant: Tenant, upstreams: dict[str, Upstream]) -> Errand:
    """Rebuild an errand from the ledger; parts without a record were never submitted."""
    edit = Edit(
        model=record.model,
        prompt="",
        n=record.n,
        answer=AnswerForm(
            response_format=ResponseFormat(record.response_format),
            output_format=record.output_format,
            compression=record.compression,
            scale_to=record.scale_to,
            composite=record.composite,
        ),
        ignored=record.ignored,
        adjusted=record.adjusted,
    )
    stages = {EditState.OPEN: Stage.RUNNING, EditState.SUCCEEDED: Stage.SUCCEEDED}
    return Errand(
        edit_id=record.edit_id,
        tenant=tenant,
        edit=edit,
        digest=record.digest,
        prompt_digest=record.prompt_digest,
        created=record.created,
        pictures=None,
        legs=_remembered_legs(record, upstreams),
        idempotency_key=record.idempotency_key,
        stage=stages.get(record.state, Stage.FAILED),
        kept=True,
        delivered=record.delivered,
    )


def _remembered_legs(record: EditRecord, upstreams: dict[str, Upstream]) -> tuple[Leg, ...]:
    """Return every part of an edit; those without a record were never submitted."""
    known = {task.part: task for task in record.tasks}
    first = next((task for task in record.tasks if task.seed is not None), None)
    seed = (
        None
        if first is None or first.seed is None
        else first.seed - most_of_a_task(record.model) * first.part
    )
    edit = Edit(model=record.model, prompt="", n=record.n, seed=seed)
    return tuple(
        _remembered_leg(part, known[part.index], upstreams) if part.index in known else Leg(part)
        for part in parts_of(edit)
    )


def _remembered_leg(part: Part, task: TaskRecord, upstreams: dict[str, Upstream]) -> Leg:
    stages = {TaskState.SUBMITTING: Stage.UNCERTAIN, TaskState.ACCEPTED: Stage.RUNNING}
    return Leg(
        part=part,
        stage=stages.get(task.state, Stage.SUCCEEDED),
        upstream=upstreams[task.upstream],
        intended_at=task.intended_at,
        task_id=task.task_id,
        error=lost() if task.state is TaskState.ENDED and task.task_id is None else None,
    )
