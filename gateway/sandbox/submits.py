"""A submit: header checks, body checks, a task, its PENDING answer (sections 1, 2 and 9)."""

from dataclasses import dataclass
from functools import partial

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response

from gateway.sandbox.answers import Refusal, reply
from gateway.sandbox.callers import Caller
from gateway.sandbox.checks import (
    Envelope,
    broken_order,
    not_asynchronous,
    read_envelope,
    read_order,
)
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.doors import Call
from gateway.sandbox.faults import Action, End, Late
from gateway.sandbox.inputs import PictureRules, look_at
from gateway.sandbox.models import AT_ONCE, rules_of
from gateway.sandbox.order import Order
from gateway.sandbox.prompt_script import end_by_prompt
from gateway.sandbox.said import invalid
from gateway.sandbox.task import Task


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
