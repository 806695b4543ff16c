"""Result pictures: fetched without a key from allowed hosts (D27), resumed after a break."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx

from gateway.domain.clock import Clock
from gateway.domain.errors import ResultUnavailable
from gateway.domain.tenant import Upstream
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.decoding import decoded
from gateway.upstream.ports import UpstreamCalls
from gateway.upstream.result_url import allowed

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"

HEAD_BYTES = 32
"""Enough to tell form and, of a PNG, size."""
# Bytes behind the end mark are odd but harmless: a paid picture is not lost for them.
TAIL_BYTES = 1024


def fault_of_head(head: bytes) -> str | None:
    """Return what is wrong with a picture that begins with *head*; ``None`` if nothing is yet."""
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if head.startswith((_PNG, _JPEG)) or webp:
        return None
    return "not a PNG, JPEG or WEBP" if head else "empty"


def fault_of_end(head: bytes, tail: bytes, length: int) -> str | None:
    """Return what is wrong with a picture of *length* bytes that ends with *tail*."""
    if head.startswith(_PNG) and _PNG_END not in tail[-TAIL_BYTES:]:
        return "a PNG without its end"
    if head.startswith(_JPEG) and _JPEG_END not in tail[-TAIL_BYTES:]:
        return "a JPEG without its end"
    if head.startswith(b"RIFF") and length < int.from_bytes(head[4:8], "little") + 8:
        return "a WEBP without its end"
    return None


MOST_BYTES = 64 * 2**20
"""No picture of a DashScope task comes near it; it keeps a wrong URL from eating the memory."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})")
_LENGTH = re.compile(r"\d{1,15}")
_PATIENCE = 60.0  # seconds that storage may let us wait in all, and
_SLOWEST = 64 * 1024  # bytes that buy another one
_BUSY = (408, 429, 500, 502, 503, 504)

EditRequest = Callable[[dict[str, str]], Awaitable[httpx.Response]]
"""GET the picture with these headers; the answer's body is not read yet."""
Broke = Callable[[str, str], Awaitable[None]]
"""Told what broke, and its kind (network, status, content); waits, or raises if it was enough."""

_T = TypeVar("_T")


class Broken(Exception):
    """This try failed; another may not."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """network, status or content: for the tally."""


class Incoming:
    """
    One picture. ``length`` and ``head`` are known before its bytes are read, once.

    A GET changes nothing at the storage, so a break is fixed by another, from where the
    last one ended if the server can, else from the first byte, past what was handed on.
    However often that happens, storage has so many seconds in all until the last byte.

    Args:
        ask: Sends the GET.
        broke: Decides whether there is another try.
        clock: Times the waits for storage; those for the client do not count.
        host: Whose storage it is, for the operator.
    """

    def __init__(self, edit_request: EditRequest, broke: Broke, clock: Clock, host: str) -> None:
        self._ask = edit_request
        self._broke = broke
        self._clock = clock
        self._host = host
        self._patience = _PATIENCE
        self._answer: httpx.Response | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._skip = 0
        self._received = 0
        self._tag = ""
        self._resumable = False
        self._tail = b""
        self._whole: bytes | None = None
        self.length = 0
        """Bytes."""
        self.head = b""
        """The first bytes: enough to tell form and size."""

    async def begin(self) -> None:
        """
        Get the head of the picture.

        Raises:
            ResultUnavailable: it is not there, or not to be had.
        """
        while True:
            try:
                await self._open()
                await self._read_head()
            except Broken as broken:
                await self._drop()
                await self._broke(str(broken), broken.reason)
            else:
                return

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        Yield the picture.

        Raises:
            ResultUnavailable: it cannot be had to its end, or its end is not a picture's.
        """
        yield self._take(self.head if self._whole is None else self._whole)
        while self._received < self.length:
            try:
                if self._chunks is None:
                    await self._open()
                chunk = await self._next()
            except Broken as broken:
                await self._drop()
                await self._broke(str(broken), broken.reason)
            else:
                yield self._take(chunk)
        if wrong := fault_of_end(self.head, self._tail, self.length):
            raise unavailable(f"it is {wrong}", self._host, for_good=True)

    async def close(self) -> None:
        await self._drop()

    async def _open(self) -> None:
        """Ask for what is missing; find out what the answer begins with."""
        try:
            self._answer = await self._in_time(self._ask(self._wanted()))
        except httpx.TransportError as exc:
            raise Broken(type(exc).__name__, "network") from exc
        self._skip = self._begins_at(self._answer)
        self._chunks = decoded(self._answer)

    def _wanted(self) -> dict[str, str]:
        if not self._received or not self._resumable:
            return {}
        asked = {"Range": f"bytes={self._received}-"}
        return asked | {"If-Range": self._tag} if self._tag else asked

    def _begins_at(self, answer: httpx.Response) -> int:
        """Return how many bytes of *answer* were handed on before."""
        match answer.status_code:
            case 200 if not self._received:
                self._note(answer)
                return 0
            case 200 if _length_of(answer) == self.length:
                return self._received
            case 206:
                parts = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
                if parts and (int(parts[1]), int(parts[2])) == (self._received, self.length):
                    return 0
                self._resumable = False
                raise Broken("the server resumed elsewhere", "status")
            case 200 | 416:
                self._resumable = False
                raise Broken("the picture has changed", "status")
            case status if status in _BUSY:
                raise Broken(f"HTTP {status}", "status")
            case status:
                # Redirects too: result storage has no reason to send us elsewhere.
                raise unavailable(f"HTTP {status}", self._host, for_good=True)

    def _note(self, answer: httpx.Response) -> None:
        self.length = _length_of(answer)
        if self.length > MOST_BYTES:
            raise self._too_large()
        self._resumable = answer.headers.get("accept-ranges") == "bytes"
        tag = answer.headers.get("etag", "")
        self._tag = "" if tag.startswith("W/") else tag

    async def _read_head(self) -> None:
        """Read on until the form of the picture is told; all of it if its length is not known."""
        head = bytearray()
        known = self.length
        while not known or len(head) < min(known, HEAD_BYTES):
            chunk = await self._next()
            if not chunk:
                break
            head += chunk
            if len(head) > MOST_BYTES:
                raise self._too_large()
        self.head = bytes(head)
        wrong = fault_of_head(self.head)
        if not known:
            wrong = wrong or fault_of_end(self.head, self.head, len(self.head))
            self._whole, self.length = self.head, len(self.head)
        if wrong:
            raise Broken(wrong, "content")

    async def _next(self) -> bytes:
        """Return the next bytes that were not handed on yet; none at the answer's end."""
        try:
            while (chunk := await self._chunk()) and self._skip:
                skipped = min(self._skip, len(chunk))
                self._skip -= skipped
                if chunk := chunk[skipped:]:
                    break
        except httpx.TransportError as exc:
            raise Broken(type(exc).__name__, "network") from exc
        if not chunk and self.length and self._whole is None and not self._at_end():
            raise Broken("it was cut short", "network")
        return chunk

    async def _chunk(self) -> bytes:
        assert self._chunks is not None
        chunk = await self._in_time(anext(self._chunks, b""))
        self._patience += len(chunk) / _SLOWEST
        return chunk

    async def _in_time(self, work: Awaitable[_T]) -> _T:
        """
        Wait for storage, as long as it has seconds left.

        Raises:
            ResultUnavailable: it has none.
        """
        began = self._clock.now()
        try:
            async with asyncio.timeout(self._patience):
                done = await work
        except TimeoutError as exc:
            raise self._too_slow() from exc
        self._patience -= self._clock.now() - began
        if self._patience < 0:
            raise self._too_slow()
        return done

    def _too_slow(self) -> ResultUnavailable:
        return unavailable("it comes too slowly", self._host, for_good=False)

    def _too_large(self) -> ResultUnavailable:
        return unavailable("it is over 64 MiB", self._host, for_good=True)

    def _at_end(self) -> bool:
        return self._received >= self.length

    def _take(self, chunk: bytes) -> bytes:
        self._received += len(chunk)
        if self._received > self.length:
            raise unavailable("it is longer than was said", self._host, for_good=False)
        self._tail = chunk[-TAIL_BYTES:] if len(chunk) >= TAIL_BYTES else (self._tail + chunk)
        self._tail = self._tail[-TAIL_BYTES:]
        return chunk

    async def _drop(self) -> None:
        answer = self._answer
        self._answer = None
        chunks = self._chunks
        self._chunks = None
        if chunks is not None:
            await chunks.aclose()
        if answer is not None:
            await answer.aclose()


