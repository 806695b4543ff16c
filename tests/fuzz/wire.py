"""One HTTP request as bytes, sent in pieces, and what came back."""

import asyncio
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import orjson

from tests.harness import KEY, origin_of

LONGEST = 30.0
"""Real seconds until an answer: longer is a hang. The most that came of any request is 4."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What is sent, and what has to come of it."""

    body: bytes
    content_type: bytes
    cuts: tuple[int, ...] = ()
    """Where the body is cut into pieces, each sent by itself; modulo its length."""
    chunked: bool = False
    leaves: bool = False
    """The client hangs up once everything is sent."""
    start: bytes = b"POST /v1/images/edits HTTP/1.1"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    owner: tuple[str, str] | None = None
    """This must be an edit, of the prompt and the picture with these digests."""

    @property
    def head(self) -> bytes:
        length = (b"transfer-encoding", b"chunked")
        if not self.chunked:
            length = (b"content-length", b"%d" % len(self.body))
        lines = (
            (b"host", b"gateway"),
            (b"authorization", b"Bearer " + KEY.encode()),
            (b"connection", b"close"),
            (b"content-type", self.content_type),
            length,
            *self.headers,
        )
        return b"".join((self.start, *(b"\r\n%s: %s" % line for line in lines), b"\r\n\r\n"))

    @property
    def pieces(self) -> list[bytes]:
        places = sorted({cut % (len(self.body) + 1) for cut in self.cuts} | {0, len(self.body)})
        pieces = [self.body[a:b] for a, b in pairwise(places)]
        if not self.chunked:
            return pieces
        return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b"")]


@dataclass(frozen=True, slots=True)
class Landed:
    """What came back; status 0 if the connection ended without an answer."""

    status: int = 0
    body: bytes = b""
    all_sent: bool = True

    @property
    def code(self) -> str:
        """The error's, as in OpenAI's envelope; "malformed" if it has another shape."""
        if self.body == b"Invalid HTTP request received.":
            return "no http"
        try:
            error: dict[str, Any] = orjson.loads(self.body)["error"]
            well = {"message", "type", "param", "code"} <= set(error)
            return str(error["code"]) if well else "malformed"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "malformed"

    @property
    def owner(self) -> tuple[str, str]:
        return origin_of(b64decode(orjson.loads(self.body)["data"][0]["b64_json"]))


async def shoot(url: str, shot: Shot) -> Landed:
    """
    Send *shot* by a connection of its own.

    Raises:
        TimeoutError: no answer came in time.
    """
    to = httpx.URL(url)
    reader, writer = await asyncio.open_connection(to.host, to.port)
    all_sent = False
    try:
        with suppress(ConnectionError):  # refused before its end
            for piece in (shot.head, *shot.pieces):
                writer.write(piece)
                await writer.drain()
            all_sent = True
        return Landed(all_sent=all_sent) if shot.leaves else await _landed(reader, all_sent)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _landed(reader: asyncio.StreamReader, all_sent: bool) -> Landed:
    came = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            came += piece
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    return Landed(int(head.split()[1]) if head else 0, body, all_sent)
