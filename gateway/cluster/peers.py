"""Requests to other nodes: HTTP/1.1 over a pool of connections that notices a dead machine."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote_from_bytes

import aiohttp
import yarl

from gateway.cluster.owners import Peer

_CONNECT_SECONDS = 2.0
_IDLE_SECONDS = 30.0  # less than the other node keeps an idle connection
_READ_BUFFER = 2**16
# A silent connection is probed each 5 s and given up after three probes without an answer; so
# is one whose bytes nobody acknowledges for 20 s. Not every system has all of these names.
_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 20_000),
    )
    if hasattr(socket, name)
]
_AS_IT_CAME = "".join(map(chr, range(0x21, 0x7F)))
_NOT_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")


class PeerLost(Exception):
    """The connection to another node broke, or was never made."""


class PeerClient:
    """Use as an async context manager."""

    _session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_IDLE_SECONDS, socket_factory=_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            skip_auto_headers=_NOT_ADDED,
            # An edit takes minutes, in silence: whether its owner lives, the lease tells.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        peer: Peer,
        method: str,
        target: bytes,
        headers: Sequence[tuple[str, str]],
        body: Callable[[], Iterator[bytes]] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Send a request; leaving the block before the answer's end closes the connection.

        Args:
            peer: To whom.
            method: GET, HEAD, POST or DELETE.
            target: Path and query, as they came.
            headers: All of them.
            body: Called for each sending of the body; ``None``: there is none.

        Raises:
            PeerLost: also from within the block, by what reads the answer.
        """
        url = yarl.URL(peer.url + quote_from_bytes(target, _AS_IT_CAME), encoded=True)
        try:
            answer = await self._session.request(
                method,
                url,
                headers=headers,
                data=None if body is None else _pieces(body),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise PeerLost(type(error).__name__) from None
        try:
            yield answer
        finally:
            answer.close()


async def chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """
    Yield the answer's body as it comes.

    Raises:
        PeerLost: it broke off.
    """
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise PeerLost(type(error).__name__) from None


async def _pieces(body: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    for piece in body():
        yield piece


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that finds out in some 20 s that the machine behind it is gone."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
