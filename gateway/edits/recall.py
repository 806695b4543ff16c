"""An edit as the ledger remembers it → an edit of this process, whatever the config says today."""

from collections.abc import Mapping
from dataclasses import replace

from gateway.domain.edit import (
    Edit,
    OutputOptions,
    Part,
    ResponseFormat,
    most_of_a_task,
    parts_of,
)
from gateway.domain.errors import GatewayError, ResultUnavailable, TaskLost, rebuild_error
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.tenant import Tenant, Upstream
from gateway.edits.active_edit import ActiveEdit, PartRun, Stage
from gateway.edits.resolve import lost
from gateway.edits.takeover import Takeover


class Recall:
    """Rebuilds edits, to be looked at, answered again or carried on."""

    def __init__(self, tenants: Mapping[str, Tenant], takeover: Takeover) -> None:
        self._tenants = tenants
        self._takeover = takeover

    def __call__(self, record: EditRecord) -> ActiveEdit:
        """
        Return the edit of *record*.

        A part whose account is not configured any more has its end: nobody can look for it.
        """
        upstreams = {task.part: self._takeover.of(record, task) for task in record.tasks}
        active = _rebuilt(record, self._tenant(record), upstreams)
        active.replay = True
        if record.state is EditState.FAILED:
            kind = record.error_kind
            code = record.error_code
            message = record.error_message
            active.end(Stage.FAILED, rebuild_error(kind, code, message, retry=record.error_retry))
        elif record.state is EditState.SUCCEEDED and None in upstreams.values():
            active.end(Stage.FAILED, _made_but_out_of_reach())
        elif record.state is EditState.SUCCEEDED:
            active.end(Stage.SUCCEEDED)
        return active

    def _tenant(self, record: EditRecord) -> Tenant:
        """
        Return whom the edit belongs to, in the region where it was made, if it was.

        A tenant that is gone from the config has no key: its edits are carried to their end,
        and nobody can collect them.
        """
        tenant = self._tenants.get(record.tenant)
        if tenant is None:
            return Tenant(record.tenant, record.region, upstreams=())
        return replace(tenant, region=record.region) if record.tasks else tenant


def _made_but_out_of_reach() -> ResultUnavailable:
    return ResultUnavailable(
        "The pictures were made, but the upstream account that made them is no longer configured.",
        retry=False,
    )


def _out_of_reach() -> TaskLost:
    return TaskLost(
        "The upstream account of this edit's task is no longer configured: whether it made "
        "pictures is not known."
    )


def _rebuilt(
    record: EditRecord, tenant: Tenant, upstreams: Mapping[int, Upstream | None]
) -> ActiveEdit:
    """Rebuild an edit from the ledger; parts without a record were never submitted."""
    edit = Edit(
        model=record.model,
        prompt="",
        n=record.n,
        output=OutputOptions(
            response_format=ResponseFormat(record.response_format),
            output_format=record.output_format,
            compression=record.compression,
            scale_to=record.scale_to,
            composite=record.composite,
        ),
        ignored=record.ignored,
        adjusted=record.adjusted,
    )
    on_its_way = Stage.RUNNING if record.tasks else Stage.WAITING
    stages = {EditState.OPEN: on_its_way, EditState.SUCCEEDED: Stage.SUCCEEDED}
    return ActiveEdit(
        edit_id=record.edit_id,
        tenant=tenant,
        edit=edit,
        digest=record.digest,
        prompt_digest=record.prompt_digest,
        prompt_forms=record.prompt_forms,
        created=record.created,
        pictures=None,
        runs=_remembered_runs(record, upstreams),
        idempotency_key=record.idempotency_key,
        stage=stages.get(record.state, Stage.FAILED),
        kept=True,
        promised=record.promised,
        recorded=True,
        delivered=record.delivered,
    )


def _remembered_runs(
    record: EditRecord, upstreams: Mapping[int, Upstream | None]
) -> tuple[PartRun, ...]:
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
        _remembered_run(part, known[part.index], upstreams[part.index])
        if part.index in known
        else PartRun(part)
        for part in parts_of(edit)
    )


def _remembered_run(part: Part, task: TaskRecord, upstream: Upstream | None) -> PartRun:
    stages = {TaskState.SUBMITTING: Stage.UNCERTAIN, TaskState.ACCEPTED: Stage.RUNNING}
    return PartRun(
        part=part,
        stage=stages.get(task.state, Stage.SUCCEEDED),
        upstream=upstream,
        intended_at=task.intended_at,
        task_id=task.task_id,
        error=_known_end(task, upstream),
    )


def _known_end(task: TaskRecord, upstream: Upstream | None) -> GatewayError | None:
    """Return why nobody looks for a part's task (any more)."""
    if upstream is None:
        return _out_of_reach()
    return lost() if task.state is TaskState.ENDED and task.task_id is None else None
