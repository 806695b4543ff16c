"""HTTP clients: one per region, key and purpose, so that no two keys share a connection (D26)."""

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
from gateway.domain.intent import UNACKNOWLEDGED_SECONDS
from gateway.domain.tenant import Upstream
from gateway.upstream.decoding import read_body

MOST_BYTES = 2**20
"""Of a response that is not streamed; the largest, a page of the task list, has 50 KB."""

Content: TypeAlias = bytes | httpx.AsyncByteStream | None

_CODING_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding")


class Client:
    """
    Sends the requests of one region, key and purpose.

    ``httpx.AsyncClient`` handles cookies, redirects, auth and hooks with every call, which
    takes as much CPU as the call itself (docs/performance.md). None of these may happen here,
    so this class only builds and sends (D24).

    Args:
        transport: Sends the requests; closed with this client.
        base_url: Prefix of a path that begins with a slash.
        headers: Of every request; they contain the key, so they are in no repr.
        timeout: In seconds, as the transport reads it.
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
        """Return a request to *url*, or to that path below the base URL."""
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
        Return the response, read to its end; with *stream* unread, and the caller closes it.

        Raises:
            httpx.TransportError: no response, one that broke off, or one that is too long.
        """
        answer = await self._transport.handle_async_request(request)
        answer.request = request
        if stream:
            return answer
        try:
            body = await read_body(answer, MOST_BYTES)
        finally:
            await answer.aclose()
        headers = [
            header for header in answer.headers.raw if header[0].lower() not in _CODING_HEADERS
        ]
        return httpx.Response(answer.status_code, headers=headers, content=body, request=request)

    async def aclose(self) -> None:
        self.is_closed = True
        await self._transport.aclose()


class Purpose(StrEnum):
    CALL = "call"
    """Fetch, list, cancel."""
    SUBMIT = "submit"
    SUBMIT_AND_WAIT = "submit and wait"
    """To a model without tasks, which responds when the pictures are made (D87)."""
    DOWNLOAD = "download"
    """Without a key: results from, and pictures to, object storage."""


Transports = Callable[[Purpose], httpx.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class _Timeouts:
    read: float
    """Seconds of silence until a call is given up, once its body is sent."""
    keep_alive: float
    """Seconds for which an idle connection may be used again."""
    unacknowledged: float | None = None
    """Seconds after which the kernel drops a connection whose bytes are not acknowledged."""


_CONNECT = 5.0  # seconds for name, TCP, TLS and proxy together
_TIMEOUTS = {
    Purpose.CALL: _Timeouts(read=10, keep_alive=15),
    # A POST on a connection that the server is just closing is an uncertain submit, so an
    # idle connection is not used again for long.
    Purpose.SUBMIT: _Timeouts(read=60, keep_alive=1.5, unacknowledged=UNACKNOWLEDGED_SECONDS),
    # The vendor's own SDK waits so long (dashscope.md 10); a picture takes 15 s to 3 min.
    Purpose.SUBMIT_AND_WAIT: _Timeouts(
        read=300, keep_alive=1.5, unacknowledged=UNACKNOWLEDGED_SECONDS
    ),
    Purpose.DOWNLOAD: _Timeouts(read=30, keep_alive=15),
}


class Clients:
    """
    All clients: created on first use, closed together.

    Args:
        transports: Returns the transport for a purpose; tests pass their own.
    """

    def __init__(self, transports: Transports | None = None) -> None:
        self._transports = transports or self._aiohttp
        self._client_by_use: dict[tuple[str, str, str, str, Purpose], Client] = {}

    def of(self, upstream: Upstream, purpose: Purpose) -> Client:
        """Return the client for *purpose*, and the region and key of *upstream*."""
        region = upstream.region
        use = (region.name, region.base_url, upstream.key, upstream.workspace, purpose)
        if use not in self._client_by_use:
            self._client_by_use[use] = self._new_client(upstream, purpose)
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

    def _new_client(self, upstream: Upstream, purpose: Purpose) -> Client:
        headers = {"User-Agent": f"wan-gateway/{__version__}"}
        if purpose is Purpose.DOWNLOAD:
            # Result storage needs no key and must not see one; the bytes come as they are stored.
            headers["Accept-Encoding"] = "identity"
            base_url = ""
        else:
            headers["Authorization"] = f"Bearer {upstream.key}"
            if upstream.workspace:
                headers["X-DashScope-WorkSpace"] = upstream.workspace
            base_url = upstream.region.base_url
        return Client(
            self._transports(purpose),
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(_TIMEOUTS[purpose].read, connect=_CONNECT),
        )

    async def warm_up(self) -> None:
        """Import the transport in a thread, so that the first edit does not wait for it."""
        await asyncio.to_thread(import_module, "gateway.upstream.transport")

    def _aiohttp(self, purpose: Purpose) -> httpx.AsyncBaseTransport:
        from gateway.upstream.transport import (  # noqa: PLC0415 - readiness does not wait for aiohttp
            AiohttpTransport,
        )

        return AiohttpTransport(
            keep_alive=_TIMEOUTS[purpose].keep_alive,
            ssl_context=lambda: self._ssl_context,
            unacknowledged=_TIMEOUTS[purpose].unacknowledged,
        )

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        # Takes some 20 ms and 1 MB, so it is made once. Honours SSL_CERT_FILE and SSL_CERT_DIR.
        return httpx.create_ssl_context()
