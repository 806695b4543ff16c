"""An edit that has just ended → what an operator is told of it."""

from itertools import pairwise

from gateway.domain.ended import EndedEdit
from gateway.domain.errors import GatewayError
from gateway.edits.active_edit import ActiveEdit


def ended_edit(active: ActiveEdit, error: GatewayError | None, now: float) -> EndedEdit:
    """
    Describe *active*, which has just ended.

    Args:
        active: The edit.
        error: Why it made nothing; ``None``: it made pictures.
        now: Monotonic.
    """
    status = active.status
    edit = active.edit
    asked = edit.output.scale_to or edit.size
    made = {size for bill in active.bills for size in bill.sizes if size is not None}
    marks = [*active.timeline.marks, (now, None)]
    upstreams = {part.upstream.name: 0 for part in active.life.parts if part.upstream}
    return EndedEdit(
        edit_id=active.edit_id,
        request_ids=tuple(active.request_ids),
        tenant=active.tenant.name,
        region=active.tenant.region,
        model=edit.model,
        outcome="ok" if error is None else error.code,
        status=200 if error is None else error.status,
        upstreams=tuple(upstreams),
        accounts=status.accounts,
        task_ids=status.task_ids,
        upstream_request_ids=status.upstream_request_ids,
        n=edit.n,
        made=active.pictures_made,
        size="" if asked is None else str(asked),
        sizes_made=tuple(sorted(map(str, made))),
        seed=edit.seed,
        digest=active.digest[:16],
        adjusted=active.adjusted,
        ignored=edit.ignored,
        phase_seconds={
            phase.value: round(until - since, 4)
            for (since, phase), (until, _) in pairwise(marks)
            if phase is not None
        },
        seconds=round(now - active.since, 4),
        taken_over=active.life.restored,
        upstream_code="" if error is None else error.upstream_code or "",
        upstream_message="" if error is None else error.upstream_message or "",
        bills=active.bills,
    )
