"""x"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, get_args

from starlette.responses import Response

from gateway.sandbox.calls import Call
from gateway.sandbox.config import DAY, Listing
from gateway.sandbox.faults import Forget
from gateway.sandbox.models import rules_of
from gateway.sandbox.responses import Refusal, reply
from gateway.sandbox.tasks import BEIJING, Status, Task, query_body


async def query(call: Call) -> Response:
    """Tell how a task stands; UNKNOWN for one that is gone, or of another account."""
    task = call.task(call.caller("task_call"))
    action = call.fault_about(task)

    async def work() -> Response:
        return reply(call.request_id, _standing(call, None if action == Forget() else task))

    return await call.play(action, work)


def _standing(call: Call, task: Task | None) -> dict[str, object]:
    region = call.region
    if task is None:
        task_id = call.request.path_params["task_id"]
        return {"output": {"task_id": task_id, "task_status": "UNKNOWN"}}
    now = region.settled_now()
    urls = region.result_urls(task, now, region.base(call.request))
    return query_body(task, now, region.zero, urls)


async def list_tasks(call: Call) -> Response:
    """Give one page of the account's tasks of at most 24 hours."""
    caller = call.caller("task_call")
    region = call.region
    if region.config.listing.refused:
        raise Refusal(403, "AccessDenied", "Access denied.")
    listing = region.config.listing
    wanted = read_wanted(call.request.query_params, region.epoch(), listing.max_page_size)

    async def work() -> Response:
        now = region.settled_now()
        tasks = (task for task in region.books.listed(now) if task.account == caller.account)
        body = list_body(tasks, wanted, listing, now, region.zero, region.config.region)
        return reply(call.request_id, body)

    return await call.play(call.fault(), work)


async def cancel(call: Call) -> Response:
    """
    Take a task out of the line.

    Raises:
        Refusal: 400 ``UnsupportedOperation``; it is not PENDING.
    """
    task = call.task(call.caller("task_call"))

    async def work() -> Response:
        if task is None or not call.region.books.cancel(task, call.region.settled_now()):
            raise Refusal(
                400,
                "UnsupportedOperation",
                "Failed to cancel the task, please confirm if the task is in PENDING status.",
            )
        return reply(call.request_id, {})

    return await call.play(call.fault_about(task), work)


_STAMP = "%Y%m%d%H%M%S"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One list call. Times are epoch seconds, both ends included."""

    start: float
    end: float
    model: str | None
    status: str | None
    page: int
    page_size: int


def read_wanted(query: Mapping[str, str], epoch: float, max_page_size: int) -> Wanted:
    """
    Read the query parameters.

    Args:
        query: ``start_time``, ``end_time`` (``YYYYMMDDhhmmss``, Beijing time), ``model_name``,
            ``status``, ``page_no``, ``page_size``; empty means absent.
        epoch: The time, which ends the window that names no end.
        max_page_size: What a larger page is cut to.

    Raises:
        Refusal: 400 for a value of the wrong form, or a window of more than 24 h.
    """
    status = query.get("status") or None
    if status is not None and status not in get_args(Status):
        raise _wrong("status")
    start, end = _window(query, epoch)
    return Wanted(
        start=start,
        end=end,
        model=query.get("model_name") or None,
        status=status,
        page=_whole(query, "page_no", 1),
        page_size=min(_whole(query, "page_size", 10), max_page_size),
    )


def list_body(
    tasks: Iterable[Task], wanted: Wanted, listing: Listing, now: float, zero: float, region: str
) -> dict[str, Any]:
    """Say what a list call says, without its ``request_id``: the caller's *tasks* on one page."""
    seen = now - listing.lag_seconds
    hits = [task for task in tasks if task.submitted <= seen and _fits(task, wanted, seen, zero)]
    hits.sort(key=lambda task: (task.submitted, task.number), reverse=listing.newest_first)
    first = (wanted.page - 1) * wanted.page_size
    return {
        "data": [_row(task, seen, zero, region) for task in hits[first : first + wanted.page_size]],
        "total": len(hits),
        "total_page": -(-len(hits) // wanted.page_size),
        "page_no": wanted.page,
        "page_size": wanted.page_size,
    }


def _fits(task: Task, wanted: Wanted, seen: float, zero: float) -> bool:
    status = task.status(seen)
    return (
        wanted.start <= zero + task.submitted <= wanted.end
        and wanted.model in {None, task.order.model}
        and status != "UNKNOWN"
        and wanted.status in {None, status}
    )


def _row(task: Task, seen: float, zero: float, region: str) -> dict[str, Any]:
    made = round((zero + task.submitted) * 1000)
    account = str(int(sha256(task.account.encode()).hexdigest()[:12], 16))
    model = task.order.model
    row = {
        "api_key_id": sha256(task.key.encode()).hexdigest()[:8],
        "caller_parent_id": account,
        "caller_uid": account,
        "gmt_create": made,
        "start_time": made,
        "model_name": model,
        "region": region,
        "request_id": task.request_id,
        "status": task.status(seen),
        "task_id": task.id,
        "user_api_unique_key": f"apikey:v1:{rules_of(model).function}:{model}",
    }
    if task.ended is not None and task.ended <= seen:
        row["end_time"] = round((zero + task.ended) * 1000)
    return row


def _window(query: Mapping[str, str], epoch: float) -> tuple[float, float]:
    start = _moment(query, "start_time")
    end = _moment(query, "end_time")
    if end is None:
        end = epoch if start is None else min(epoch, start + DAY)
    if start is None:
        start = end - DAY
    if end - start > DAY:
        raise _wrong("start_time")
    return start, end


def _moment(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, _STAMP).replace(tzinfo=BEIJING).timestamp()
    except ValueError as exc:
        raise _wrong(name) from exc


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _wrong(name)
    return int(text)


def _wrong(name: str) -> Refusal:
    return Refusal(400, "InvalidParameter", f"The type or value of {name} is out of definition.")
