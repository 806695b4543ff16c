"""The bytes of a request body as they arrive, within limits of size, pace and memory."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive

from gateway.domain.errors import BodyTooSlow, RequestTooLarge
from gateway.downstream.bytes_budget import Share

_SLICE = 65_536  # what is made to cost takes some 20 ms for so much


class AnswerCut(Exception):
    """The rest of an answer cannot be had: its connection is cut, and the retry joins."""


class ClientLeft(Exception):
    """The client hung up: nobody is there to be answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may be at most."""

    max_body_bytes: int = 160 * 2**20
    """Three pictures of 50 MB and some text."""
    max_parts: int = 64
    max_text_bytes: int = 2**20
    """Of one text field; pictures as data URLs have the body's limit."""
    max_header_bytes: int = 8192
    """Of one header line of a part."""
    max_headers: int = 16
    """Of one part."""
    body_seconds: float = 300.0
    idle_body_seconds: float = 30.0
    """Node 4's retries announce a body and never send it (openai.md 7.1)."""


def announced(headers: Mapping[str, str]) -> int:
    """Return the Content-Length in bytes; 0 where there is none, as in a chunked body."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def refuse_too_large(n: int, limits: Limits) -> None:
    """
    Refuse a body of *n* bytes by Content-Length before a byte of it is read, or on the way.

    Raises:
        RequestTooLarge: it is over the limit.
    """
    if n > limits.max_body_bytes:
        raise RequestTooLarge(
            f"Maximum content size limit ({limits.max_body_bytes}) exceeded "
            f"({n} bytes). Send fewer or smaller images."
        )


async def pour(
    receive: Receive, into: Callable[[bytes], None], limits: Limits, share: Share
) -> None:
    """
    Hand the body to *into* as it comes, to its end, in pieces of 64 KiB at most.

    Raises:
        RequestTooLarge: more bytes came than the limits allow.
        BodyTooSlow: silence, or the whole, took too long.
        Overloaded: the budget has no room for what comes.
        CustomerLeft: the client hung up first.
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
                    share.grow_to(total)
                    await _in_slices(piece, into)
                if not message.get("more_body", False):
                    return
    except TimeoutError as exc:
        raise BodyTooSlow("The request body did not arrive in time. Send it again.") from exc


async def _in_slices(piece: bytes, into: Callable[[bytes], None]) -> None:
    """Hand on *piece*, which may be 320 KiB; others have a turn in between."""
    into(piece[:_SLICE])
    for start in range(_SLICE, len(piece), _SLICE):
        await asyncio.sleep(0)
        into(piece[start : start + _SLICE])