def unavailable(why: str, host: str, *, for_good: bool) -> ResultUnavailable:
    """Return the refusal of a picture; *for_good* means that another try will find the same."""
    return ResultUnavailable(
        f"The picture was made, but cannot be downloaded: {why}.",
        retry=not for_good,
        upstream_code=f"{host}: {why}",
    )


def _length_of(answer: httpx.Response) -> int:
    """Return the Content-Length; 0 if it tells nothing of the picture's own bytes."""
    if "content-encoding" in answer.headers:
        return 0
    told = answer.headers.get("content-length", "")
    return int(told) if _LENGTH.fullmatch(told) else 0


_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each further try


class Results:
    """Where finished pictures lie."""

    def __init__(self, clients: Clients, clock: Clock, calls: UpstreamCalls) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls

    async def open(self, upstream: Upstream, url: str) -> Incoming:
        """
        Return the picture behind *url*, which is never logged nor part of an error.

        It is to be closed. A break is fixed up to four times, here and while it is read.

        Raises:
            ResultUnavailable: not allowed, not there, or broken five times. ``retry`` is
                False where this URL will have no other end.
        """
        place = allowed(url, upstream.region.result_hosts)
        region = upstream.region.name
        client = self._clients.of(upstream, Purpose.DOWNLOAD)
        pauses = iter(_PAUSES)

        async def edit_request(headers: dict[str, str]) -> httpx.Response:
            began = self._clock.now()
            code = "error"
            try:
                request = client.build_request(
                    "GET", place.url, headers=headers, extensions={"target": place.target}
                )
                answer = await client.send(request, stream=True)
                code = str(answer.status_code)
                return answer
            finally:
                seconds = self._clock.now() - began
                self._calls.upstream_call(region, "download", code, seconds)

        async def broke(message: str, reason: str) -> None:
            if (pause := next(pauses, None)) is None:
                raise unavailable(message, place.host, for_good=reason == "content")
            self._calls.upstream_retried(region, "download", reason)
            await self._clock.sleep(pause)

        incoming = Incoming(edit_request, broke, self._clock, place.host)
        try:
            await incoming.begin()
        except BaseException:  # refused, or nobody waits any more: its connection is not kept
            await incoming.close()
            raise
        return incoming

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """Return the picture behind *url* whole; see open."""
        async with self._opened(upstream, url) as incoming:
            return b"".join([chunk async for chunk in incoming.chunks()])

    @asynccontextmanager
    async def _opened(self, upstream: Upstream, url: str) -> AsyncIterator[Incoming]:
        incoming = await self.open(upstream, url)
        try:
            yield incoming
        finally:
            await incoming.close()
