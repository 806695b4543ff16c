"""
The reply to an edit: wait for its result, send it, and know that the client has it.

There are three forms: one JSON body at the end (``JsonReply``), the same JSON behind newlines
that keep proxies and clients awake (``PaddedJsonReply``), and server-sent events
(``EventStreamReply``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from starlette.types import Send

from gateway.domain.clock import Clock, Phase, Phases
from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.domain.price import Prices
from gateway.domain.tenant import KeepAlive, Tenant
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.responses import (
    edit_headers,
    failure_headers,
    result_headers,
    server_timing,
)
from gateway.edits.request import EditResult, IncomingPicture, KeptResult
from gateway.edits.waiter import Waiter
from gateway.translate.encodings import Encoder, base64_length, encode_base64
from gateway.translate.openai_error import error_body
from gateway.translate.openai_response import (
    HEARTBEAT,
    answer_frames,
    completed_frames,
    completed_url,
    error_event,
    header_comments,
    url_answer,
)

Measure = Callable[[bytes], Size | None]
"""From a picture's first bytes to its size in pixels; ``None`` where they do not hold it."""

UrlOf = Callable[[KeptResult], str]
"""From a picture that is kept here to the signed URL that leads to it."""

STALL_SECONDS = 120.0
"""A client that takes no byte for so long counts as disconnected."""

# Nginx would hold heartbeats back until its buffer is full.
_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_PHASES = {"waiting": "queued", "submitting": "submitting", "succeeded": "downloading"}


class ReplyCut(Exception):
    """The rest of a reply cannot be had: its connection is cut, and the client's retry joins."""


