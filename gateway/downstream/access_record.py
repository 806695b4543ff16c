"""What one request's log line will say: filled on its way, written at its end."""

import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.clock import Phases
from gateway.edits.request import EditStatus

_KEY = "gateway.request_line"


@dataclass(slots=True)
class AccessRecord:
    """One request. Holds nothing that is secret: no key, no prompt, no URL of a picture."""

    request_id: str
    method: str
    path: str
    """As the client wrote it, without the query."""
    started: float
    """By the monotonic clock."""
    route: str = ""
    """The path's template; empty until a page took the request."""
    tenant: str = ""
    told: EditStatus | None = None
    """The edit, once there is one."""
    retry_count: int = 0
    phases: Phases | None = None
    overhead: float = 0.0
    """Seconds that were neither the client's, nor the line's, nor upstream's."""
    via: str = ""
    """The node that a client sent it to, if that is another one (gateway.cluster)."""
    owner: str = ""
    """The node that it was passed to."""
    edit_id: str = ""
    """What its edit is to be called; empty: the edit's own node decides."""
    repeats: bool = False
    """Whether that edit may have begun already, at another node."""
    waited: float = 0.0
    """Seconds for which its client has waited since the body was read at another node."""
    status: int = 0
    """Of the answer; 0 while there is none."""
    outcome: str = ""
    """``ok``, ``customer_left``, or the code of the refusal."""
    upstream_code: str = ""
    upstream_message: str = ""
    """Upstream's own sentence, where the client is told another."""
    upstream_request_id: str = ""
    bug: str = ""
    """Where an unforeseen exception came from: names and lines, no values."""
    seconds: float = 0.0
    body_in: int = 0
    body_ended: bool = False
    """Whether the last byte of the request was read."""
    body_out: int = 0


def attach(scope: MutableMapping[str, Any], line: AccessRecord) -> None:
    scope[_KEY] = line


def record_of(scope: MutableMapping[str, Any]) -> AccessRecord:
    """Return the line of the request that *scope* belongs to."""
    line: AccessRecord = scope[_KEY]
    return line


def fields_of(line: AccessRecord) -> dict[str, Any]:
    """Return what the log says of a request; names are those of the metric labels."""
    told = line.told
    spent = line.phases.spent(line.started + line.seconds) if line.phases else {}
    return {
        "request_id": line.request_id,
        "method": line.method,
        "path": line.path,
        "route": line.route,
        "code": line.status,
        "outcome": line.outcome,
        "tenant": line.tenant,
        "seconds": round(line.seconds, 4),
        "body_in": line.body_in,
        "body_out": line.body_out,
        "retry_count": line.retry_count or None,
        "via": line.via,
        "owner": line.owner,
        "edit_id": told.edit_id if told else None,
        "trace_id": told.trace_id if told else None,
        "region": told.region if told else None,
        "task_ids": list(told.task_ids) if told else None,
        "upstream_code": line.upstream_code,
        "upstream_message": line.upstream_message,
        "upstream_request_id": line.upstream_request_id,
        "phase_seconds": {phase: round(seconds, 4) for phase, seconds in spent.items()},
        "bug": line.bug,
    }


def safe_traceback(exc: BaseException) -> str:
    """
    Return the classes and the lines of code of *exc* and of what it came from.

    No messages: they may quote what the client sent.
    """
    lines: list[str] = []
    cause: BaseException | None = exc
    while cause is not None:
        lines += [type(cause).__qualname__, *traceback.format_tb(cause.__traceback__)]
        if isinstance(cause, BaseExceptionGroup):
            lines += [safe_traceback(one) for one in cause.exceptions]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(line.rstrip() for line in lines)
