"""The headers of responses, and exceptions as OpenAI's error responses."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler, Receive, Scope, Send

from gateway.domain.clock import Phase
from gateway.domain.errors import (
    BodyTooSlow,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
    RequestTooLarge,
    UnknownKey,
    UnsupportedCoding,
)
from gateway.domain.price import Prices
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.edits.request import EditResult, EditStatus
from gateway.translate.openai_error import error_body, error_headers

_SAFE = "!#$&'()*+./:;<=>?@[]^`{|}~"
_LONGEST_ID = 256
_OTHER_API = re.compile(r"/(?:responses|chat/completions|completions|embeddings)(?:/|\Z)")
"""Where programs look for the Responses API, whose tool makes pictures, and for chat."""


def edit_headers(edit: EditStatus) -> dict[str, str]:
    """Return what is known of the edit; unknown values have no header."""
    headers = {
        "x-wan-edit-id": edit.edit_id,
        "x-wan-region": edit.region,
        "x-wan-task-id": ", ".join(map(_escaped, edit.task_ids)),
        "x-wan-upstream-request-id": ", ".join(map(_escaped, edit.upstream_request_ids)),
    }
    return {name: value for name, value in headers.items() if value}


def request_headers(ignored: Sequence[str], adjusted: Sequence[str]) -> dict[str, str]:
    """Return which fields were ignored, and how pictures and size were adjusted (P10)."""
    headers = {}
    if ignored:
        headers["x-wan-ignored-params"] = ", ".join(map(_plain, ignored))
    if adjusted:
        headers["x-wan-adjusted"] = ", ".join(adjusted)
    return headers


def result_headers(result: EditResult, prices: Prices) -> dict[str, str]:
    """
    Return all headers of a result: its edit's, its request's, and how many pictures it has.

    Args:
        result: The edit that ended well.
        prices: By which x-wan-cost is computed; empty: there is no such header.
    """
    headers = edit_headers(result.status) | request_headers(result.ignored, result.adjusted)
    if result.delivered < result.requested:
        headers["x-wan-images"] = f"requested={result.requested}, delivered={result.delivered}"
    price = prices.get((result.status.region, result.model))
    if price is not None and result.bills:
        cost = sum(price.cost(bill) for bill in result.bills)
        headers["x-wan-cost"] = f"{_amount(cost)} {price.currency}"
    if result.replayed:
        headers["idempotent-replayed"] = "true"
    return headers


def _amount(amount: float) -> str:
    """Return *amount* with two decimals, or as many as it has up to six."""
    whole, _, decimals = f"{amount:.6f}".rstrip("0").partition(".")
    return f"{whole}.{decimals:0<2}"


def server_timing(spent: Mapping[Phase, float]) -> str:
    """Return *spent* seconds as the ``server-timing`` value, in milliseconds."""
    return ", ".join(f"{phase};dur={1000 * seconds:.1f}" for phase, seconds in spent.items())


def _escaped(identifier: str) -> str:
    """Make an id of upstream's safe for a header; those of DashScope stay as they are."""
    return quote(identifier, safe=_SAFE)[:_LONGEST_ID]


def _plain(name: str) -> str:
    """Make a field name of a client's safe for a header."""
    return "".join(c if " " < c < "\x7f" and c != "," else "?" for c in name[:64])


def exception_handlers(linger_seconds: float = 5.0) -> Mapping[Any, ExceptionHandler]:
    """
    Return what Starlette's constructor takes.

    Args:
        linger_seconds: How long what still arrives is read and dropped, after a response to
            a request whose rest is not wanted.

    Bugs are not among them: Starlette would raise those again after the response, and uvicorn
    would log a traceback with whatever its message quotes. See AccessLogMiddleware.
    """
    return {
        GatewayError: partial(error_response, linger_seconds=linger_seconds),
        HTTPException: partial(http_error_response, linger_seconds=linger_seconds),
    }


async def error_response(request: Request, exc: Exception, linger_seconds: float = 0.0) -> Response:
    """Return the response of a GatewayError."""
    if not isinstance(exc, GatewayError):
        raise exc
    record = record_of(request.scope)
    record.note_error(exc)
    return _response(record, exc, failure_headers(record, exc), linger_seconds)


async def http_error_response(
    request: Request, exc: Exception, linger_seconds: float = 0.0
) -> Response:
    """Return the response of what Starlette itself refuses: an unknown path, a wrong method."""
    if not isinstance(exc, HTTPException):
        raise exc
    record = record_of(request.scope)
    error = _gateway_error(exc, request.method, record.path)
    record.outcome = error.code
    headers = {**(exc.headers or {}), **failure_headers(record, error)}
    return _response(record, error, headers, linger_seconds)


def bug_response(record: AccessRecord) -> Response:
    """Return the response of an unforeseen exception: the request id and nothing else."""
    error = InternalError("")
    return _response(record, error, failure_headers(record, error))


def _gateway_error(exc: HTTPException, method: str, path: str) -> GatewayError:
    match exc.status_code:
        case 404:
            return NotFound(_unknown_url(method, path), code="unknown_url")
        case 405:
            return MethodNotAllowed(
                f"Not allowed to {method} on {path}. "
                "(HINT: Perhaps you meant to use a different HTTP method?)"
            )
        case 413:
            return RequestTooLarge("The request is too large.")
        case _:
            return InvalidRequest(str(exc.detail), code="invalid_request")


def _unknown_url(method: str, path: str) -> str:
    """Return a message for an unknown path; most often the client's base URL is wrong."""
    message = f"Invalid URL ({method} {path})"
    if _OTHER_API.search(path):
        return (
            f"{message}. Only OpenAI's Images API is served here: send pictures and a prompt to"
            " /v1/images/edits, a prompt alone to /v1/images/generations."
        )
    for what in ("edits", "generations"):
        if path.rstrip("/").endswith(f"/images/{what}"):
            return (
                f"{message}. {what.capitalize()} are at /v1/images/{what}: set the base_url of your"
                " client to this server's address with /v1 at its end, once, and without"
                f" /images/{what}."
            )
    return message


def failure_headers(record: AccessRecord, error: GatewayError) -> dict[str, str]:
    """Return the headers of an error response and, where an edit is known, of that."""
    headers = error_headers(error)
    if record.edit is not None:
        headers |= edit_headers(record.edit)
    if error.upstream_request_id:
        headers["x-wan-upstream-request-id"] = error.upstream_request_id
    if isinstance(error, UnknownKey):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnsupportedCoding):
        headers["accept-encoding"] = "gzip, deflate"
    if isinstance(error, RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    return headers


def _response(
    record: AccessRecord,
    error: GatewayError,
    headers: Mapping[str, str],
    linger_seconds: float = 0.0,
) -> Response:
    body = error_body(error, record.request_id)
    if isinstance(error, RequestTooLarge | BodyTooSlow):
        return _LastResponse(body, error.status, headers, linger_seconds)
    return Response(body, error.status, headers, media_type="application/json")


class _LastResponse(Response):
    """
    A response after which the connection is closed: the rest of the request is not wanted.

    Closing with bytes unread makes the kernel send a reset, which may overtake the response. So
    the whole response goes out first, and what still arrives is read and dropped for a while.
    """

    def __init__(
        self, body: bytes, status: int, headers: Mapping[str, str], linger_seconds: float
    ) -> None:
        super().__init__(body, status, headers, media_type="application/json")
        self._linger_seconds = linger_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):  # the client had its time to read
            async with asyncio.timeout(self._linger_seconds):
                while not record_of(scope).body_ended:
                    await receive()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
