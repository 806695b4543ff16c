"""
The submit calls: checks of headers and body, then a task or the result (sections 1, 2 and 9).

A synchronous submit holds its connection open for as long as a task would run. Its work is paid for
even if the caller disconnects: it is stored as a task when it begins, and ends by the clock.
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.sandbox.answers import messages_output, usage
from gateway.sandbox.calls import ApiCall
from gateway.sandbox.checks import (
    Envelope,
    PictureRules,
    check_picture,
    invalid,
    not_asynchronous,
    read_envelope,
    read_request,
    readable_part,
)
from gateway.sandbox.faults import Action, End, Late, end_from_prompt
from gateway.sandbox.limits import Caller
from gateway.sandbox.models import SYNCHRONOUS_PATH, rules_of
from gateway.sandbox.responses import Refusal, message_of, refuse, reply, status_of
from gateway.sandbox.tasks import SandboxTask, SubmitRequest


@dataclass(frozen=True, slots=True)
class CheckedSubmit:
    """A submit that has passed its checks, how its task will end, and the fault that hits it."""

    caller: Caller
    request: SubmitRequest
    end: End
    action: Action | None
    synchronous: bool

    def create_task(self, call: ApiCall) -> SandboxTask:
        """Create its task, now or after the delay that the fault names."""
        delay = self.action.seconds if isinstance(self.action, Late) else 0.0
        return call.region.create_task(
            self.caller,
            self.request,
            self.end,
            call.request_id,
            delay=delay,
            synchronous=self.synchronous,
        )


async def submit(call: ApiCall, path: str) -> Response:
    """
    Create a task for a model that is served at *path*.

    Raises:
        Refusal: The key, the rate, a header or the body is refused.
    """
    checked = await read_submit(call, path)

    async def work() -> Response:
        output = {"task_status": "PENDING", "task_id": checked.create_task(call).id}
        return reply(call.request_id, {"output": output})

    return await call.respond(checked.action, work)


async def read_submit(call: ApiCall, path: str) -> CheckedSubmit:
    """
    Check a submit for a model that is served at *path*.

    Raises:
        Refusal: The key, the rate, a header or the body is refused.
    """
    region = call.region
    caller = call.authenticated()
    synchronous = path == SYNCHRONOUS_PATH
    _check_headers(call.request.headers, synchronous=synchronous)
    body = await call.request.body()
    limit = region.config.max_body_bytes
    if limit is not None and len(body) > limit:
        raise Refusal(
            400, "BadRequest.TooLarge", f"Exceeded limit on max bytes to request body : {limit}"
        )
    envelope = read_envelope(
        body, partial(region.config.serves, path=path), synchronous=synchronous
    )
    call.count_submit(caller, envelope.model)
    request, end = await _read_body(call, caller, envelope)
    action = call.fault(prompt=request.prompt, number=region.tasks.created)
    end = action if isinstance(action, End) else end
    return CheckedSubmit(caller, request, end, action, synchronous)


def _check_headers(headers: Headers, *, synchronous: bool) -> None:
    asynchronous = headers.get("x-dashscope-async") == "enable"
    if asynchronous and synchronous:
        raise not_asynchronous()
    if not asynchronous and not synchronous:
        raise Refusal(403, "AccessDenied", "current user api does not support synchronous calls.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise invalid("Required body invalid, please check the request body format.")


async def _read_body(
    call: ApiCall, caller: Caller, envelope: Envelope
) -> tuple[SubmitRequest, End]:
    config = call.region.config
    model_rules = rules_of(envelope.model)
    picture_rules = PictureRules(
        max_bytes=min(config.max_image_bytes, model_rules.image_bytes),
        refuse_alpha=config.refuse_alpha,
        decodes=config.picture == "made",
        sides=model_rules.sides,
        formats=model_rules.formats,
    )
    resolves_oss = call.request.headers.get("x-dashscope-ossresourceresolve") == "enable"

    def read_upload(url: str) -> bytes:
        if not resolves_oss:
            raise Refusal(
                400,
                "InvalidParameter.DataInspection",
                "The media format is not supported or incorrect for the data inspection.",
            )
        uploads = call.region.uploads
        epoch = call.region.epoch()
        return uploads.read(url, caller.account, envelope.model, epoch)

    read = partial(
        read_request, envelope, partial(check_picture, rules=picture_rules, read_upload=read_upload)
    )
    try:
        request = await to_thread.run_sync(read) if picture_rules.decodes else read()
    except Refusal as refusal:
        if not config.late_checks:
            raise
        end = End("FAILED", refusal.code, refusal.message, seconds=0.0)
        return readable_part(envelope), end
    return request, end_from_prompt(request.prompt)


async def submit_synchronous(call: ApiCall) -> Response:
    """
    Do the work of a synchronous model, and respond with the result.

    Raises:
        Refusal: The key, the rate, a header or the body is refused.
        ClientDisconnect: The caller disconnected before the end; the work is billed.
    """
    checked = await read_submit(call, SYNCHRONOUS_PATH)
    checked = replace(checked, end=_synchronous_end(checked.end))

    async def work() -> Response:
        task = checked.create_task(call)
        if isinstance(checked.action, Late):
            # The connection is cut before the work begins, so this response is never sent.
            return Response()
        if not await _stayed(call, task.seconds):
            raise ClientDisconnect
        return _result(call, task)

    return await call.respond(checked.action, work)


async def _stayed(call: ApiCall, seconds: float) -> bool:
    """Return whether the caller stayed connected for *seconds*."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(call.region.clock.sleep(seconds))
        disconnect = group.create_task(_wait_for_disconnect(call))
        await asyncio.wait({working, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        disconnect.cancel()
    return not working.cancelled()


async def _wait_for_disconnect(call: ApiCall) -> None:
    # The body has been read, so the only message left is the disconnect.
    await call.request.receive()


def _synchronous_end(end: End) -> End:
    # Only a task can be CANCELED or UNKNOWN.
    return end if end.status == "SUCCEEDED" else replace(end, status="FAILED")


def _result(call: ApiCall, task: SandboxTask) -> Response:
    region = call.region
    end = task.end
    # A sleep may end slightly early by this clock.
    now = max(region.advance(), task.submitted + task.seconds)
    if task.status(now) == "FAILED":
        text = end.message or message_of(end.code)
        return refuse(call.request_id, Refusal(status_of(end.code), end.code, text))
    urls = region.result_urls(task, now, region.base(call.request))
    output = messages_output(task, urls, apart=region.config.choices == "each")
    return reply(call.request_id, {"output": output, "usage": usage(task)})
