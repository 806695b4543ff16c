"""An answer → the client's socket, and the knowledge that it got there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from starlette.types import Send

from gateway.domain.edit import Size
from gateway.domain.models import Does
from gateway.downstream.body import ClientLeft
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.edit_headers import answer_headers
from gateway.edits.request import EditResult, EditStatus, Incoming
from gateway.translate.base64_slices import Encoder, encoded, encoded_length
from gateway.translate.openai_response import answer_frames, running_answer, url_answer
from gateway.translate.openai_stream import completed_frames

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
    headers = answer_headers(answer)
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
    answer: EditResult, created: int, measure: Measure, does: Does = Does.EDIT
) -> Delivery:
    """Return *answer* as server-sent events, one for each picture."""
    parts: list[bytes | InBase64] = []
    for picture in answer.pictures:
        size = measure(_head(picture))
        before, after = completed_frames(created, answer.form, size, does)
        parts += [before, InBase64(picture), after]
    return Delivery(answer_headers(answer), tuple(parts))


def running_body(told: EditStatus, does: Does) -> bytes:
    """Return what is said of an edit whose answer is not to be had, or not wanted, now."""
    return running_answer(told.edit_id, does, status=told.status, created=told.created)


def _length(picture: bytes | Incoming) -> int:
    return len(picture) if isinstance(picture, bytes) else picture.length


def _head(picture: bytes | Incoming) -> bytes:
    return picture if isinstance(picture, bytes) else picture.head
