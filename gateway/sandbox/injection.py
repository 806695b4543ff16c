"""
Carry out scripted faults: responses that are late, slow, truncated, or never sent.

ASGI cannot cut a TCP connection: uvicorn sends a 500 for an app that returns without a response.
`gateway.sandbox.serve` therefore puts a function ``(reset: bool) -> None`` into
``scope["state"]["sandbox.cut"]``. Where it is missing (the app is called in process) `PeerCut` is
raised instead, and an in-process transport passes it on to its caller.
"""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.sandbox.config import SandboxClock
from gateway.sandbox.faults import Action, Answer, Cut, Drop, Hang, Late, Operation, Slow
from gateway.sandbox.responses import OssRefusal, Refusal, message_of, refuse

CUT = "sandbox.cut"
#: A slow response is sent in this many pieces a second.
_PIECES_PER_SECOND = 10


class PeerCut(ConnectionError):
    """The sandbox cut the connection of a caller in the same process."""


async def respond_with_fault(
    action: Action | None,
    work: Callable[[], Awaitable[Response]],
    *,
    on: Operation,
    clock: SandboxClock,
    request_id: str,
) -> Response:
    """
    Do *work* and return its response, as *action* changes it.

    Raises:
        Refusal: *work* raised it.
    """
    early = await work() if _works_first(action) else None
    match action:
        case Answer():
            return scripted_response(action, on, request_id)
        case Hang(seconds=None):
            return NoResponse()
        case Hang(seconds=seconds):
            await clock.sleep(seconds or 0)
        case Drop(reset=reset, seconds=seconds):
            await clock.sleep(seconds)
            return CutConnection(reset=reset)
        case Late():
            return CutConnection(reset=False)
    response = early or await work()
    match action:
        case Cut():
            return TruncatedResponse(response, action)
        case Slow():
            return SlowResponse(response, action, clock)
    return response


def _works_first(action: Action | None) -> bool:
    return isinstance(action, Late) or (isinstance(action, Answer | Hang | Drop) and action.after)


def scripted_response(action: Answer, on: Operation, request_id: str) -> Response:
    """Build the response that the script names, in the form of the service that is called."""
    headers = {} if action.retry_after is None else {"retry-after": str(action.retry_after)}
    if action.body is not None:
        return Response(action.body, action.status, headers, media_type="text/html")
    shape = OssRefusal if on in {"download", "upload"} else Refusal
    message = action.message or message_of(action.code)
    return refuse(request_id, shape(action.status, action.code, message), headers)


class NoResponse(Response):
    """Send nothing until the peer disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await _wait_for_disconnect(receive)


class CutConnection(Response):
    """Cut the connection before the first byte."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await _cut_connection(scope, receive, reset=self._reset)


class TruncatedResponse(Response):
    """Send the head of *inner* and the first bytes of its body, then cut the connection."""

    def __init__(self, inner: Response, action: Cut) -> None:
        super().__init__()
        self._inner = inner
        self._action = action

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._action.bytes

        async def send_some(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if len(body) > left:
                await send({**message, "body": body[:left], "more_body": True})
                raise _BytesUsedUp
            left -= len(body)
            await send(message)

        try:
            await self._inner(scope, receive, send_some)
        except _BytesUsedUp:
            await _cut_connection(scope, receive, reset=self._action.reset)


class SlowResponse(Response):
    """Send *inner* late, and in small pieces."""

    def __init__(self, inner: Response, action: Slow, clock: SandboxClock) -> None:
        super().__init__()
        self._inner = inner
        self._action = action
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._clock.sleep(self._action.start)
        rate = self._action.bytes_per_second
        if not rate:
            await self._inner(scope, receive, send)
            return
        step = max(1, rate // _PIECES_PER_SECOND)

        async def send_slowly(message: Message) -> None:
            body = message.get("body", b"")
            for at in range(0, len(body) - step, step):
                await send({**message, "body": body[at : at + step], "more_body": True})
                await self._clock.sleep(step / rate)
            rest = (len(body) - 1) // step * step if body else 0
            await send({**message, "body": body[rest:]} if body else message)

        await self._inner(scope, receive, send_slowly)


class _BytesUsedUp(Exception):
    """The script allows no more bytes."""


async def _cut_connection(scope: Scope, receive: Receive, *, reset: bool) -> None:
    cut: Callable[[bool], None] | None = scope.get("state", {}).get(CUT)
    if cut is None:
        raise PeerCut("the sandbox cut this connection")
    cut(reset)
    # uvicorn would send a 500 if the app returned before uvicorn noticed the cut.
    await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
