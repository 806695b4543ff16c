"""An answer → the client's socket, and the knowledge that it got there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from starlette.types import Send

from gateway.domain.clock import Clock, Phase, Phases
from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.domain.tenant import KeepAlive, Tenant
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.body import AnswerCut, ClientLeft
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.ports import EdgeObserver, Waiter
from gateway.downstream.responses import (
    edit_headers,
    note,
    refusal_headers,
    result_headers,
    server_timing,
)
from gateway.edits.request import EditResult, EditStatus, Incoming
from gateway.translate.encodings import Encoder, encoded, encoded_length
from gateway.translate.openai_error import error_body
from gateway.translate.openai_response import (
    HEARTBEAT,
    answer_frames,
    comments,
    completed_frames,
    error_event,
    running_answer,
    url_answer,
)

Measure = Callable[[bytes], Size | None]
"""Pixels of a picture by its first bytes; ``None`` where they do not tell."""

_STALL_SECONDS = 120.0
"""A client that takes no byte for so long is taken for gone."""


@dataclass(frozen=True, slots=True)
class InBase64:
    """A picture's place in an answer; encoded while it is sent."""

    picture: bytes | Incoming

    @property
    def length(self) -> int:
        return encoded_length(_length(self.picture))

    async def pieces(self) -> AsyncIterator[bytes]:
        if isinstance(self.picture, bytes):
            for piece in encoded(self.picture):
                yield piece
            return
        encoder = Encoder()
        async for chunk in self.picture.chunks():
            yield encoder.feed(chunk)
        yield encoder.end()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent, in parts: each is made only when the one before it has left."""

    headers: dict[str, str]
    parts: tuple[bytes | InBase64, ...]
    sized: bool = False
    """Whether the head tells how long the parts are together."""

    @property
    def length(self) -> int | None:
        """Bytes of all parts; ``None``: the end of the message tells."""
        if not self.sized:
            return None
        return sum(len(part) if isinstance(part, bytes) else part.length for part in self.parts)

    async def begin(self, send: Send, client: DisconnectWatch) -> None:
        """
        Send all parts, whose head has gone out, and wait until the socket has them.

        Raises:
            CustomerLeft: some of it cannot have arrived.
            GatewayError: a picture cannot be had to its end: what went out is to be cut.
        """
        for part in self.parts:
            if isinstance(part, bytes):
                await _send(part, send, client)
            else:
                async for piece in part.pieces():
                    await _send(piece, send, client)
        # uvicorn waits for an empty buffer before it takes the next message, so that after
        # this one all bytes are the kernel's (the server sets the high-water mark to 0).
        await _send(b"", send, client)
        await asyncio.sleep(0)  # lets the watch see a connection that ended this wait
        if client.left:
            raise ClientLeft

    async def end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(piece: bytes, send: Send, client: DisconnectWatch) -> None:
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientLeft from None
    if client.left:
        raise ClientLeft


async def send_head(send: Send, headers: Mapping[str, str]) -> None:
    """Send the status 200 and *headers*."""
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


def json_of(answer: EditResult, created: int, measure: Measure) -> Delivery:
    """Return *answer* as OpenAI's JSON; *created* is in seconds since the epoch."""
    headers = result_headers(answer)
    if answer.urls:
        return Delivery(headers, (url_answer(created, answer.urls),), sized=True)
    sizes = {measure(_head(picture)) for picture in answer.pictures}
    size = sizes.pop() if len(sizes) == 1 else None
    first, *frames = answer_frames(created, len(answer.pictures), answer.form, size)
    parts: list[bytes | InBase64] = [first]
    for picture, frame in zip(answer.pictures, frames, strict=True):
        parts += [InBase64(picture), frame]
    return Delivery(headers, tuple(parts), sized=True)


def events_of(
    answer: EditResult, created: int, measure: Measure, operation: Operation = Operation.EDIT
) -> Delivery:
    """Return *answer* as server-sent events, one for each picture."""
    parts: list[bytes | InBase64] = []
    for picture in answer.pictures:
        size = measure(_head(picture))
        before, after = completed_frames(created, answer.form, size, operation)
        parts += [before, InBase64(picture), after]
    return Delivery(result_headers(answer), tuple(parts))


def running_body(told: EditStatus, operation: Operation) -> bytes:
    """Return what is said of an edit whose answer is not to be had, or not wanted, now."""
    return running_answer(told.edit_id, operation, status=told.status, created=told.created)


def _length(picture: bytes | Incoming) -> int:
    return len(picture) if isinstance(picture, bytes) else picture.length


def _head(picture: bytes | Incoming) -> bytes:
    return picture if isinstance(picture, bytes) else picture.head


# Nginx would hold the beats back until its buffer is full.
_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Manner:
    """One way to answer. A beat is sent only once the head is, which commits the status 200."""

    headers: Mapping[str, str]
    """Of the head, whatever the edit."""
    beat: bytes
    begins_at: frozenset[str]
    """The statuses of an edit at which the head may go out before the edit has ended."""
    deliver: Callable[[EditResult, int, Measure], Delivery]
    error: Callable[[GatewayError, str], bytes]
    """What tells of a bad end after the head."""
    late: Callable[[Mapping[str, str]], bytes]
    """What tells headers that were known only after the head."""


SILENCE = Manner(
    headers=MappingProxyType({"content-type": "application/json"}),
    beat=b"",
    begins_at=frozenset(),
    deliver=json_of,
    error=error_body,
    late=lambda _: b"",
)
BLANKS = Manner(
    headers=MappingProxyType({"content-type": "application/json", **_UNBUFFERED}),
    beat=b"\n",
    begins_at=frozenset({"running", "succeeded"}),
    deliver=json_of,
    error=error_body,
    late=lambda _: b"",
)
EVENTS = Manner(
    headers=MappingProxyType({"content-type": "text/event-stream", **_UNBUFFERED}),
    beat=HEARTBEAT,
    begins_at=frozenset({"waiting", "submitting", "running", "succeeded"}),
    deliver=events_of,
    error=error_event,
    late=comments,
)
GENERATION_EVENTS = replace(EVENTS, deliver=partial(events_of, operation=Operation.GENERATE))


