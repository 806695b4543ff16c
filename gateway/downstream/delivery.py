"""An answer → the customer's socket, and the knowledge that it got there."""

import asyncio
from collections.abc import Callable, Iterable
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

Measure = Callable[[bytes], Size | None]
"""Pixels of a picture that DashScope made; ``None`` where its bytes do not tell."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent, in pieces: each is made only when the one before it has left."""

    headers: dict[str, str]
    length: int
    """Of the pieces together, in bytes."""
    pieces: Iterable[bytes]
    status: int = 200

    async def begin(self, send: Send, customer: Customer) -> None:
        """
        Send everything but the end, and wait until the socket has it.

        Raises:
            CustomerLeft: some of it cannot have arrived.
        """
        head = {
            "content-type": "application/json",
            "content-length": str(self.length),
            **self.headers,
        }
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in head.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
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


def delivery_of(answer: Answer, created: int, measure: Measure) -> Delivery:
    """Return *answer* as OpenAI's JSON; *created* is in seconds since the epoch."""
    headers = answer_headers(answer)
    if answer.urls:
        body = url_answer(created, answer.urls, answer.form)
        return Delivery(headers, len(body), (body,))
    sizes = {measure(picture) for picture in answer.pictures}
    size = sizes.pop() if len(sizes) == 1 else None
    lengths = [len(picture) for picture in answer.pictures]
    return Delivery(
        headers,
        answer_length(created, lengths, answer.form, size),
        answer_pieces(created, answer.pictures, answer.form, size),
    )


def running_body(told: Told) -> bytes:
    """Return what is said of an edit whose answer is not to be had, or not wanted, now."""
    return running_answer(edit_id=told.edit_id, status=told.status, created=told.created)
