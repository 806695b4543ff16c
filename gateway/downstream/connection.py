"""
uvicorn's HTTP/1.1 protocol, with what it leaves out.

A send that returns only when the socket has the bytes (D29); limits on heads; framing that no
two parties can read differently (P18); timeouts for idle connections; responses for clients
that have closed their sending side. Errors of this level are written here, since there is no
request yet that an app could respond to.
"""

import asyncio
import socket
from collections import deque
from typing import Any, NoReturn

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.domain.errors import GatewayError, InvalidRequest, MethodNotAllowed
from gateway.translate.openai_error import error_body

MOST_HEAD_BYTES = 65_536  # as OpenAI asks for (openai.md 1)
MOST_HEADERS = 256
LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it can read the refusal."""
PROBE_SECONDS = 0.01
"""How soon it is checked again whether a client that finished sending is still there."""
MOST_PIPELINED = 16
"""Requests of one connection that wait for their turn; known clients send only one."""

_HEADER_OVERHEAD = 4  # bytes of a header line beside its name and value
_ALLOW = b"allow: DELETE, GET, HEAD, OPTIONS, POST\r\n"
_VERSIONS = frozenset({"1.0", "1.1"})
_CODINGS: dict[str, list[list[bytes]]] = {"1.0": [[]], "1.1": [[], [b"chunked"]]}
"""Transfer codings: others could be read differently by a proxy in front."""


class _RequestRefused(Exception):
    """Raised in the parser's callbacks: this request is refused."""

    def __init__(self, status: bytes, error: GatewayError, headers: bytes = b"") -> None:
        self.status = status
        self.error = error
        self.headers = headers


