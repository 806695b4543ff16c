"""One client per region, key and purpose, so that no key meets another's connection (D26)."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from gateway import __version__
from gateway.domain.tenant import Upstream
from gateway.upstream.decoding import read

MOST_BYTES = 2**20
"""Of an answer that is no stream: a page of the task list, the largest there is, has 50 KB."""

Content: TypeAlias = bytes | httpx.AsyncByteStream | None

_OF_THE_WIRE = (b"content-encoding", b"content-length", b"transfer-encoding")


class Client:
    """
    Carries the requests of one region, key and purpose.

    ``httpx.AsyncClient`` looks for cookies, redirects, auth and hooks with every call, and
    merges what never changes: as much CPU as carrying the call takes (docs/performance.md).
    None of these may happen here, so what is left is building and sending.

    Args:
        transport: Carries them; closed with this.
        base_url: Before a path that begins with a slash.
        headers: Of every request; the key is among them, so they are in no repr.
        timeout: In seconds, as the transport understands it.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        base_url: str,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
    ) -> None:
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", **headers}
        self._timeout = timeout.as_dict()
        self.is_closed = False

    def build_request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        content: Content = None,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> httpx.Request:
        """Return a request to *url*, or to that path of the region."""
        return httpx.Request(
            method,
            self._base_url + url if url.startswith("/") else url,
            params=params,
            content=content,
            headers={**self._headers, **headers} if headers else self._headers,
            extensions={"timeout": self._timeout, **(extensions or {})},
        )

    async def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """
        Return the answer, read to its end unless it is a *stream*, which is to be closed.

        Raises:
            httpx.TransportError: there is none, it broke off, or it is too long.
        """
        answer = await self._transport.handle_async_request(request)
        answer.request = request
        if stream:
            return answer
        try:
            body = await read(answer, MOST_BYTES)
        finally:
            await answer.aclose()
        headers = [header for header in answer.headers.raw if header[0].lower() not in _OF_THE_WIRE]
        return httpx.Response(answer.status_code, headers=headers, content=body, request=request)

    async def aclose(self) -> None:
        self.is_closed = True
        await self._transport.aclose()


class Purpose(StrEnum):
    CALL = "call"
    """Fetch, list, cancel."""
    SUBMIT = "submit"
    SUBMIT_AND_WAIT = "submit and wait"
    """To a model without tasks, which answers when it has made the pictures."""
    DOWNLOAD = "download"
    """Carries no key: results home, pictures up to object storage."""


Transports = Callable[[Purpose], httpx.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class _Habits:
    read: float
    """Seconds of silence until a call is given up, once its body has gone out."""
    keep_alive: float
    """Seconds that an idle connection may be used again."""
    unacknowledged: float | None = None
    """Seconds after which the system gives a connection up whose bytes nobody acknowledges."""


# Bytes of a submit that were lost on their way must not arrive long after it was given up.
_UNACKNOWLEDGED = 15.0
_CONNECT = 5.0  # seconds for name, TCP, TLS and proxy together
_HABITS = {
    Purpose.CALL: _Habits(read=10, keep_alive=15),
    # A POST on a connection that the server is just closing is an uncertain submit:
    # one that idled for 2 s is not used again.
    Purpose.SUBMIT: _Habits(read=60, keep_alive=1.5, unacknowledged=_UNACKNOWLEDGED),
    # The vendor's own SDK waits so long (dashscope.md 10); a picture takes 15 s to 3 min.
    Purpose.SUBMIT_AND_WAIT: _Habits(read=300, keep_alive=1.5, unacknowledged=_UNACKNOWLEDGED),
    Purpose.DOWNLOAD: _Habits(read=30, keep_alive=15),
}


class Clients:
    """
    The clients, made when first asked for, closed together.

    Args:
        transports: How bytes travel for a purpose; a test hands in its own.
    """

    def __init__(self, transports: Transports | None = None) -> None:
        self._transports = transports or self._aiohttp
        self._client_by_use: dict[tuple[str, str, str, Purpose], Client] = {}

    def of(self, upstream: Upstream, purpose: Purpose) -> Client:
        """Return the client that carries *purpose* for the region and key of *upstream*."""
        region = upstream.region
        use = (region.name, region.base_url, upstream.key, purpose)
        if use not in self._client_by_use:
            self._client_by_use[use] = self._made(upstream, purpose)
        return self._client_by_use[use]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._client_by_use.values():
            await client.aclose()
        self._client_by_use.clear()

    def _made(self, upstream: Upstream, purpose: Purpose) -> Client:
        headers = {"User-Agent": f"wan-gateway/{__version__}"}
        if purpose is Purpose.DOWNLOAD:
            # Result storage needs no key and must not see one; bytes as they lie there.
            headers["Accept-Encoding"] = "identity"
            base_url = ""
        else:
            headers["Authorization"] = f"Bearer {upstream.key}"
            base_url = upstream.region.base_url
        return Client(
            self._transports(purpose),
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(_HABITS[purpose].read, connect=_CONNECT),
        )

    async def warm_up(self) -> None:
        """Import the transport beside the loop, so that the first edit need not."""
        await asyncio.to_thread(import_module, "gateway.upstream.transport")

    def _aiohttp(self, purpose: Purpose) -> httpx.AsyncBaseTransport:
        from gateway.upstream.transport import (  # noqa: PLC0415 - to be ready takes no aiohttp
            AiohttpTransport,
        )

        return AiohttpTransport(
            keep_alive=_HABITS[purpose].keep_alive,
            ssl_context=lambda: self._ssl_context,
            unacknowledged=_HABITS[purpose].unacknowledged,
        )

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        # Some 20 ms and 1 MB: once for all. Honours SSL_CERT_FILE and SSL_CERT_DIR.
        return httpx.create_ssl_context()
