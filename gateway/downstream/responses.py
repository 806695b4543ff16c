"""What the headers of an answer tell of its edit, whether it ended well or ill."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    RequestTooLarge,
    UnknownKey,
    UnsupportedCoding,
)
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.edits.request import EditResult, EditStatus
from gateway.translate.openai_error import error_body, error_headers

_SAFE = "!#$&'()*+./:;<=>?@[]^`{|}~"
_LONGEST_ID = 256


def edit_headers(told: EditStatus) -> dict[str, str]:
    """Return what is known of the edit; unknown values have no header."""
    known = {
        "x-wan-edit-id": told.edit_id,
        "x-wan-region": told.region,
        "x-wan-task-id": ", ".join(map(_escaped, told.task_ids)),
        "x-wan-upstream-request-id": ", ".join(map(_escaped, told.upstream_request_ids)),
    }
    return {name: value for name, value in known.items() if value}


def request_headers(ignored: Sequence[str], adjusted: Sequence[str]) -> dict[str, str]:
    """Return what became of ignored fields and of the pictures that were sent."""
    headers = {}
    if ignored:
        headers["x-wan-ignored-params"] = ", ".join(map(_plain, ignored))
    if adjusted:
        headers["x-wan-adjusted"] = ", ".join(adjusted)
    return headers


def result_headers(answer: EditResult) -> dict[str, str]:
    """Return all of these, and what became of the pictures that were made."""
    headers = edit_headers(answer.told) | request_headers(answer.ignored, answer.adjusted)
    if answer.delivered < answer.requested:
        headers["x-wan-images"] = f"requested={answer.requested}, delivered={answer.delivered}"
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return headers


def server_timing(spent: Mapping[Phase, float]) -> str:
    """Return *spent* seconds as the ``server-timing`` value, in milliseconds."""
    return ", ".join(f"{phase};dur={1000 * seconds:.1f}" for phase, seconds in spent.items())


def _escaped(told: str) -> str:
    """Make an id that upstream gave safe for a header line; DashScope's own stay as they are."""
    return quote(told, safe=_SAFE)[:_LONGEST_ID]


def _plain(name: str) -> str:
    """Make a field name that a client typed safe for a header line."""
    return "".join(c if " " < c < "\x7f" and c != "," else "?" for c in name[:64])


_LINGER_SECONDS = 5.0


def exception_handlers() -> Mapping[Any, ExceptionHandler]:
    """
    Return what Starlette's constructor takes.

    A bug is not among them: for Exception Starlette raises again after the answer, and
    uvicorn would write a traceback with whatever its message quotes. See RequestLog.
    """
    return {
        GatewayError: refuse,
        HTTPException: refuse_as_http,
    }


async def refuse(request: Request, exc: Exception) -> Response:
    """Answer a GatewayError."""
    if not isinstance(exc, GatewayError):
        raise exc
    line = record_of(request.scope)
    note(line, exc)
    return _reply(line, exc, refusal_headers(line, exc))


def note(line: AccessRecord, error: GatewayError) -> None:
    """Put *error* into the log line of its request."""
    line.outcome = error.code
    line.upstream_code = error.upstream_code or ""
    line.upstream_message = error.upstream_message or ""
    line.upstream_request_id = error.upstream_request_id or ""


async def refuse_as_http(request: Request, exc: Exception) -> Response:
    """Answer what Starlette itself refuses: an unknown path, a wrong method."""
    if not isinstance(exc, HTTPException):
        raise exc
    line = record_of(request.scope)
    error = _error(exc, request.method, line.path)
    line.outcome = error.code
    return _reply(line, error, {**(exc.headers or {}), **refusal_headers(line, error)})


def refuse_bug(line: AccessRecord) -> Response:
    """Answer anything unforeseen with the request id and nothing else."""
    error = InternalError("")
    return _reply(line, error, refusal_headers(line, error))


def _error(exc: HTTPException, method: str, path: str) -> GatewayError:
    match exc.status_code:
        case 404:
            return NotFound(_lost(method, path), code="unknown_url")
        case 405:
            return MethodNotAllowed(
                f"Not allowed to {method} on {path}. "
                "(HINT: Perhaps you meant to use a different HTTP method?)"
            )
        case 413:
            return RequestTooLarge("The request is too large.")
        case _:
            return InvalidRequest(str(exc.detail), code="invalid_request")


def _lost(method: str, path: str) -> str:
    """Return what is wrong with *path*; most often it is the client's base URL."""
    lost = f"Invalid URL ({method} {path})"
    for what in ("edits", "generations"):
        if path.rstrip("/").endswith(f"/images/{what}"):
            return (
                f"{lost}. {what.capitalize()} are at /v1/images/{what}: set the base_url of your"
                " client to this server's address with /v1 at its end, once, and without"
                f" /images/{what}."
            )
    return lost


def refusal_headers(line: AccessRecord, error: GatewayError) -> dict[str, str]:
    """Return what the headers tell of *error* and, once there is one, of its edit."""
    headers = error_headers(error)
    if line.told is not None:
        headers |= edit_headers(line.told)
    if error.upstream_request_id:
        headers["x-wan-upstream-request-id"] = error.upstream_request_id
    if isinstance(error, UnknownKey):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnsupportedCoding):
        headers["accept-encoding"] = "gzip, deflate"
    return headers


def _reply(line: AccessRecord, error: GatewayError, headers: Mapping[str, str]) -> Response:
    kind = _LastReply if isinstance(error, RequestTooLarge | BodyTooSlow) else Response
    return kind(
        error_body(error, line.request_id),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


class _LastReply(Response):
    """
    A reply that closes the connection, since the rest of the body is not wanted.

    Closing with bytes unread makes the kernel send a reset, which may overtake the reply:
    so the reply goes out whole, and then what still comes is thrown away for a while.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):  # it had its time to read
            async with asyncio.timeout(_LINGER_SECONDS):
                while not record_of(scope).body_ended:
                    await receive()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
