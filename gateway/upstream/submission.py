"""
What the end of a submit proves about money: refused, accepted, never sent, or uncertain (D1).

    what came back                                a task exists (1) raised
    ------------------------------------------    --------------    --------------------
    no connection, and no piece was asked for     no                UpstreamUnreachable
    anything that broke after that, or we did     perhaps           SubmitUncertain
    2xx with output.task_id, code or not          yes               (Accepted)
    the same with output.choices, of a model      its pictures      (Accepted)
      without tasks
    2xx with the code of a refusal (2)            no                as dashscope_fault
    2xx with another code, or with neither        perhaps           SubmitUncertain
    408, 499: somebody in between lost patience   perhaps           SubmitUncertain
    other 4xx in DashScope's own words (2)        no                as dashscope_fault
    other 4xx: somebody in between answered       perhaps           SubmitUncertain (3)
    3xx, the same                                 perhaps           SubmitUncertain (3)
    5xx                                           perhaps           SubmitUncertain

(1) or, of a model without tasks, pictures that are paid for.
(2) gateway.upstream.submission.is_dashscopes.
(3) with what it means if no task was made: repeated, it would be refused as well.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from gateway.domain.clock import Clock
from gateway.domain.errors import (
    GatewayError,
    InvalidRequest,
    RateLimited,
    SubmitUncertain,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.models import Model
from gateway.domain.task import Accepted
from gateway.translate.dashscope_fault import code_of, fault, is_documented, plain, text_of
from gateway.translate.dashscope_request import SubmitBody
from gateway.translate.dashscope_task import read_accepted, read_answer

_LONGEST_PAUSE = 60.0  # seconds; the bound of GatewayError.retry_after


def body_of(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the JSON object of *answer*; empty for anything else, such as a proxy's page."""
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def request_id_of(answer: httpx.Response, body: Mapping[str, Any]) -> str:
    """Return DashScope's request id, of the body or else of the header; empty if none."""
    return code_of(body, "request_id") or plain(answer.headers.get("x-request-id", ""))


def is_dashscopes(body: Mapping[str, Any]) -> bool:
    """
    Say whether *body* is a refusal by DashScope itself, and not by somebody in between.

    A firewall, a proxy or a captive portal may answer after it has passed a submit on. Only
    DashScope's own form is believed: a code with its request id, or a documented code with a
    message (dashscope.md 2.2).
    """
    code = text_of(body, "code")
    if not code or code.isdigit():
        return False
    return bool(text_of(body, "request_id") or (is_documented(code) and text_of(body, "message")))


def refusal(answer: httpx.Response, body: Mapping[str, Any]) -> GatewayError:
    """Return what *answer*, which brings no success, means to the client."""
    error = fault(
        code_of(body, "code"),
        text_of(body, "message"),
        request_id=request_id_of(answer, body),
        # A 2xx says nothing of whose fault it is: an unlisted code is then upstream's own.
        http_status=None if answer.is_success else answer.status_code,
    )
    if error.retry and (pause := _pause(answer)) is not None:
        error.retry_after = pause
    return error


def _pause(answer: httpx.Response) -> float | None:
    # Not documented; the vendor's own SDK honours both (dashscope.md 2.2).
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        said = answer.headers.get(name, "")
        if said.isdecimal():
            return min(float(said) / per_second, _LONGEST_PAUSE)
    return None


_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_INTENT_SECONDS = 30.0  # between the intent and a submit's first piece, and between two pieces
_LOST_PATIENCE = (408, 499)
# With a 2xx only these are believed to be refusals: InternalError and its kind may have
# come after the task was made.
_CLEAR_REFUSALS = (InvalidRequest, UpstreamUnavailable, RateLimited)


class IntentExpiredError(Exception):
    """Nobody asked for the rest of a submit in time: it is not sent any more."""


class Outgoing(httpx.AsyncByteStream):
    """
    A submit's body on its way; it remembers whether any of it was asked for.

    A process or a machine that stood still in the middle of it does not send the rest when it
    wakes up: it would make a task that is looked for in the wrong time, or by nobody. Two
    clocks tell, since a paused machine stops one of them.
    """

    def __init__(self, body: SubmitBody, clock: Clock) -> None:
        self.asked_for = False
        self._body = body
        self._clock = clock
        self._asked = (clock.now(), clock.epoch())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked_for = True
        for piece in self._body.pieces():
            self._still_wanted()
            yield piece

    def _still_wanted(self) -> None:
        """
        Note that a piece leaves now.

        Raises:
            IntentExpiredError: the one before left too long ago.
        """
        before = self._asked
        self._asked = (self._clock.now(), self._clock.epoch())
        passed = (now - then for now, then in zip(self._asked, before, strict=True))
        if max(passed) > _INTENT_SECONDS:
            raise IntentExpiredError


def broken(exc: Exception, outgoing: Outgoing) -> GatewayError:
    """
    Return what an exception in place of an answer proves.

    Two witnesses must agree that nothing was sent (D2): the transport's word, and the body,
    of which no piece was asked for. Transports have been seen to call a connection that
    broke in mid-request a ConnectTimeout.
    """
    if isinstance(exc, _NO_CONNECTION) and not outgoing.asked_for:
        return UpstreamUnreachable(
            "The upstream cannot be reached; nothing was submitted.",
            upstream_code=type(exc).__name__,
        )
    return _uncertain(type(exc).__name__)


def settled(answer: httpx.Response, model: Model) -> Accepted:
    """
    Return the task that *answer* tells of, or what a *model* without tasks made.

    Raises:
        SubmitUncertain: it does not say whether a task was made.
        GatewayError: any other: none was made.
    """
    status = answer.status_code
    body = body_of(answer)
    if answer.is_success:
        return _accepted(answer, model)
    code = code_of(body, "code") or f"HTTP {status}"
    if answer.is_client_error and status not in _LOST_PATIENCE:
        refused = refusal(answer, body)
        if is_dashscopes(body):
            raise refused
        raise _uncertain(code, request_id_of(answer, body), refused)
    if answer.is_redirect:
        refused = UpstreamUnavailable(
            "The upstream's address is wrong; the operator of this gateway has to look into it.",
            retry=False,
            upstream_code=f"HTTP {status}",
        )
        raise _uncertain(code, request_id_of(answer, body), refused)
    raise _uncertain(code, request_id_of(answer, body))


def _accepted(answer: httpx.Response, model: Model) -> Accepted:
    body = body_of(answer)
    request_id = request_id_of(answer, body)
    read = read_accepted if model.has_tasks else read_answer
    accepted = read({**body, "request_id": request_id})
    if accepted is not None:
        return accepted
    code = body.get("code")
    if isinstance(code, str) and code:
        said = refusal(answer, body)
        if isinstance(said, _CLEAR_REFUSALS) and is_dashscopes(body):
            raise said
        raise _uncertain(code, request_id)
    raise _uncertain("no task id" if model.has_tasks else "no pictures", request_id)


def _uncertain(
    upstream_code: str, request_id: str = "", refused: GatewayError | None = None
) -> SubmitUncertain:
    error = SubmitUncertain(
        "The upstream gave no clear answer; whether a task was made is being found out.",
        upstream_code=plain(upstream_code),
        upstream_request_id=request_id or None,
    )
    error.refusal = refused
    return error
