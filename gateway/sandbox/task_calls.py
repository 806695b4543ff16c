"""Query, list and cancel: what an account may ask about its tasks (sections 3 and 4)."""

from starlette.responses import Response

from gateway.sandbox.answers import Refusal, reply
from gateway.sandbox.doors import Call
from gateway.sandbox.faults import Forget
from gateway.sandbox.lists import list_body, read_wanted
from gateway.sandbox.task import Task, query_body


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
