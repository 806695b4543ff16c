"""Query, list and cancel: what an account may ask about its tasks (sections 3 and 4)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, get_args

from starlette.responses import Response

from gateway.sandbox.answers import messages_output, usage
from gateway.sandbox.calls import ApiCall
from gateway.sandbox.config import DAY, ListOptions
from gateway.sandbox.faults import End, Forget
from gateway.sandbox.models import rules_of
from gateway.sandbox.responses import Refusal, message_of, reply
from gateway.sandbox.tasks import BEIJING, SandboxTask, Status, wire_time

_TIME_FORMAT = "%Y%m%d%H%M%S"


async def query(call: ApiCall) -> Response:
    """Return the state of a task: UNKNOWN if it has expired or belongs to another account."""
    task = call.task(call.caller("task_call"))
    action = call.fault_for_task(task)

    async def work() -> Response:
        return reply(call.request_id, _query_body(call, None if action == Forget() else task))

    return await call.respond(action, work)


def _query_body(call: ApiCall, task: SandboxTask | None) -> dict[str, object]:
    region = call.region
    if task is None:
        task_id = call.request.path_params["task_id"]
        return {"output": {"task_id": task_id, "task_status": "UNKNOWN"}}
    now = region.advance()
    urls = region.result_urls(task, now, region.base(call.request))
    apart = region.config.choices == "each"
    return query_body(task, now, region.epoch_offset, urls, apart=apart)


async def list_tasks(call: ApiCall) -> Response:
    """Return one page of the account's tasks, within a window of at most 24 hours."""
    caller = call.caller("task_call")
    region = call.region
    if region.config.listing.refused:
        raise Refusal(403, "AccessDenied", "Access denied.")
    listing = region.config.listing
    query = read_list_query(call.request.query_params, region.epoch(), listing.max_page_size)

    async def work() -> Response:
        now = region.advance()
        tasks = (task for task in region.tasks.listable(now) if task.account == caller.account)
        body = list_body(tasks, query, listing, now, region.epoch_offset, region.config.region)
        return reply(call.request_id, body)

    return await call.respond(call.fault(), work)


async def cancel(call: ApiCall) -> Response:
    """
    Cancel a queued task.

    Raises:
        Refusal: 400 ``UnsupportedOperation`` if it is not PENDING.
    """
    task = call.task(call.caller("task_call"))

    async def work() -> Response:
        if task is None or not call.region.tasks.cancel(task, call.region.advance()):
            raise Refusal(
                400,
                "UnsupportedOperation",
                "Failed to cancel the task, please confirm if the task is in PENDING status.",
            )
        return reply(call.request_id, {})

    return await call.respond(call.fault_for_task(task), work)


def query_body(
    task: SandboxTask,
    now: float,
    epoch_offset: float,
    urls: list[str],
    *,
    apart: bool = False,
) -> dict[str, Any]:
    """
    Build the response to a query, without its ``request_id`` (reference section 3.3).

    Args:
        task: Any task of the caller.
        now: The region's clock, in seconds.
        epoch_offset: Epoch of that clock's 0.
        urls: A result URL for each image.
        apart: As for `messages_output`.
    """
    status = task.status(now)
    output: dict[str, Any] = {"task_id": task.id, "task_status": status}
    if status == "UNKNOWN":
        return {"output": output}
    newer = rules_of(task.request.model).form == "messages"
    if newer and status == "FAILED":  # it has neither times nor counts
        return {"output": {**output, **_failure(task.end)}}
    output["submit_time"] = wire_time(epoch_offset + task.submitted)
    if task.started is not None:
        output["scheduled_time"] = wire_time(epoch_offset + task.started)
    if status in {"PENDING", "RUNNING"}:
        if status == "RUNNING":
            output["task_metrics"] = {"TOTAL": task.request.n, "SUCCEEDED": 0, "FAILED": 0}
        return {"output": output}
    output["end_time"] = wire_time(epoch_offset + (task.ended or now))
    if status == "CANCELED":
        return {"output": output}
    failed = len(task.failures)
    if newer:
        output |= messages_output(task, urls, apart=apart)
        return {"output": output, "usage": usage(task)}
    output["task_metrics"] = {
        "TOTAL": task.request.n,
        "SUCCEEDED": task.request.n - failed,
        "FAILED": failed,
    }
    if status == "FAILED":
        return {"output": {**output, **_failure(task.end)}}
    output["results"] = [_result(task, index, url) for index, url in enumerate(urls)]
    return {"output": output, "usage": {"image_count": task.request.n - failed}}


