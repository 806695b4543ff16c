"""x"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.sandbox.calls import Call
from gateway.sandbox.checks import (
    Envelope,
    PictureRules,
    broken_order,
    invalid,
    look_at,
    not_asynchronous,
    read_envelope,
    read_order,
)
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.faults import Action, End, Late, end_by_prompt
from gateway.sandbox.limits import Caller
from gateway.sandbox.models import AT_ONCE, rules_of
from gateway.sandbox.responses import Refusal, refuse, reply, status_of, text_of
from gateway.sandbox.tasks import Order, Task


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit that has passed its checks, and what a script makes of it."""

    caller: Caller
    order: Order
    end: End
    action: Action | None

    def make(self, call: Call) -> Task:
        """Make its task, at once or as late as the script says."""
        delay = self.action.seconds if isinstance(self.action, Late) else 0.0
        return call.region.make(self.caller, self.order, self.end, call.request_id, delay)


async def submit(call: Call, path: str) -> Response:
    """
    Make a task of a model that is served at *path*.

    Raises:
        Refusal: Whatever the headers, the body or the account's limit are refused for.
    """
    asked = await read_submit(call, path)

    async def work() -> Response:
        output = {"task_status": "PENDING", "task_id": asked.make(call).id}
        return reply(call.request_id, {"output": output})

    return await call.play(asked.action, work)


async def read_submit(call: Call, path: str) -> Submit:
    """
    Read a submit of a model that is served at *path*.

    Raises:
        Refusal: Whatever the headers, the body or the account's limit are refused for.
    """
    region = call.region
    caller = call.caller("submit")
    at_once = path == AT_ONCE
    _check_headers(call.request.headers, at_once=at_once)
    body = await call.request.body()
    limit = region.config.max_body_bytes
    if limit is not None and len(body) > limit:
        raise Refusal(
            400, "BadRequest.TooLarge", f"Exceeded limit on max bytes to request body : {limit}"
        )
    envelope = read_envelope(body, _served(region.config, path), at_once=at_once)
    order, end = await _read(call, caller, envelope)
    action = call.fault(prompt=order.prompt, number=region.books.made)
    return Submit(caller, order, action if isinstance(action, End) else end, action)


def _served(config: SandboxConfig, path: str) -> tuple[str, ...]:
    return tuple(model for model in config.models if rules_of(model).path == path)


def _check_headers(headers: Headers, *, at_once: bool) -> None:
    asynchronous = headers.get("x-dashscope-async") == "enable"
    if asynchronous and at_once:
        raise not_asynchronous()
    if not asynchronous and not at_once:
        raise Refusal(403, "AccessDenied", "current user api does not support synchronous calls.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise invalid("Required body invalid, please check the request body format.")


async def _read(call: Call, caller: Caller, envelope: Envelope) -> tuple[Order, End]:
    config = call.region.config
    model = rules_of(envelope.model)
    rules = PictureRules(
        max_bytes=config.max_image_bytes,
        refuse_alpha=config.refuse_alpha,
        decodes=config.picture == "made",
        sides=model.sides,
        formats=model.formats,
    )
    resolves = call.request.headers.get("x-dashscope-ossresourceresolve") == "enable"

    def uploaded(url: str) -> bytes:
        if not resolves:
            raise Refusal(
                400,
                "InvalidParameter.DataInspection",
                "The media format is not supported or incorrect for the data inspection.",
            )
        uploads = call.region.uploads
        epoch = call.region.epoch()
        return uploads.read(url, caller.account, envelope.model, epoch)

    read = partial(read_order, envelope, partial(look_at, rules=rules, uploaded=uploaded))
    try:
        order = await to_thread.run_sync(read) if rules.decodes else read()
    except Refusal as refusal:
        if not config.late_checks:
            raise
        end = End("FAILED", refusal.code, refusal.message, seconds=0.0)
        return broken_order(envelope), end
    return order, end_by_prompt(order.prompt)


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
