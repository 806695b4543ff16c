"""The access-log record of one request: filled while it is handled, written at its end."""

import re
import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers

from gateway.domain.clock import Phases
from gateway.domain.errors import GatewayError
from gateway.edits.request import EditStatus

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONGEST_PATH = 200
_KEY = "gateway.access_record"


@dataclass(slots=True)
class AccessRecord:
    """What is logged of one request: no key, no prompt and no URL of a picture (P13)."""

    request_id: str
    method: str
    path: str
    """As the client wrote it, without the query."""
    started: float
    """By the monotonic clock."""
    route: str = ""
    """The path's template; empty until a route took the request."""
    tenant: str = ""
    edit: EditStatus | None = None
    """The edit, once there is one."""
    retry_count: int = 0
    results: int = 0
    """Pictures that are answered by a URL of ours."""
    phases: Phases | None = None
    overhead: float = 0.0
    """Seconds of our own work: neither the client's, nor the queue's, nor upstream's."""
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
    """Of the response; 0 while there is none."""
    outcome: str = ""
    """``ok``, ``customer_left``, or the code of the error."""
    upstream_code: str = ""
    upstream_message: str = ""
    """Upstream's own sentence, where the client gets another."""
    upstream_request_id: str = ""
    bug: str = ""
    """Where an unforeseen exception came from: names and lines, no values."""
    seconds: float = 0.0
    body_in: int = 0
    body_ended: bool = False
    """Whether the last byte of the request was read."""
    body_out: int = 0

    def note_error(self, error: GatewayError) -> None:
        """Take over the code of *error*, and what upstream said."""
        self.outcome = error.code
        self.upstream_code = error.upstream_code or ""
        self.upstream_message = error.upstream_message or ""
        self.upstream_request_id = error.upstream_request_id or ""


def begin_record(scope: MutableMapping[str, Any], now: float) -> AccessRecord:
    """Attach a new record to *scope*, under the client's own ``x-request-id`` if it is valid."""
    own = Headers(scope=scope).get("x-request-id", "")
    record = AccessRecord(
        request_id=own if _REQUEST_ID.fullmatch(own) else f"req_{uuid4().hex}",
        method=scope["method"],
        path=scope["path"][:_LONGEST_PATH],
        started=now,
    )
    scope[_KEY] = record
    return record


def record_of(scope: MutableMapping[str, Any]) -> AccessRecord:
    """Return the record of the request that *scope* belongs to."""
    record: AccessRecord = scope[_KEY]
    return record


def log_fields(record: AccessRecord) -> dict[str, Any]:
    """Return the log fields of a request; they are named like the metric labels."""
    edit = record.edit
    spent = record.phases.spent(record.started + record.seconds) if record.phases else {}
    return {
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path,
        "route": record.route,
        "code": record.status,
        "outcome": record.outcome,
        "tenant": record.tenant,
        "seconds": round(record.seconds, 4),
        "body_in": record.body_in,
        "body_out": record.body_out,
        "retry_count": record.retry_count or None,
        "results": record.results or None,
        "via": record.via,
        "owner": record.owner,
        "edit_id": edit.edit_id if edit else (record.edit_id or None) if record.owner else None,
        "trace_id": edit.trace_id if edit else None,
        "region": edit.region if edit else None,
        "task_ids": list(edit.task_ids) if edit else None,
        "upstream_code": record.upstream_code,
        "upstream_message": record.upstream_message,
        "upstream_request_id": record.upstream_request_id,
        "phase_seconds": {phase.value: round(seconds, 4) for phase, seconds in spent.items()},
        "bug": record.bug,
    }


def safe_traceback(exc: BaseException) -> str:
    """
    Return the classes and the lines of code of *exc* and of its causes.

    Messages are left out: they may quote what the client sent (P13).
    """
    lines: list[str] = []
    cause: BaseException | None = exc
    while cause is not None:
        lines += [type(cause).__qualname__, *traceback.format_tb(cause.__traceback__)]
        if isinstance(cause, BaseExceptionGroup):
            lines += [safe_traceback(one) for one in cause.exceptions]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(line.rstrip() for line in lines)