def _result(task: SandboxTask, index: int, url: str) -> dict[str, str]:
    if index in task.failures:
        return _failure(task.end)
    fields = {"orig_prompt": task.request.prompt}
    if task.request.prompt_extend:
        fields["actual_prompt"] = task.request.actual_prompt
    return {**fields, "url": url}


def _failure(end: End) -> dict[str, str]:
    return {"code": end.code, "message": end.message or message_of(end.code)}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a list call. Times are epoch seconds, both ends included."""

    start: float
    end: float
    model: str | None
    status: str | None
    page: int
    page_size: int


def read_list_query(query: Mapping[str, str], epoch: float, max_page_size: int) -> ListQuery:
    """
    Read the query parameters.

    Args:
        query: ``start_time``, ``end_time`` (``YYYYMMDDhhmmss``, Beijing time), ``model_name``,
            ``status``, ``page_no``, ``page_size``; empty means absent.
        epoch: The current time, the end of a window that names none.
        max_page_size: A larger ``page_size`` is reduced to this.

    Raises:
        Refusal: 400 for a malformed value, or a window of more than 24 h.
    """
    status = query.get("status") or None
    if status is not None and status not in get_args(Status):
        raise _out_of_definition("status")
    start, end = _window(query, epoch)
    return ListQuery(
        start=start,
        end=end,
        model=query.get("model_name") or None,
        status=status,
        page=_positive(query, "page_no", 1),
        page_size=min(_positive(query, "page_size", 10), max_page_size),
    )


def list_body(
    tasks: Iterable[SandboxTask],
    query: ListQuery,
    listing: ListOptions,
    now: float,
    epoch_offset: float,
    region: str,
) -> dict[str, Any]:
    """Build the response to a list call, without its ``request_id``: one page of *tasks*."""
    at = now - listing.lag_seconds
    hits = [
        task for task in tasks if task.submitted <= at and _matches(task, query, at, epoch_offset)
    ]
    hits.sort(key=lambda task: (task.submitted, task.number), reverse=listing.newest_first)
    first = (query.page - 1) * query.page_size
    return {
        "data": [
            _row(task, at, epoch_offset, region) for task in hits[first : first + query.page_size]
        ],
        "total": len(hits),
        "total_page": -(-len(hits) // query.page_size),
        "page_no": query.page,
        "page_size": query.page_size,
    }


def _matches(task: SandboxTask, query: ListQuery, at: float, epoch_offset: float) -> bool:
    status = task.status(at)
    return (
        query.start <= epoch_offset + task.submitted <= query.end
        and query.model in {None, task.request.model}
        and status != "UNKNOWN"
        and query.status in {None, status}
    )


def _row(task: SandboxTask, at: float, epoch_offset: float, region: str) -> dict[str, Any]:
    submitted = round((epoch_offset + task.submitted) * 1000)
    account = str(int(sha256(task.account.encode()).hexdigest()[:12], 16))
    model = task.request.model
    row = {
        "api_key_id": sha256(task.key.encode()).hexdigest()[:8],
        "caller_parent_id": account,
        "caller_uid": account,
        "gmt_create": submitted,
        "start_time": submitted,
        "model_name": model,
        "region": region,
        "request_id": task.request_id,
        "status": task.status(at),
        "task_id": task.id,
        "user_api_unique_key": f"apikey:v1:{rules_of(model).function}:{model}",
    }
    if task.ended is not None and task.ended <= at:
        row["end_time"] = round((epoch_offset + task.ended) * 1000)
    return row


def _window(query: Mapping[str, str], epoch: float) -> tuple[float, float]:
    start = _time(query, "start_time")
    end = _time(query, "end_time")
    if end is None:
        end = epoch if start is None else min(epoch, start + DAY)
    if start is None:
        start = end - DAY
    if end - start > DAY:
        raise _out_of_definition("start_time")
    return start, end


def _time(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=BEIJING).timestamp()
    except ValueError as exc:
        raise _out_of_definition(name) from exc


def _positive(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _out_of_definition(name)
    return int(text)


def _out_of_definition(name: str) -> Refusal:
    return Refusal(400, "InvalidParameter", f"The type or value of {name} is out of definition.")
