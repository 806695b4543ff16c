"""
httpx requests sent by aiohttp: a fifth of the CPU, and exact about what was sent (D24).

Existing transports blur what a submit must know. Two rules:

1. ConnectError and ConnectTimeout are raised only if there was no connection, so that not
   one byte of the request can have left. Whatever breaks later is another error.
2. The target goes out byte for byte when ``extensions["target"]`` gives it: a signed URL
   does not survive being decoded and encoded again.

netrc is not read: it would put a password into a download.
"""

import socket
import ssl
import struct
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import httpx
import yarl

ProxyOf = Callable[[httpx.URL], str | None]

_KEEP_ALIVE_SECONDS = 45  # below the idle timeouts of routers and load balancers
_LINGER_ZERO = struct.pack("ii", 1, 0)  # SO_LINGER: on close, discard what is not sent
_UNSENT_BYTES = 2**18  # of a submit in the kernel; by default up to 4 MB lie there, for minutes
_READ_BUFFER = 2**18  # bytes; fewer iterations of the loop for a picture of some MB


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY mean for *url*."""
    if urllib.request.proxy_bypass(url.netloc.decode("ascii")):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """
    One connection pool.

    Args:
        keep_alive: Seconds for which an idle connection may be used again.
        ssl_context: Called at the first https request.
        proxy_of: Returns the proxy for a URL; called once per origin.
        unacknowledged: Seconds after which the kernel drops a connection whose bytes are not
            acknowledged; ``None``: its default, about 15 minutes. If set, the kernel also takes
            only so much as it can send soon, and whatever is still in its buffers when a request
            is given up, or the process is killed, is discarded: on a slow connection that may
            be a whole submit (D103).
    """

    def __init__(
        self,
        *,
        keep_alive: float,
        ssl_context: Callable[[], ssl.SSLContext],
        proxy_of: ProxyOf = environment_proxy,
        unacknowledged: float | None = None,
    ) -> None:
        self._unacknowledged = unacknowledged
        self._keep_alive = keep_alive
        self._ssl_context = ssl_context
        self._proxy_of = proxy_of
        self._proxy_by_origin: dict[tuple[str, bytes], dict[str, Any]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions.get("timeout", {})
        try:
            answer = await self._open_session().request(
                request.method,
                _whole_url(request),
                headers=request.headers.multi_items(),
                data=_body(request),
                allow_redirects=False,
                ssl=self._ssl_context() if request.url.scheme == "https" else True,
                timeout=aiohttp.ClientTimeout(
                    # DNS, TCP, TLS and proxy together; a limit per attempt would not bound them.
                    connect=timeouts.get("connect"),
                    sock_read=timeouts.get("read"),
                ),
                **self._proxy(request.url),
            )
        except (aiohttp.ClientError, OSError) as exc:
            # Not chained: aiohttp's messages contain whole URLs, with their signatures.
            raise _httpx_error(exc) from None
        return httpx.Response(
            answer.status, headers=answer.raw_headers, stream=_ResponseStream(answer)
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        # Created late: it binds to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit of connections: the limits of the accounts bound them.
                connector=_Connector(
                    limit=0, keepalive_timeout=self._keep_alive, socket_factory=self._socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Return a socket with TCP keep-alive, so that no NAT drops it during a long wait."""
        family, kind, protocol, *_ = address
        connection = socket.socket(family, kind, protocol)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):  # not on every system by that name
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_SECONDS)
        if self._unacknowledged is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                milliseconds = round(self._unacknowledged * 1000)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return connection

    def _proxy(self, url: httpx.URL) -> dict[str, Any]:
        origin = (url.scheme, url.netloc)
        if origin not in self._proxy_by_origin:
            self._proxy_by_origin[origin] = _proxy_arguments(self._proxy_of(url))
        return self._proxy_by_origin[origin]


class _Connector(aiohttp.TCPConnector):
    """
    A pool that does not reuse a connection on which bytes arrived while it was idle.

    aiohttp would take them for the response to the next request: the task of another edit, or
    a refusal of a submit that succeeded. Nothing more of an abandoned request is sent either,
    where aiohttp would empty its buffer first. These methods are private in aiohttp;
    tests/upstream checks that they are called.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        for protocol, _ in tuple(self._conns.get(key, ())):
            if protocol.should_close:
                protocol.close()
        return await super()._get(key, traces)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        closes = should_close or protocol.should_close
        if closes:
            protocol.abort()
        super()._release(key, protocol, should_close=closes)


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as exc:
            raise _httpx_error(exc) from None

    async def aclose(self) -> None:
        # A connection whose response was read to its end is back in the pool by now.
        self._answer.close()


def _whole_url(request: httpx.Request) -> yarl.URL:
    origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return yarl.URL(origin + target.decode("ascii"), encoded=True)


def _body(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    if isinstance(request.stream, httpx.ByteStream):
        return b"".join(request.stream) or None
    return request.stream  # type: ignore[return-value]  # typed for sync and async


def _proxy_arguments(proxy: str | None) -> dict[str, Any]:
    if proxy is None:
        return {}
    url = yarl.URL(proxy if "://" in proxy else f"http://{proxy}")
    if not url.user:
        return {"proxy": url}
    # aiohttp sends it as Proxy-Authorization, to the proxy alone.
    auth = aiohttp.encode_basic_auth(url.user, url.password or "")
    return {"proxy": url.with_user(None), "proxy_headers": {"Authorization": auth}}


def _httpx_error(exc: Exception) -> httpx.TransportError:
    """Return httpx's exception for aiohttp's; its message is a class name, never a URL."""
    name = type(exc).__name__
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(name)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            # DNS, routing, refused, bad certificate, or the proxy refused CONNECT.
            return httpx.ConnectError(name)
        case TimeoutError():
            return httpx.ReadTimeout(name)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(name)
        case _:
            return httpx.ReadError(name)
