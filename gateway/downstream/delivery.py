"""An answer → the customer's socket, and the knowledge that it got there."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from starlette.types import Send

from gateway.domain.edit import Size
from gateway.downstream.body import CustomerLeft
from gateway.downstream.customer import Customer
from gateway.downstream.edit_headers import answer_headers
from gateway.journey.ask import Answer, Told
from gateway.translate.openai_response import (
    answer_length,
    answer_pieces,
    running_answer,
    url_answer,
)
from gateway.translate.openai_stream import completed_event

Measure = Callable[[bytes], Size | None]
"""Pixels of a picture that DashScope made; ``None`` where its bytes do not tell."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent, in pieces: each is made only when the one before it has left."""

    headers: dict[str, str]
    pieces: Iterable[bytes]
    length: int | None = None
    """Of the pieces together, in bytes; ``None``: the end of the message tells."""

    async def begin(self, send: Send, customer: Customer) -> None:
        """
        Send all pieces, whose head has gone out, and wait until the socket has them.

        Raises:
            CustomerLeft: some of it cannot have arrived.
        """
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if customer.left:
                raise CustomerLeft
        # uvicorn waits for an empty buffer before it takes the next message, so that after
        # this one all bytes are the kernel's (the server sets the high-water mark to 0).
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(0)  # lets the watch see a connection that ended this wait
        if customer.left:
            raise CustomerLeft

    async def end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def send_head(send: Send, headers: Mapping[str, str]) -> None:
    """Send the status 200 and *headers*."""
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


def json_of(answer: Answer, created: int, measure: Measure) -> Delivery:
    """Return *answer* as OpenAI's JSON; *created* is in seconds since the epoch."""
    headers = answer_headers(answer)
    if answer.urls:
        body = url_answer(created, answer.urls, answer.form)
        return Delivery(headers, (body,), len(body))
    sizes = {measure(picture) for picture in answer.pictures}
    size = sizes.pop() if len(sizes) == 1 else None
    lengths = [len(picture) for picture in answer.pictures]
    return Delivery(
        headers,
        answer_pieces(created, answer.pictures, answer.form, size),
        answer_length(created, lengths, answer.form, size),
    )


def events_of(answer: Answer, created: int, measure: Measure) -> Delivery:
    """Return *answer* as server-sent events, one for each picture."""

    def pieces() -> Iterator[bytes]:
        for picture in answer.pictures:
            yield from completed_event(created, picture, answer.form, measure(picture))

    return Delivery(answer_headers(answer), pieces())


def running_body(told: Told) -> bytes:
    """Return what is said of an edit whose answer is not to be had, or not wanted, now."""
    return running_answer(edit_id=told.edit_id, status=told.status, created=told.created)