def manner_of(form: OutputOptions, tenant: Tenant, operation: Operation) -> Manner:
    """Return how this request is answered: as it asks itself, else as its tenant is set."""
    if form.stream:
        return EVENTS if operation is Operation.EDIT else GENERATION_EVENTS
    return BLANKS if tenant.keep_alive is KeepAlive.WHITESPACE else SILENCE


@dataclass(slots=True)
class Opening:
    """
    Keeps one connection awake while its edit is waited for.

    The head goes out with the first beat and not before, so that whatever goes wrong until
    then is still told by its status, which SDKs retry by.
    """

    manner: Manner
    asked: Mapping[str, str]
    """Headers that the request alone decides."""
    waiter: Waiter
    client: DisconnectWatch
    send: Send
    every: float
    """Seconds from beat to beat."""
    longest: float
    """Seconds that a client waits who hears of us."""
    sent: dict[str, str] = field(default_factory=dict)
    """The head that went out; empty while none did."""

    async def answer(self) -> EditResult:
        """
        Wait for the edit.

        Raises:
            GatewayError: it ended badly, or the deadline came.
        """
        if not self.manner.begins_at:
            return await self.waiter.answer()
        over = asyncio.get_running_loop().create_future()
        group = asyncio.TaskGroup()
        await group.__aenter__()
        group.create_task(self._keep_awake(over))
        try:
            return await self.waiter.answer()
        finally:
            over.set_result(None)
            # Waits for a beat under way, since half a head would break the answer. The group
            # only owns the beats: what the visit raises goes on as it is, in no group.
            await group.__aexit__(None, None, None)

    async def begin(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Send the head, unless it went out; return those of *headers* that it did not tell."""
        if not self.sent:
            self.sent = {**self.manner.headers, **headers}
            await send_head(self.send, self.sent)
        return {name: value for name, value in headers.items() if self.sent.get(name) != value}

    async def _keep_awake(self, over: "asyncio.Future[None]") -> None:
        while not (await asyncio.wait([over], timeout=self.every))[0]:
            if self.client.left:
                return
            if not self.sent and self.waiter.told.status in self.manner.begins_at:
                self.waiter.extend(self.longest)
                timing = {"server-timing": server_timing(self.waiter.spent())}
                await self.begin({**edit_headers(self.waiter.told), **self.asked, **timing})
            if self.sent:
                beat = {"type": "http.response.body", "body": self.manner.beat, "more_body": True}
                await self.send(beat)


_PLACE_BY_STATUS = {"waiting": "queued", "submitting": "submitting", "succeeded": "downloading"}


@dataclass(frozen=True, slots=True)
class Stay:
    opening: Opening
    line: AccessRecord
    phases: Phases
    measure: Measure
    clock: Clock
    observer: EdgeObserver

    async def answer(self) -> None:
        """
        Wait for the edit and send it.

        Raises:
            GatewayError: it ended badly, or not in time, and no byte has gone out.
            CustomerLeft: nobody is there any more.
            AnswerCut: a picture broke off for good in the middle of the answer.
        """
        opening = self.opening
        try:
            try:
                answer = await opening.client.unless_left(opening.answer)
            except GatewayError as error:
                if not opening.sent:
                    raise
                await self._tell(error)
            else:
                await self._deliver(answer)
        except ClientLeft:
            self.observer.client_disconnected(self._place())
            raise
        finally:
            self.line.told = opening.waiter.told

    async def _deliver(self, answer: EditResult) -> None:
        opening = self.opening
        answered = self.clock.now()
        self.phases.enter(Phase.RESPOND, answered)
        created = answer.told.created or int(self.clock.epoch())
        delivery = opening.manner.deliver(answer, created, self.measure)
        headers = dict(delivery.headers)
        if delivery.length is not None and not opening.sent:
            headers["content-length"] = str(delivery.length)
        now = self.clock.now()
        headers["server-timing"] = server_timing(self.phases.spent(now))
        self.line.overhead += now - answered
        self.observer.gateway_overhead(self.line.route, self.line.overhead)
        try:
            await self._send(headers, delivery)
        except GatewayError as error:
            note(self.line, error)
            raise AnswerCut from error
        await opening.waiter.delivered()
        await delivery.end(opening.send)

    async def _tell(self, error: GatewayError) -> None:
        """Tell of a bad end after the head, which said 200: here, the log and a metric tell."""
        line = self.line
        opening = self.opening
        line.told = opening.waiter.told
        self.phases.enter(Phase.RESPOND, self.clock.now())
        note(line, error)
        self.observer.http_late_error(error.status, line.tenant)
        told = Delivery({}, (opening.manner.error(error, line.request_id),))
        await self._send(refusal_headers(line, error), told)
        await told.end(opening.send)

    async def _send(self, headers: dict[str, str], delivery: Delivery) -> None:
        """Send all but the end; headers that come too late are told otherwise, or not at all."""
        opening = self.opening
        late = opening.manner.late(await opening.begin(headers))
        if late:
            await opening.send({"type": "http.response.body", "body": late, "more_body": True})
        await delivery.begin(opening.send, opening.client)

    def _place(self) -> str:
        if self.phases.phase is Phase.RESPOND:
            return "writing"
        return _PLACE_BY_STATUS.get(self.opening.waiter.told.status, "polling")