@dataclass(frozen=True, slots=True)
class InBase64:
    """A picture within a body; it is encoded while it is sent (D68)."""

    picture: bytes | IncomingPicture

    @property
    def length(self) -> int:
        if isinstance(self.picture, bytes):
            return base64_length(len(self.picture))
        return base64_length(self.picture.length)

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Yield the picture in base64, some 256 KiB at a time.

        Raises:
            GatewayError: it cannot be downloaded to its end.
        """
        if isinstance(self.picture, bytes):
            for piece in encode_base64(self.picture):
                yield piece
            return
        encoder = Encoder()
        async for chunk in self.picture.chunks():
            yield encoder.feed(chunk)
        yield encoder.end()


BodyPart = bytes | InBase64


@dataclass(slots=True, kw_only=True)
class JsonReply:
    """One JSON body at the end. Whatever fails before it has its own status."""

    waiter: Waiter
    client: DisconnectWatch
    send: Send
    record: AccessRecord
    phases: Phases
    operation: Operation
    measure: Measure
    clock: Clock
    observer: EdgeObserver
    url_of: UrlOf | None = None
    """``None``: no pictures are kept here."""
    request_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that the request alone decides."""
    prices: Prices = field(default_factory=dict)
    """By which result_headers computes the cost; empty: it does not."""
    heartbeat_seconds: float = 0.0
    max_wait_seconds: float = 0.0
    """How long a client may wait once heartbeats reach it."""
    stall_seconds: float = STALL_SECONDS
    head: dict[str, str] | None = None
    """The headers that went out, with status 200; ``None`` before that."""

    headers: ClassVar[Mapping[str, str]] = MappingProxyType({"content-type": "application/json"})
    heartbeat: ClassVar[bytes] = b""
    starts_at: ClassVar[frozenset[str]] = frozenset()
    """The statuses of an edit at which the head may go out before the edit has ended."""

    async def run(self) -> None:
        """
        Wait for the edit, then send its result or its error.

        Raises:
            GatewayError: the edit failed or the deadline came, and nothing was sent yet.
            ClientLeft: the client disconnected; the edit goes on without it (P4).
            ReplyCut: a picture broke off for good in the middle of the body.
        """
        try:
            try:
                result = await self.client.unless_left(self.wait)
            except GatewayError as error:
                if self.head is None:
                    raise
                await self._send_error(error)
            else:
                await self._send_result(result)
        except ClientLeft:
            self.observer.client_disconnected(self._phase())
            raise
        finally:
            self.record.edit = self.waiter.status

    async def wait(self) -> EditResult:
        """Wait for the edit, with heartbeats where this form has any; see Waiter.answer."""
        if not self.starts_at:
            return await self.waiter.answer()
        ended = asyncio.get_running_loop().create_future()
        group = asyncio.TaskGroup()
        await group.__aenter__()
        group.create_task(self._send_heartbeats(ended))
        try:
            return await self.waiter.answer()
        finally:
            ended.set_result(None)
            # Wait for a heartbeat that is being sent, since half a head would break the reply.
            # The group owns the heartbeats only: errors of the edit are raised as they are.
            await group.__aexit__(None, None, None)

    async def _send_heartbeats(self, ended: "asyncio.Future[None]") -> None:
        """
        Send the head once the edit is far enough, then heartbeats at an interval (D62).

        The head goes out with the first heartbeat and not before, so that whatever fails until
        then still has its own status, which SDKs retry by.
        """
        while not (await asyncio.wait([ended], timeout=self.heartbeat_seconds))[0]:
            if self.client.left:
                return
            status = self.waiter.status
            if self.head is None and status.stage in self.starts_at:
                self.waiter.extend(self.max_wait_seconds)
                timing = {"server-timing": server_timing(self.waiter.spent())}
                await self._send_head({**edit_headers(status), **self.request_headers, **timing})
            if self.head is not None:
                await self.send(_body(self.heartbeat))

    async def _send_result(self, result: EditResult) -> None:
        began = self.clock.now()
        self.phases.enter(Phase.RESPOND, began)
        self.record.results = len(result.kept)
        parts = self.body_of(result, result.status.created or int(self.clock.epoch()))
        headers = result_headers(result, self.prices)
        if self.head is None and (length := self.length_of(parts)) is not None:
            headers["content-length"] = str(length)
        now = self.clock.now()
        headers["server-timing"] = server_timing(self.phases.spent(now))
        self.record.overhead += now - began
        self.observer.gateway_overhead(self.record.route, self.record.overhead)
        try:
            await self._send_parts(headers, parts)
        except GatewayError as error:
            self.record.note_error(error)
            raise ReplyCut from error
        await self.waiter.delivered()
        await self.send(_END)

    async def _send_error(self, error: GatewayError) -> None:
        """Send an error behind a head that said 200: only the log and a metric have its status."""
        record = self.record
        record.edit = self.waiter.status
        record.note_error(error)
        self.phases.enter(Phase.RESPOND, self.clock.now())
        self.observer.http_late_error(error.status, record.tenant)
        body = self.error_of(error, record.request_id)
        await self._send_parts(failure_headers(record, error), (body,))
        await self.send(_END)

    async def _send_head(self, headers: Mapping[str, str]) -> None:
        self.head = {**self.headers, **headers}
        await send_head(self.send, self.head)

    async def _send_parts(self, headers: Mapping[str, str], parts: Sequence[BodyPart]) -> None:
        """
        Send everything but the end, and return once the socket has taken all of it.

        Raises:
            ClientLeft: some of it cannot have arrived.
            GatewayError: a picture cannot be downloaded to its end.
        """
        if self.head is None:
            await self._send_head(headers)
        else:
            late = {name: it for name, it in headers.items() if self.head.get(name) != it}
            if comment := self.late_headers(late):
                await self.send(_body(comment))
        for part in parts:
            if isinstance(part, bytes):
                await self._send_piece(part)
            else:
                async for piece in part.pieces():
                    await self._send_piece(piece)
        # uvicorn waits for an empty buffer before it takes the next message, so that after this
        # one the kernel has all bytes: the connection sets the high-water mark to 0 (D29).
        await self._send_piece(b"")
        await asyncio.sleep(0)  # lets the watch see a disconnect that ended this wait
        if self.client.left:
            raise ClientLeft

    async def _send_piece(self, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self.stall_seconds):
                await self.send(_body(piece))
        except TimeoutError:
            raise ClientLeft from None
        if self.client.left:
            raise ClientLeft

    def _phase(self) -> str:
        """Return where the edit is, as the metric of disconnects names it."""
        if self.phases.phase is Phase.RESPOND:
            return "writing"
        return _PHASES.get(self.waiter.status.stage, "polling")

    # ------------------------------------------------------------ what the forms differ in

    def body_of(self, result: EditResult, created: int) -> Sequence[BodyPart]:
        """Return the parts of the body; *created* is in seconds since the epoch."""
        if urls := self.urls_of(result):
            return (url_answer(created, urls, result.revised_prompts),)
        sizes = {self.measure(_first_bytes(picture)) for picture in result.pictures}
        size = sizes.pop() if len(sizes) == 1 else None
        first, *frames = answer_frames(
            created, len(result.pictures), result.form, size, result.revised_prompts
        )
        parts: list[BodyPart] = [first]
        for picture, frame in zip(result.pictures, frames, strict=True):
            parts += [InBase64(picture), frame]
        return parts

    def urls_of(self, result: EditResult) -> Sequence[str]:
        """Return the URLs that are answered in place of pictures, if any."""
        if self.url_of is None:
            return result.urls
        return result.urls or [self.url_of(kept) for kept in result.kept]

    def length_of(self, parts: Sequence[BodyPart]) -> int | None:
        """Return the Content-Length in bytes; ``None``: until the end of the message."""
        return sum(len(part) if isinstance(part, bytes) else part.length for part in parts)

    def error_of(self, error: GatewayError, request_id: str) -> bytes:
        """Return the body of an error that comes after the head."""
        return error_body(error, request_id)

    def late_headers(self, headers: Mapping[str, str]) -> bytes:  # noqa: ARG002 - JSON has no place for them
        """Return the bytes that carry headers known only after the head; empty: none do."""
        return b""


