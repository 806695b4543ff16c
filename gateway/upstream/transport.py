"""
httpx's API carried by aiohttp: a fifth of plain httpx's CPU, and honest about money (D24).

Written here because the transports at hand blur what a submit must know. Two rules:

1. ConnectError and ConnectTimeout are raised only while no connection was there, so that
   not one byte of the request can have left. Whatever breaks later is another error.
2. The target goes out byte for byte when ``extensions["target"]`` gives it: a signed URL
   does not survive being decoded and encoded again.

Nothing is read from netrc: it would put a password into a download.
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

_KEEP_ALIVE_SECONDS = 45  # below what routers and balancers forget after
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what has not left the machine is thrown away
_READ_BUFFER = 2**18  # bytes; fewer turns of the loop for a picture of some MB


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
        keep_alive: Seconds that an idle connection may be used again.
        ssl_context: Called at the first https request.
        proxy_of: Which proxy leads to a URL; asked once per origin.
        unacknowledged: Seconds after which the system gives a connection up whose bytes nobody
            has acknowledged, and sends none of them again; ``None``: its own, a quarter of an
            hour. With it, nothing that is still in the system's buffers leaves once a request
            was given up, or the process was killed: a slow line may hold a whole submit.
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
        patience = request.extensions.get("timeout", {})
        try:
            answer = await self._opened().request(
                request.method,
                _whole_url(request),
                headers=request.headers.multi_items(),
                data=_body(request),
                allow_redirects=False,
                ssl=self._ssl_context() if request.url.scheme == "https" else True,
                timeout=aiohttp.ClientTimeout(
                    # Names, TCP, TLS and proxy together; each attempt's own limit is no help.
                    connect=patience.get("connect"),
                    sock_read=patience.get("read"),
                ),
                **self._proxy(request.url),
            )
        except (aiohttp.ClientError, OSError) as exc:
            # Not chained: aiohttp's texts hold whole URLs, with their signatures.
            raise _in_httpx(exc) from None
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Stream(answer))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # Late: it binds to the loop that runs.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit of connections: the account's budgets are the limit.
                connector=_Connector(
                    limit=0, keepalive_timeout=self._keep_alive, socket_factory=self._socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Return a socket that nobody in between forgets while a picture is made in silence."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):  # not on every system by that name
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_SECONDS)
        if self._unacknowledged is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = round(self._unacknowledged * 1000)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        if self._unacknowledged is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        return made

    def _proxy(self, url: httpx.URL) -> dict[str, Any]:
        origin = (url.scheme, url.netloc)
        if origin not in self._proxy_by_origin:
            self._proxy_by_origin[origin] = _proxy_arguments(self._proxy_of(url))
        return self._proxy_by_origin[origin]


class _Connector(aiohttp.TCPConnector):
    """
    A pool that never uses a connection again on which something came while it was idle.

    aiohttp would take it for the answer to the next request: another's task, or a refusal of
    a submit that went through. And it sends nothing more of a request that was given up,
    where aiohttp goes on until its buffer is empty. The methods are private there;
    tests/upstream holds that they are the ones that are called.
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


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as exc:
            raise _in_httpx(exc) from None

    async def aclose(self) -> None:
        # A connection whose answer was read to its end is back in the pool by now.
        self._answer.close()


def _whole_url(request: httpx.Request) -> yarl.URL:
    origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return yarl.URL(origin + target.decode("ascii"), encoded=True)


def _body(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    if isinstance(request.stream, httpx.ByteStream):
        return b"".join(request.stream) or None
    # AsyncClient has refused every stream of another kind.
    return request.stream  # type: ignore[return-value]  # typed for both kinds of client


def _proxy_arguments(proxy: str | None) -> dict[str, Any]:
    if proxy is None:
        return {}
    url = yarl.URL(proxy if "://" in proxy else f"http://{proxy}")
    if not url.user:
        return {"proxy": url}
    # aiohttp makes Proxy-Authorization of it, for the proxy alone.
    auth = aiohttp.encode_basic_auth(url.user, url.password or "")
    return {"proxy": url.with_user(None), "proxy_headers": {"Authorization": auth}}


def _in_httpx(exc: Exception) -> httpx.TransportError:
    """Return httpx's word for aiohttp's; the message names a kind, never a URL."""
    said = type(exc).__name__
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(said)
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            # No name, no route, refused, bad certificate, or the proxy said no to CONNECT.
            return httpx.ConnectError(said)
        case TimeoutError():
            return httpx.ReadTimeout(said)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(said)
        case _:
            return httpx.ReadError(said)
