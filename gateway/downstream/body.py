"""A request body as it arrives: within limits of size, pace and memory, and decompressed."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.types import Message, Receive

from gateway.domain.errors import BodyTooSlow, InvalidRequest, RequestTooLarge, UnsupportedCoding
from gateway.downstream.disconnect import ClientLeft
from gateway.downstream.memory_budget import Reservation

Turn = Callable[[], Awaitable[object]]
"""Waits until it is this request's turn to work on the event loop."""

NEXT_ROUND: Turn = partial(asyncio.sleep, 0)

_SLICE = 65_536  # bytes; the most expensive bodies take some 20 ms to parse so much


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be at most; the first three are the config's."""

    max_body_bytes: int
    body_seconds: float
    """From the head to the last byte."""
    idle_body_seconds: float
    """Between two pieces: some retries announce a body and never send it (openai.md 7.1)."""
    max_parts: int = 64
    max_text_bytes: int = 2**20
    """Of one text field; pictures as data URLs have the body's limit."""
    max_header_bytes: int = 8192
    """Of one header line of a part."""
    max_headers: int = 16
    """Of one part."""


def announced(headers: Mapping[str, str]) -> int:
    """Return the Content-Length in bytes; 0 where there is none, as in a chunked body."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def refuse_too_large(n: int, limits: BodyLimits) -> None:
    """
    Refuse a body of *n* bytes, by its Content-Length or while it arrives.

    Raises:
        RequestTooLarge: it is over the limit.
    """
    if n > limits.max_body_bytes:
        raise RequestTooLarge(
            f"Maximum content size limit ({limits.max_body_bytes}) exceeded "
            f"({n} bytes). Send fewer or smaller images."
        )


async def read_body(
    receive: Receive,
    into: Callable[[bytes], None],
    limits: BodyLimits,
    reservation: Reservation,
    turn: Turn = NEXT_ROUND,
) -> None:
    """
    Call *into* with each piece of the body, of 64 KiB at most, until the body ends.

    Each piece waits for a *turn*; that time is not the client's.

    Raises:
        RequestTooLarge: the body is over its limit.
        BodyTooSlow: a pause or the whole body took too long.
        Overloaded: the memory budget has no room for it.
        ClientLeft: the client disconnected first.
    """
    loop = asyncio.get_running_loop()
    latest = loop.time() + limits.body_seconds
    total = 0
    try:
        async with asyncio.timeout_at(latest) as timer:
            while True:
                timer.reschedule(min(latest, loop.time() + limits.idle_body_seconds))
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                if piece := message.get("body", b""):
                    total += len(piece)
                    refuse_too_large(total, limits)
                    reservation.grow_to(total)
                    timer.reschedule(None)
                    arrived = loop.time()
                    await _in_slices(piece, into, turn)
                    latest += loop.time() - arrived
                if not message.get("more_body", False):
                    return
    except TimeoutError as exc:
        raise BodyTooSlow("The request body did not arrive in time. Send it again.") from exc


async def _in_slices(piece: bytes, into: Callable[[bytes], None], turn: Turn) -> None:
    """Call *into* with slices of *piece*, which may be 320 KiB, each in a turn of its own."""
    for start in range(0, len(piece), _SLICE):
        await turn()
        into(piece[start : start + _SLICE])


MOST_PIECE_BYTES = 65_536
"""Of one decompressed piece, so that the limit of a body stops a decompression bomb."""
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def decoded(receive: Receive, headers: Mapping[str, str]) -> Receive:
    """
    Return a ``receive`` that returns the body decompressed (RFC 9110 8.4).

    Raises:
        UnsupportedCoding: the body is compressed by another coding, or more than once.
    """
    header = headers.get("content-encoding", "")
    codings = [it for it in map(str.strip, header.lower().split(",")) if it not in {"", "identity"}]
    if not codings:
        return receive
    if len(codings) > 1 or codings[0] not in _WINDOW_BITS:
        raise UnsupportedCoding(
            f"The header 'Content-Encoding: {header[:100]}' names what cannot be read here. Send"
            " the body without it, or compressed once by gzip or deflate."
        )
    return _Decoded(receive, _WINDOW_BITS[codings[0]])


class _Decoded:
    """
    A ``receive`` that decompresses.

    It may raise InvalidRequest: the body is not in the coding of the header, or cut short.
    """

    def __init__(self, receive: Receive, window_bits: int) -> None:
        self._receive = receive
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(window_bits)
        self._rest = b""
        """Received, and not decompressed yet."""
        self._full = False
        """Whether the last piece had its full size, so that more may follow without more input."""
        self._began = False
        self._ended = False

    async def __call__(self) -> Message:
        while True:
            if self._rest or self._full:
                await asyncio.sleep(0)  # lets other tasks run: little input may become much
                if piece := self._next_piece():
                    return {"type": "http.request", "body": piece, "more_body": True}
            elif self._ended:
                self._check_end()
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._rest = message.get("body", b"")
                self._ended = not message.get("more_body", False)

    def _next_piece(self) -> bytes:
        self._began = True
        if self._stream.eof:  # gzip may have several members
            self._stream = zlib.decompressobj(self._window_bits)
        try:
            piece = self._stream.decompress(self._rest, MOST_PIECE_BYTES)
        except zlib.error:
            raise _broken("is not what the header 'Content-Encoding' says") from None
        self._rest = self._stream.unconsumed_tail or self._stream.unused_data
        self._full = len(piece) == MOST_PIECE_BYTES and not self._stream.eof
        return piece

    def _check_end(self) -> None:
        if self._began and not self._stream.eof:
            raise _broken("ends before its compressed data do")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The request body {why}.", code="invalid_request_body")