class PaddedJsonReply(JsonReply):
    """JSON behind newlines, which parsers skip; an error after them has status 200 (D66)."""

    headers = MappingProxyType({"content-type": "application/json", **_UNBUFFERED})
    heartbeat = b"\n"
    starts_at = frozenset({"running", "succeeded"})


class EventStreamReply(JsonReply):
    """Server-sent events: comments as heartbeats, then one event for each picture."""

    headers = MappingProxyType({"content-type": "text/event-stream", **_UNBUFFERED})
    heartbeat = HEARTBEAT
    starts_at = frozenset({"waiting", "submitting", "running", "succeeded"})

    def body_of(self, result: EditResult, created: int) -> Sequence[BodyPart]:
        parts: list[BodyPart] = [
            completed_url(created, url, result.form, self.operation) for url in self.urls_of(result)
        ]
        for picture in result.pictures:
            size = self.measure(_first_bytes(picture))
            before, after = completed_frames(created, result.form, size, self.operation)
            parts += [before, InBase64(picture), after]
        return parts

    def length_of(self, parts: Sequence[BodyPart]) -> int | None:  # noqa: ARG002 - a stream has none
        return None

    def error_of(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error, request_id)

    def late_headers(self, headers: Mapping[str, str]) -> bytes:
        return header_comments(headers)


def reply_form(output: OutputOptions, tenant: Tenant) -> type[JsonReply]:
    """Return the form that the request asks for, else the one that its tenant is set to."""
    if output.stream:
        return EventStreamReply
    return PaddedJsonReply if tenant.keep_alive is KeepAlive.WHITESPACE else JsonReply


async def send_head(send: Send, headers: Mapping[str, str]) -> None:
    """Send the status 200 and *headers*."""
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


_END = {"type": "http.response.body", "body": b"", "more_body": False}


def _body(piece: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": piece, "more_body": True}


def _first_bytes(picture: bytes | IncomingPicture) -> bytes:
    return picture if isinstance(picture, bytes) else picture.head
