"""An edit as the ledger remembers it → an edit of this process, by today's config."""

from collections.abc import Mapping
from dataclasses import replace

from gateway.domain.edit import (
    Edit,
    OutputOptions,
    Part,
    ResponseFormat,
    parts_of,
)
from gateway.domain.errors import GatewayError, ResultUnavailable, TaskLost, rebuild_error
from gateway.domain.models import Model
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.tenant import Tenant, Upstream
from gateway.edits.active_edit import ActiveEdit, PartRun
from gateway.edits.lifecycle import EditLife, PartLife, Stage
from gateway.edits.resolve import lost
from gateway.edits.takeover import Takeover


def restore_edit(
    record: EditRecord,
    model: Model,
    *,
    tenants: Mapping[str, Tenant],
    takeover: Takeover,
    now: float,
    epoch: float,
    replay: bool,
) -> ActiveEdit:
    """
    Return the edit of *record*, to be looked at, answered again or carried on.

    A part whose account is not configured any more has its end: no key can look for it.

    Args:
        record: What the ledger has.
        model: That of the edit.
        tenants: All that are configured, by name.
        takeover: Finds who sees a task.
        now: Monotonic.
        epoch: The same moment by the calendar.
        replay: A client asked for an edit that had ended before; else it is taken over.
    """
    tasks = {task.part: task for task in record.tasks}
    upstreams = {index: takeover.of(record, task) for index, task in tasks.items()}
    parts = _parts(record, model.most_made)
    life = EditLife(
        tuple(_part_life(tasks.get(part.index), upstreams.get(part.index)) for part in parts),
        one_shot=not model.has_tasks,
        keyed=record.idempotency_key is not None,
        stage=Stage.RUNNING if record.tasks else Stage.WAITING,
        restored=True,
        replay=replay,
        promised=record.promised,
        delivered=record.delivered,
    )
    active = ActiveEdit(
        edit_id=record.edit_id,
        tenant=_tenant(record, tenants),
        edit=_edit(record),
        model=model,
        digest=record.digest,
        prompt_digest=record.prompt_digest,
        prompt_forms=record.prompt_forms,
        created=record.created,
        life=life,
        runs=tuple(PartRun(part, life) for part in parts),
        since=now,
        arrived=now - max(0.0, epoch - record.created),
        idempotency_key=record.idempotency_key,
    )
    if record.state is EditState.FAILED:
        active.end(
            rebuild_error(
                record.error_kind,
                record.error_code,
                record.error_message,
                retry=record.error_retry,
            )
        )
    elif record.state is EditState.SUCCEEDED:
        out_of_reach = None in upstreams.values()
        active.end(_made_but_out_of_reach() if out_of_reach else None)
    return active


def _tenant(record: EditRecord, tenants: Mapping[str, Tenant]) -> Tenant:
    """
    Return whom the edit belongs to, in the region where it was made, if it was.

    A tenant that is gone from the config has no key: its edits are carried to their end, and
    no client can collect them.
    """
    tenant = tenants.get(record.tenant)
    if tenant is None:
        return Tenant(record.tenant, record.region, upstreams=())
    return replace(tenant, region=record.region) if record.tasks else tenant


def _edit(record: EditRecord) -> Edit:
    return Edit(
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


def _parts(record: EditRecord, most: int) -> tuple[Part, ...]:
    """Return every part of an edit, with its seed if the seed of one is known."""
    seeds = [task.seed - most * task.part for task in record.tasks if task.seed is not None]
    seed = seeds[0] if seeds else None
    return tuple(parts_of(Edit(model=record.model, prompt="", n=record.n, seed=seed), most))


def _part_life(task: TaskRecord | None, upstream: Upstream | None) -> PartLife:
    """Return the state of one part; one without a record was never submitted."""
    if task is None:
        return PartLife()
    return PartLife(
        stage=Stage.UNCERTAIN if task.task_id is None else Stage.RUNNING,
        upstream=upstream,
        intended_at=task.intended_at,
        attempt=task.attempt,
        task_id=task.task_id,
        error=_known_end(task, upstream),
    )


def _known_end(task: TaskRecord, upstream: Upstream | None) -> GatewayError | None:
    """Return why a part's task is not looked for (any more)."""
    if upstream is None:
        return TaskLost(
            "The upstream account of this edit's task is no longer configured: whether it made "
            "pictures is not known."
        )
    return lost() if task.state is TaskState.ENDED and task.task_id is None else None


def _made_but_out_of_reach() -> ResultUnavailable:
    return ResultUnavailable(
        "The pictures were made, but the upstream account that made them is no longer configured.",
        retry=False,
    )
