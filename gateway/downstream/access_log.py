"""ASGI middleware: gives each request its id, counts its bytes, writes its line at its end."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.clock import Clock, Phases
from gateway.domain.errors import Draining, InternalError, Overloaded, RateLimited
from gateway.downstream.access_record import AccessRecord, attach, safe_traceback
from gateway.downstream.ports import AccessLog, EdgeObserver
from gateway.downstream.responses import refuse_bug, server_timing

CUSTOMER_LEFT = 499
"""nginx's number for a client who left before there was an answer; never sent."""

_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_REJECTIONS = {Draining.code: "draining", Overloaded.code: "bytes"}
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_LONGEST_PATH = 200
_SERVER_TIMING = b"server-timing"


class AccessLogMiddleware:
    """
    Pure ASGI: Starlette's BaseHTTPMiddleware would hide the client's leaving.

    Args:
        app: What is within.
        clock: Time.
        observer: Who counts.
        log: Who writes.
    """

    def __init__(
        self, app: ASGIApp, *, clock: Clock, observer: EdgeObserver, log: AccessLog
    ) -> None:
        self._app = app
        self._clock = clock
        self._observer = observer
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        line = _begin(scope, self._clock.now())
        attach(scope, line)
        wire = _Wire(line, self._clock, receive, send)
        try:
            await self._app(scope, wire.receive, wire.send)
        except Exception as exc:  # noqa: BLE001 - every bug ends here
            # Not raised again: the server would write a traceback with whatever the message
            # quotes. An answer that has begun stays without an end, so that the server cuts it.
            line.outcome, line.bug = InternalError.code, safe_traceback(exc)
            if not line.status:
                await refuse_bug(line)(scope, wire.receive, wire.send)
        finally:
            self._end(line)

    def _end(self, line: AccessRecord) -> None:
        line.seconds = self._clock.now() - line.started
        line.outcome = line.outcome or "ok"
        if line.route and not line.via:  # the node that it came through counts it
            self._observer.http_request_ended(
                line.route,
                line.method if line.method in _METHODS else "_OTHER",
                line.status or CUSTOMER_LEFT,
                line.tenant or "_unknown",
                line.seconds,
                line.body_in,
                line.body_out,
            )
        if (reason := _rejection(line)) is not None:
            self._observer.queue_rejected(line.tenant or "_unknown", reason)
        self._log.log_line(line)


def _rejection(line: AccessRecord) -> str | None:
    """Say why an edit was refused before its submit, where that is known at the edge alone."""
    if line.owner or line.method != "POST" or "/images/" not in line.route:
        return None
    if line.outcome == RateLimited.code:
        # An edit that its tenant's limit refused has ended; this one still waits.
        return "deadline" if line.told is not None and line.told.status == "waiting" else None
    return _REJECTIONS.get(line.outcome)


def _begin(scope: Scope, now: float) -> AccessRecord:
    own = Headers(scope=scope).get("x-request-id", "")
    return AccessRecord(
        request_id=own if _OWN_ID.fullmatch(own) else f"req_{uuid4().hex}",
        method=scope["method"],
        path=scope["path"][:_LONGEST_PATH],
        started=now,
    )


@dataclass(frozen=True, slots=True)
class _Wire:
    """The connection, with counters."""

    line: AccessRecord
    clock: Clock
    _receive: Receive
    _send: Send

    async def receive(self) -> Message:
        message = await self._receive()
        self.line.body_in += len(message.get("body", b""))
        self.line.body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.line.status = message["status"]
            told = message.get("headers", ())
            message = {**message, "headers": [*told, *self._headers(told)]}
        else:
            self.line.body_out += len(message.get("body", b""))
        await self._send(message)

    def _headers(self, told: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return what every answer has, less what *told* has already."""
        line = self.line
        now = self.clock.now()
        spent = max(0.0, now - line.started)
        headers = [
            (b"x-request-id", line.request_id.encode("ascii")),
            (b"openai-processing-ms", str(round(1000 * spent)).encode("ascii")),
            (b"openai-version", b"2020-10-01"),
        ]
        if all(name != _SERVER_TIMING for name, _ in told):
            phases = line.phases or Phases(started=line.started)
            headers.append((_SERVER_TIMING, server_timing(phases.spent(now)).encode("ascii")))
        return headers
