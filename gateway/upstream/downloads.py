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
from gateway.upstream.calls import CallLimits, UpstreamCalls, counted_call
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.decoding import decode
from gateway.upstream.result_url import check_result_url

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"

HEAD_BYTES = 32
"""Enough to recognise the format and, of a PNG, read the size."""
# Bytes after the end marker are odd but harmless: a paid picture is not refused for them.
TAIL_BYTES = 1024


def fault_of_head(head: bytes) -> str | None:
    """Return what is wrong with a picture that begins with *head*; ``None`` if nothing is."""
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


_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})")
_LENGTH = re.compile(r"\d{1,15}")
_BUSY = (408, 429, 500, 502, 503, 504)

Fetch = Callable[[dict[str, str]], Awaitable[httpx.Response]]
"""GET the picture with these headers; the body is not read yet."""
OnBreak = Callable[[str, str], Awaitable[None]]
"""Called with what broke, and network, status or content; waits for the next try, or raises."""

_T = TypeVar("_T")


class TransferBroken(Exception):
    """This try failed; another may succeed."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """network, status or content: the metric's label."""


class Incoming:
    """
    One picture while it is downloaded. ``length`` and ``head`` are set by begin().

    A GET is safe to repeat: after a break another one continues from where the last ended if
    the server supports ranges, else from the first byte, skipping what was yielded before.
    The total wait for storage is bounded, however often it breaks.

    Args:
        fetch: Sends the GET.
        on_break: Decides whether there is another try.
        clock: Times the waits for storage; waits for the client do not count.
        host: Of the storage, for the operator.
        limits: How long it may take, and how large it may be.
    """

    def __init__(
        self, fetch: Fetch, on_break: OnBreak, clock: Clock, host: str, limits: CallLimits
    ) -> None:
        self._fetch = fetch
        self._on_break = on_break
        self._clock = clock
        self._host = host
        self._limits = limits
        self._remaining = limits.download
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
        """The first bytes: enough to recognise format and size."""

    async def begin(self) -> None:
        """
        Fetch the head of the picture.

        Raises:
            ResultUnavailable: it does not exist, or cannot be downloaded.
        """
        while True:
            try:
                await self._open()
                await self._read_head()
            except TransferBroken as broken:
                await self._drop()
                await self._on_break(str(broken), broken.reason)
            else:
                return

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        Yield the picture.

        Raises:
            ResultUnavailable: it cannot be downloaded whole, or is not a whole picture.
        """
        yield self._take(self.head if self._whole is None else self._whole)
        while self._received < self.length:
            try:
                if self._chunks is None:
                    await self._open()
                chunk = await self._next()
            except TransferBroken as broken:
                await self._drop()
                await self._on_break(str(broken), broken.reason)
            else:
                yield self._take(chunk)
        if wrong := fault_of_end(self.head, self._tail, self.length):
            raise unavailable(f"it is {wrong}", self._host, for_good=True)

    async def close(self) -> None:
        await self._drop()

    async def _open(self) -> None:
        """Request what is missing, and find out where the response begins."""
        try:
            self._answer = await self._in_time(self._fetch(self._range_headers()))
        except httpx.TransportError as exc:
            raise TransferBroken(type(exc).__name__, "network") from exc
        self._skip = self._begins_at(self._answer)
        self._chunks = decode(self._answer)

    def _range_headers(self) -> dict[str, str]:
        if not self._received or not self._resumable:
            return {}
        headers = {"Range": f"bytes={self._received}-"}
        return headers | {"If-Range": self._tag} if self._tag else headers

    def _begins_at(self, answer: httpx.Response) -> int:
        """Return how many bytes of *answer* were yielded before, and are skipped."""
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
                raise TransferBroken("the server resumed elsewhere", "status")
            case 200 | 416:
                self._resumable = False
                raise TransferBroken("the picture has changed", "status")
            case status if status in _BUSY:
                raise TransferBroken(f"HTTP {status}", "status")
            case status:
                # Redirects too: result storage has no reason to redirect.
                raise unavailable(f"HTTP {status}", self._host, for_good=True)

    def _note(self, answer: httpx.Response) -> None:
        self.length = _length_of(answer)
        if self.length > self._limits.picture_bytes:
            raise self._too_large()
        self._resumable = answer.headers.get("accept-ranges") == "bytes"
        tag = answer.headers.get("etag", "")
        self._tag = "" if tag.startswith("W/") else tag

    async def _read_head(self) -> None:
        """Read until the format is known; the whole picture if its length is not known."""
        head = bytearray()
        length = self.length
        while not length or len(head) < min(length, HEAD_BYTES):
            chunk = await self._next()
            if not chunk:
                break
            head += chunk
            if len(head) > self._limits.picture_bytes:
                raise self._too_large()
        self.head = bytes(head)
        wrong = fault_of_head(self.head)
        if not length:
            wrong = wrong or fault_of_end(self.head, self.head, len(self.head))
            self._whole = self.head
            self.length = len(self.head)
        if wrong:
            raise TransferBroken(wrong, "content")

    async def _next(self) -> bytes:
        """Return the next bytes that were not yielded yet; empty at the end of the response."""
        try:
            while (chunk := await self._chunk()) and self._skip:
                skipped = min(self._skip, len(chunk))
                self._skip -= skipped
                if chunk := chunk[skipped:]:
                    break
        except httpx.TransportError as exc:
            raise TransferBroken(type(exc).__name__, "network") from exc
        if not chunk and self.length and self._whole is None and not self._at_end():
            raise TransferBroken("it was cut short", "network")
        return chunk

    async def _chunk(self) -> bytes:
        assert self._chunks is not None
        chunk = await self._in_time(anext(self._chunks, b""))
        self._remaining += len(chunk) / self._limits.bytes_per_second
        return chunk

    async def _in_time(self, work: Awaitable[_T]) -> _T:
        """
        Await storage, within the seconds that are left.

        Raises:
            ResultUnavailable: none are left.
        """
        began = self._clock.now()
        try:
            async with asyncio.timeout(self._remaining):
                done = await work
        except TimeoutError as exc:
            raise self._too_slow() from exc
        self._remaining -= self._clock.now() - began
        if self._remaining < 0:
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
    """Return the error for a picture; *for_good* means that a retry cannot succeed."""
    return ResultUnavailable(
        f"The picture was made, but cannot be downloaded: {why}.",
        retry=not for_good,
        upstream_code=f"{host}: {why}",
    )


def _length_of(answer: httpx.Response) -> int:
    """Return the Content-Length; 0 if it is missing or not that of the picture's own bytes."""
    if "content-encoding" in answer.headers:
        return 0
    value = answer.headers.get("content-length", "")
    return int(value) if _LENGTH.fullmatch(value) else 0