class Connection(HttpToolsProtocol):
    """
    One client's connection.

    uvicorn waits for its write buffer to drain before each send, if it is over a mark. With
    the mark at 0 a send returns only when all that was sent before was handed to the
    socket, which is what "delivered" means.

    At every moment one of three things ends the connection if nothing happens: the timer of a
    head, the keep-alive timer between requests, or the app, which responds.
    """

    head_seconds = 20.0
    """How long a head may take to arrive."""
    write_stall_seconds = 150.0
    """A client that takes no byte for so long is cut off; replies give up a little earlier."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._owed: deque[RequestResponseCycle] = deque()
        """Requests whose answers are not complete, in the order in which they came."""
        self._newest: RequestResponseCycle | None = None
        self._stopped_reading = False
        """Whether what still arrives is ignored: no further request is accepted."""
        self._in_head = True
        self._line_bytes = 0
        """Of the lines of this head, or of the trailers, that are complete."""
        self._silent_bytes = 0
        """Received since the parser last reported a head, a piece of a body or an end."""
        self._refusal: _RequestRefused | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None
        self._ended_at = 0.0
        self._late: asyncio.TimerHandle | None = self.loop.call_later(
            self.head_seconds, self._too_late
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._stopped_reading = True
        _cancel(self._stalled, self._probing, self.timeout_keep_alive_task)
        # uvicorn only knows the newest request.
        for cycle in self._owed:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    # ------------------------------------------------------------ what comes in

    def data_received(self, data: bytes) -> None:
        """Parse *data*; unlike uvicorn's, this leaves the keep-alive timer alone."""
        if self._stopped_reading:
            return
        self._silent_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if self._refusal is None:
                self.logger.warning("Invalid HTTP request received.")
                self._refusal = _RequestRefused(b"400 Bad Request", _invalid(str(error)))
            self._refuse(self._refusal)
        else:
            if self._silent_bytes > MOST_HEAD_BYTES:
                self._refuse(_too_large("The request's headers are over 64 KiB. Send fewer."))

    def _feed(self, data: bytes) -> None:
        """
        Parse *data* as if no client had offered to change the protocol (RFC 9110 7.8).

        The parser takes an offer for accepted: it reads no body, and whatever follows the head
        as something else. So the head is given to a fresh one, less the offer.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._head_without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes an answer
        """Return whether the connection stays open: who has finished sending may still read."""
        self._stopped_reading = True
        self._end_head()
        self._drop_broken()
        if not self._owed or _pauses(self._owed[0]):
            return False
        self._owed[-1].keep_alive = False
        self._probe()
        return True

    # ------------------------------------------------------------ the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_head = True
        self._line_bytes = 0
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._too_late)

    def on_url(self, url: bytes) -> None:
        self._count_line(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_line(len(name) + len(value) + _HEADER_OVERHEAD)
        if self._in_head:  # else it is a trailer, which must not become a header
            super().on_header(name, value)
            if len(self.headers) > MOST_HEADERS:
                self._stop(_too_large(f"The request has over {MOST_HEADERS} headers. Send fewer."))

    def on_headers_complete(self) -> None:
        self._silent_bytes = 0
        self._end_head()
        if (refusal := self._refusal_of_head()) is not None:
            self._stop(refusal)
        if self.parser.should_upgrade():
            return  # it comes again, see _feed
        super().on_headers_complete()
        self._newest = self.cycle
        self._owed.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent_bytes = 0
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self.cycle.more_body = False  # which uvicorn leaves as it was, once there was an answer
        if not self.cycle.keep_alive:
            self._stopped_reading = True
        elif self.cycle.response_complete:
            # The rest of a refused body: the next request has its whole time from here.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _count_line(self, n: int) -> None:
        self._line_bytes += n
        if self._line_bytes > MOST_HEAD_BYTES:
            self._stop(_too_large("The request's headers are over 64 KiB. Send fewer."))

    def _stop(self, refusal: _RequestRefused) -> NoReturn:
        """Stop the parser: it raises HttpParserError for whatever its callbacks raise."""
        self._refusal = refusal
        raise refusal

    def _refusal_of_head(self) -> _RequestRefused | None:
        """Return why a head is refused that the parser accepts; ``None``: it is not."""
        version = self.parser.get_http_version()
        if self.parser.get_method() == b"CONNECT":
            error: GatewayError = MethodNotAllowed("CONNECT is not served: this is not a proxy.")
            return _RequestRefused(b"405 Method Not Allowed", error, _ALLOW)
        if version not in _VERSIONS:
            error = _invalid(f"HTTP/{version} is not served, send HTTP/1.1")
            return _RequestRefused(b"505 HTTP Version Not Supported", error)
        if self._of("transfer-encoding") not in _CODINGS[version]:
            return _RequestRefused(b"400 Bad Request", _invalid("bad 'Transfer-Encoding'"))
        if len(self._of("host")) > 1:
            return _RequestRefused(b"400 Bad Request", _invalid("more than one 'Host'"))
        if self._stopped_reading or len(self._owed) >= MOST_PIPELINED:
            return _RequestRefused(
                b"400 Bad Request", _invalid("too many requests on one connection")
            )
        return None

    def _of(self, name: str) -> list[bytes]:
        return [value.lower() for it, value in self.headers if it == name.encode()]

    # ------------------------------------------------------------ answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Only now does this request's answer begin; until then others' timers may have run.
        self._unset_keepalive_if_required()
        if cycle.scope["http_version"] == "1.0" or cycle.waiting_for_100_continue:
            app = _Reframed(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._owed.popleft()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.write_stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._stalled)
        super().resume_writing()

    def _refuse(self, refusal: _RequestRefused) -> None:
        """Respond to what cannot be parsed, unless responses are owed, and read nothing more."""
        self._stopped_reading = True
        self._end_head()
        started = self._drop_broken()
        if self._owed:
            # A refusal now would be read as the response to an earlier request.
            self._owed[-1].keep_alive = False
            return
        if not started and not self.transport.is_closing():
            body = error_body(refusal.error, "")
            head = b"HTTP/1.1 %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n"
            self.transport.write(
                head % (refusal.status, refusal.headers, len(body))
                + b"connection: close\r\n\r\n"
                + body
            )
            # Closing with bytes unread makes the kernel send a reset, which may overtake this.
            self.transport.write_eof()
            self._late = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _drop_broken(self) -> bool:
        """
        Forget the newest request if its body can no longer come; return whether it was answered
        in part.
        """
        broken = self._newest
        if broken is None or not broken.more_body:
            return False
        if self._owed and self._owed[-1] is broken:
            self._owed.pop()
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        broken.disconnected = True
        broken.on_response = lambda: None
        broken.message_event.set()
        return broken.response_started

    # ------------------------------------------------------------ time

    def _end_head(self) -> None:
        self._in_head = False
        self._line_bytes = 0
        _cancel(self._late)
        self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self._owed:  # earlier requests get their responses first
            self._late = self.loop.call_later(self.head_seconds, self._too_late)
        else:
            self.transport.close()

    def _probe(self) -> None:
        """
        Find out whether a client that has finished sending is still there to read.

        One that has closed looks the same, until something is sent to it: its machine then
        answers with a reset. An interim response is what every HTTP/1.1 client must skip. To
        one of HTTP/1.0 none may be sent: it has a moment, for what is answered at once.
        """
        first = self._owed[0]
        if first.scope["http_version"] == "1.1" and not first.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._ended_at = self.loop.time()
        # The next request of one that has closed may be here already, and is to join.
        self._check_peer()

    def _check_peer(self) -> None:
        age = self.loop.time() - self._ended_at
        if self._is_peer_gone(age):
            self.transport.abort()
            return
        # Often at first, when it matters; less and less while the client stays.
        wait = min(max(PROBE_SECONDS, age / 10), 1.0)
        self._probing = self.loop.call_later(wait, self._check_peer)

    def _is_peer_gone(self, age: float) -> bool:
        peer = self.transport.get_extra_info("socket")
        if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        return age >= PROBE_SECONDS and any(
            cycle.scope["http_version"] == "1.0" and not cycle.response_started
            for cycle in self._owed
        )


class _Reframed:
    """
    An app whose answers are framed otherwise than uvicorn would.

    HTTP/1.0 has no chunks: without a Content-Length the end of the connection is the end of
    the answer. And who waits for a 100 and is refused without one may send the body, or the
    next request: only closing the connection makes sure that neither is taken for the other.
    """

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._unframed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def reframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._begin(scope, message)
            elif self._unframed:
                self._cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, reframed)

    def _begin(self, scope: Scope, message: Message) -> None:
        cycle = self._cycle
        cycle.keep_alive = cycle.keep_alive and not cycle.waiting_for_100_continue
        sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
        if scope["http_version"] == "1.0" and not sized:
            self._unframed = True
            cycle.chunked_encoding = False


def _pauses(cycle: RequestResponseCycle) -> bool:
    """
    Say whether an answer has begun that stops and goes, as a stream of events does.

    Nothing can be sent into its pauses to find out who is there, and by then its client had
    its time to finish sending: it has closed.
    """
    return cycle.response_started and not cycle.expected_content_length


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid HTTP request: {why}.", code="invalid_request")


def _too_large(message: str) -> _RequestRefused:
    return _RequestRefused(b"431 Request Header Fields Too Large", InvalidRequest(message))
