"""
What the end of a submit proves about money: refused, accepted, never sent, or uncertain (D1).

    response                                      a task exists (1) raised
    ------------------------------------------    --------------    --------------------
    no connection, and no piece was asked for     no                UpstreamUnreachable
    the intent expired before the last piece      no (4)            IntentExpired
    anything that broke after that, or we did     perhaps           SubmitUncertain
    2xx with output.task_id, code or not          yes               (Accepted)
    the same with output.choices, of a model      its pictures      (Accepted)
      without tasks
    2xx with the code of a refusal (2)            no                as dashscope_fault
    2xx with another code, or with neither        perhaps           SubmitUncertain
    408, 499: a proxy in between timed out        perhaps           SubmitUncertain
    other 4xx in DashScope's own words (2)        no                as dashscope_fault
    other 4xx: a proxy in between answered        perhaps           SubmitUncertain (3)
    3xx, the same                                 perhaps           SubmitUncertain (3)
    5xx                                           perhaps           SubmitUncertain

(1) or, with a model without tasks, pictures that are paid for (D87).
(2) gateway.upstream.submission.is_from_dashscope.
(3) with the refusal that the client gets if no task was made: a repeat would be refused too.
(4) the JSON that arrived has no end, and fewer bytes than its Content-Length.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from gateway.domain.errors import (
    MOST_RETRY_SECONDS,
    GatewayError,
    IntentExpired,
    InvalidRequest,
    RateLimited,
    SubmitUncertain,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.intent import Intent
from gateway.domain.models import Model
from gateway.domain.task import Accepted
from gateway.translate.dashscope_fault import code_of, fault, is_documented, printable, text_of
from gateway.translate.dashscope_request import SubmitBody
from gateway.translate.dashscope_task import read_accepted, read_answer


def body_of(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the JSON object of *answer*; empty for anything else, such as a proxy's HTML."""
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def request_id_of(answer: httpx.Response, body: Mapping[str, Any]) -> str:
    """Return DashScope's request id, from the body or else the header; empty if there is none."""
    return code_of(body, "request_id") or printable(answer.headers.get("x-request-id", ""))


def is_from_dashscope(body: Mapping[str, Any]) -> bool:
    """
    Return whether *body* is a refusal by DashScope itself, not by a proxy in between.

    A firewall, a proxy or a captive portal may respond after it has forwarded a submit. Only
    DashScope's own form is believed: a code with a request id, or a documented code with a
    message (dashscope.md 2.2).
    """
    code = text_of(body, "code")
    if not code or code.isdigit():
        return False
    return bool(text_of(body, "request_id") or (is_documented(code) and text_of(body, "message")))


def refusal(answer: httpx.Response, body: Mapping[str, Any]) -> GatewayError:
    """Return the client's error for *answer*, which is not a success."""
    error = fault(
        code_of(body, "code"),
        text_of(body, "message"),
        request_id=request_id_of(answer, body),
        # A 2xx does not say whose fault it is: an unlisted code then counts as upstream's.
        http_status=None if answer.is_success else answer.status_code,
    )
    if error.retry and (pause := _pause(answer)) is not None:
        error.retry_after = pause
    return error


def _pause(answer: httpx.Response) -> float | None:
    # Not documented; the vendor's own SDK honours both (dashscope.md 2.2).
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = answer.headers.get(name, "")
        if value.isdecimal():
            return min(float(value) / per_second, MOST_RETRY_SECONDS)
    return None


_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_PROXY_TIMEOUTS = (408, 499)
# With a 2xx only these are believed to be refusals: InternalError and its kind may have
# come after the task was made.
_CLEAR_REFUSALS = (InvalidRequest, UpstreamUnavailable, RateLimited)


class _LeftUnfinishedError(Exception):
    """Ends the body of a submit whose intent has expired."""


class Outgoing(httpx.AsyncByteStream):
    """
    The body of a submit while it is sent; it knows what of it may have left (D2, D103).

    Args:
        body: The JSON.
        intent: Once it has expired, the rest is not sent.
    """

    def __init__(self, body: SubmitBody, intent: Intent) -> None:
        self.asked_for = False
        """Whether any of it was asked for."""
        self.left_unfinished = False
        """Whether its last piece was withheld: what arrived cannot have made a task."""
        self._body = body
        self._intent = intent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked_for = True
        for piece in self._body.pieces():
            if self._intent.expired:
                self.left_unfinished = True
                raise _LeftUnfinishedError
            yield piece


def outcome_of_error(exc: Exception, outgoing: Outgoing) -> GatewayError:
    """
    Return what an exception in place of a response proves.

    Nothing was sent only if both the transport and the body say so (D2): the transport never
    had a connection, and it asked for no piece of the body. Transports have been seen to
    report a connection that broke in mid-request as a ConnectTimeout.
    """
    if outgoing.left_unfinished:
        return IntentExpired(
            "The submit was too slow to leave and was left unfinished; nothing was submitted.",
            upstream_code="IntentExpired",
        )
    if isinstance(exc, _NO_CONNECTION) and not outgoing.asked_for:
        return UpstreamUnreachable(
            "The upstream cannot be reached; nothing was submitted.",
            upstream_code=type(exc).__name__,
        )
    return _uncertain(type(exc).__name__)


def outcome_of(answer: httpx.Response, model: Model) -> Accepted:
    """
    Return the task that *answer* names, or the pictures that a *model* without tasks made.

    Raises:
        SubmitUncertain: *answer* does not prove whether a task was made (D1).
        GatewayError: any other class: no task was made.
    """
    status = answer.status_code
    body = body_of(answer)
    if answer.is_success:
        return _accepted(answer, body, model)
    code = code_of(body, "code") or f"HTTP {status}"
    if answer.is_client_error and status not in _PROXY_TIMEOUTS:
        refused = refusal(answer, body)
        if is_from_dashscope(body):
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


def _accepted(answer: httpx.Response, body: Mapping[str, Any], model: Model) -> Accepted:
    request_id = request_id_of(answer, body)
    read = read_accepted if model.has_tasks else read_answer
    accepted = read({**body, "request_id": request_id})
    if accepted is not None:
        return accepted
    code = body.get("code")
    if isinstance(code, str) and code:
        refused = refusal(answer, body)
        if isinstance(refused, _CLEAR_REFUSALS) and is_from_dashscope(body):
            raise refused
        raise _uncertain(code, request_id)
    raise _uncertain("no task id" if model.has_tasks else "no pictures", request_id)


def _uncertain(
    upstream_code: str, request_id: str = "", refused: GatewayError | None = None
) -> SubmitUncertain:
    error = SubmitUncertain(
        "The upstream gave no clear answer; whether a task was made is being found out.",
        upstream_code=printable(upstream_code),
        upstream_request_id=request_id or None,
    )
    error.refusal = refused
    return error
