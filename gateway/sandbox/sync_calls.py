"""
A submit whose answer is the result: the synchronous message protocol (section 9).

The connection stands open as long as a task would run. The work is paid for whether or not anybody
still waits: it is booked when it begins, and ends by the clock.
"""

import asyncio
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
        if not await _waited(call, task.seconds):
            raise ClientDisconnect
        return _answer(call, task)

    return await call.play(asked.action, work)


async def _waited(call: Call, seconds: float) -> bool:
    """Tell whether the caller stayed for so many seconds, as soon as that is known."""
    async with asyncio.TaskGroup() as group:
        lasting = group.create_task(call.region.clock.sleep(seconds))
        leaving = group.create_task(_leaves(call))
        await asyncio.wait({lasting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        lasting.cancel()
        leaving.cancel()
    return not lasting.cancelled()


async def _leaves(call: Call) -> None:
    # Its body has been read: nothing else can come.
    await call.request.receive()


def _that_can_be_said(end: End) -> End:
    return end if end.status == "SUCCEEDED" else replace(end, status="FAILED")


def _answer(call: Call, task: Task) -> Response:
    region = call.region
    end = task.end
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