_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each further try


class Downloads:
    """Downloads result pictures; for the arguments see DashScopeApi."""

    def __init__(
        self, clients: Clients, clock: Clock, calls: UpstreamCalls, limits: CallLimits
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls
        self._limits = limits

    async def open(self, upstream: Upstream, url: str) -> Incoming:
        """
        Return the picture at *url*, which is never logged nor part of an error.

        The caller closes it. Up to four breaks are retried, here and while it is read.

        Raises:
            ResultUnavailable: the URL is not allowed, there is no picture, or the transfer
                broke five times. ``retry`` is False if a retry cannot succeed.
        """
        target = check_result_url(url, upstream.region.result_hosts)
        region = upstream.region.name
        client = self._clients.of(upstream, Purpose.DOWNLOAD)
        pauses = iter(_PAUSES)

        async def fetch(headers: dict[str, str]) -> httpx.Response:
            request = client.build_request(
                "GET", target.url, headers=headers, extensions={"target": target.target}
            )
            with counted_call(self._calls, self._clock, region, "download") as call:
                answer = await client.send(request, stream=True)
                call.code = str(answer.status_code)
            return answer

        async def on_break(message: str, reason: str) -> None:
            if (pause := next(pauses, None)) is None:
                raise unavailable(message, target.host, for_good=reason == "content")
            self._calls.upstream_retried(region, "download", reason)
            await self._clock.sleep(pause)

        incoming = Incoming(fetch, on_break, self._clock, target.host, self._limits)
        try:
            await incoming.begin()
        except BaseException:  # refused or cancelled: the connection is not kept
            await incoming.close()
            raise
        return incoming

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """Return the whole picture at *url*; see open."""
        async with self._opened(upstream, url) as incoming:
            return b"".join([chunk async for chunk in incoming.chunks()])

    @asynccontextmanager
    async def _opened(self, upstream: Upstream, url: str) -> AsyncIterator[Incoming]:
        incoming = await self.open(upstream, url)
        try:
            yield incoming
        finally:
            await incoming.close()
