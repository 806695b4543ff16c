"""x"""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.sandbox.config import Clock
from gateway.sandbox.faults import Action, Answer, Cut, Drop, Hang, Late, Operation, Slow
from gateway.sandbox.responses import OssRefusal, Refusal, refuse, text_of

CUT = "sandbox.cut"
#: A slow answer leaves in pieces, so many a second.
_PIECES_PER_SECOND = 10


class PeerCut(ConnectionError):
    """The sandbox cut a connection that is none: the app runs inside its caller."""


async def play(
    action: Action | None,
    work: Callable[[], Awaitable[Response]],
    *,
    on: Operation,
    clock: Clock,
    request_id: str,
) -> Response:
    """
    Do *work* and answer, or what *action* makes of that.

    Raises:
        Refusal: The work's own.
    """
    done = await work() if _works_first(action) else None
    match action:
        case Answer():
            return scripted(action, on, request_id)
        case Hang(seconds=None):
            return Silent()
        case Hang(seconds=seconds):
            await clock.sleep(seconds or 0)
        case Drop(reset=reset, seconds=seconds):
            await clock.sleep(seconds)
            return Severed(reset=reset)
        case Late():
            return Severed(reset=False)
    answer = done or await work()
    match action:
        case Cut():
            return CutShort(answer, action)
        case Slow():
            return Slowed(answer, action, clock)
    return answer


def _works_first(action: Action | None) -> bool:
    return isinstance(action, Late) or (isinstance(action, Answer | Hang | Drop) and action.after)


def scripted(action: Answer, on: Operation, request_id: str) -> Response:
    """Answer what the script says, in the shape of whichever service is asked."""
    headers = {} if action.retry_after is None else {"retry-after": str(action.retry_after)}
    if action.body is not None:
        return Response(action.body, action.status, headers, media_type="text/html")
    shape = OssRefusal if on in {"download", "upload"} else Refusal
    message = action.message or text_of(action.code)
    return refuse(request_id, shape(action.status, action.code, message), headers)


class Silent(Response):
    """Say nothing until the peer leaves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        await _peer_left(receive)


class Severed(Response):
    """Cut the connection without a byte."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        await _sever(scope, receive, reset=self._reset)


class CutShort(Response):
    """Send the head and so many bytes of *inner*, then cut the connection."""

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
                raise _Enough
            left -= len(body)
            await send(message)

        try:
            await self._inner(scope, receive, send_some)
        except _Enough:
            await _sever(scope, receive, reset=self._action.reset)


class Slowed(Response):
    """Send *inner* late, and in small pieces."""

    def __init__(self, inner: Response, action: Slow, clock: Clock) -> None:
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


class _Enough(Exception):
    """So many bytes were sent as the script allows."""


async def _sever(scope: Scope, receive: Receive, *, reset: bool) -> None:
    cut: Callable[[bool], None] | None = scope.get("state", {}).get(CUT)
    if cut is None:
        raise PeerCut("the sandbox cut this connection")
    cut(reset)
    # uvicorn answers 500 for an app that returns before it has noticed.
    await _peer_left(receive)


async def _peer_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
