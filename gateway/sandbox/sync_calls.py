"""
A submit whose answer is the result: the synchronous message protocol (section 9).

The connection stands open as long as a task would run. The work is paid for whoever still waits:
it is booked when it begins, and ends by the clock.
"""

from dataclasses import replace

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.sandbox.answers import Refusal, refuse, reply, status_of, text_of
from gateway.sandbox.doors import Call
from gateway.sandbox.faults import End, Late
from gateway.sandbox.models import AT_ONCE
from gateway.sandbox.submits import read_submit
from gateway.sandbox.task import Task


async def generate(call: Call) -> Response:
    """
    Do the work of a model that answers at once.

    Raises:
        Refusal: Whatever the headers, the body or the account's limit are refused for.
        ClientDisconnect: The caller left before the answer; the work is billed.
    """
    read = await read_submit(call, AT_ONCE)
    asked = replace(read, end=_that_can_be_said(read.end))

    async def work() -> Response:
        task = asked.make(call)
        if isinstance(asked.action, Late):
            # Its connection is cut before the work begins: nobody waits for this answer.
            return Response()
        await call.region.clock.sleep(task.seconds)
        if await call.request.is_disconnected():
            raise ClientDisconnect
        return _answer(call, task)

    return await call.play(asked.action, work)


def _that_can_be_said(end: End) -> End:
    return end if end.status == "SUCCEEDED" else replace(end, status="FAILED")


def _answer(call: Call, task: Task) -> Response:
    region, end = call.region, task.end
    # A sleep may end a little early by the clock.
    now = max(region.settled_now(), task.submitted + task.seconds)
    if task.status(now) == "FAILED":
        text = end.message or text_of(end.code)
        return refuse(call.request_id, Refusal(status_of(end.code), end.code, text))
    urls = region.result_urls(task, now, region.base(call.request))
    content = [{"image": url} for index, url in enumerate(urls) if index not in task.failures]
    message = {"role": "assistant", "content": content}
    width, height = task.order.made_size
    return reply(
        call.request_id,
        {
            "output": {"choices": [{"finish_reason": "stop", "message": message}]},
            "usage": {"image_count": len(content), "width": width, "height": height},
        },
    )
