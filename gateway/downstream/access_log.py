"""ASGI middleware: gives each request its id, counts its bytes, writes its access-log line."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.clock import Clock, Phases
from gateway.domain.errors import Draining, InternalError, Overloaded, RateLimited
from gateway.downstream.access_record import AccessRecord, begin_record, safe_traceback
from gateway.downstream.ports import AccessLog, EdgeObserver
from gateway.downstream.responses import bug_response, server_timing

CLIENT_LEFT = 499
"""nginx's status for a client that disconnected before there was a response; never sent."""

_REJECTIONS = {Draining.code: "draining", Overloaded.code: "bytes"}
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
NODE_OUTCOME = b"x-wan-node-outcome"
"""For the log of the node that a request came through; it does not go on to the client."""
_SERVER_TIMING = b"server-timing"


class AccessLogMiddleware:
    """
    Every request gets one line, whatever happens in it (P14).

    Pure ASGI: Starlette's BaseHTTPMiddleware would hide that the client disconnected.

    Args:
        app: The next ASGI app.
        clock: Time.
        observer: Counts requests.
        log: Writes a record.
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
        record = begin_record(scope, self._clock.now())
        wire = _Wire(record, self._clock, receive, send)
        try:
            await self._app(scope, wire.receive, wire.send)
        except Exception as exc:  # noqa: BLE001 - every bug ends here
            # Not raised again: the server would log a traceback with whatever the message
            # quotes. A response that has begun stays without an end, so that the server cuts it.
            record.outcome = InternalError.code
            record.bug = safe_traceback(exc)
            if not record.status:
                await bug_response(record)(scope, wire.receive, wire.send)
        finally:
            self._end(record)

    def _end(self, record: AccessRecord) -> None:
        record.seconds = self._clock.now() - record.started
        record.outcome = record.outcome or "ok"
        if record.route and not record.via:  # the node that it came through counts it
            self._observer.http_request_ended(
                record.route,
                record.method if record.method in _METHODS else "_OTHER",
                record.status or CLIENT_LEFT,
                record.tenant or "_unknown",
                record.seconds,
                record.body_in,
                record.body_out,
            )
        if (reason := _rejection(record)) is not None:
            self._observer.queue_rejected(record.tenant or "_unknown", reason)
        self._log(record)


def _rejection(record: AccessRecord) -> str | None:
    """Return why an edit was refused before its submit, where only the edge knows that."""
    if record.owner or record.method != "POST" or "/images/" not in record.route:
        return None
    if record.outcome == RateLimited.code:
        # An edit that its tenant's limit refused has ended; this one still waits.
        return "deadline" if record.edit is not None and record.edit.stage == "waiting" else None
    return _REJECTIONS.get(record.outcome)


@dataclass(frozen=True, slots=True)
class _Wire:
    """A connection whose bytes are counted, and whose responses get the headers of every one."""

    record: AccessRecord
    clock: Clock
    _receive: Receive
    _send: Send

    async def receive(self) -> Message:
        message = await self._receive()
        self.record.body_in += len(message.get("body", b""))
        self.record.body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.record.status = message["status"]
            sent = message.get("headers", ())
            message = {**message, "headers": [*sent, *self._headers(sent)]}
        else:
            self.record.body_out += len(message.get("body", b""))
        await self._send(message)

    def _headers(self, sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return what every response has, less what is in *sent* already."""
        record = self.record
        now = self.clock.now()
        spent = max(0.0, now - record.started)
        headers = [
            (b"x-request-id", record.request_id.encode("ascii")),
            (b"openai-processing-ms", str(round(1000 * spent)).encode("ascii")),
            (b"openai-version", b"2020-10-01"),
        ]
        if record.via:
            headers.append((NODE_OUTCOME, record.outcome.encode("ascii")))
        if all(name != _SERVER_TIMING for name, _ in sent):
            phases = record.phases or Phases(started=record.started)
            headers.append((_SERVER_TIMING, server_timing(phases.spent(now)).encode("ascii")))
        return headers
