"""Response bodies, decompressed in bounded pieces and up to a limit."""

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import httpx

_PIECE = 2**18
"""Bytes that are decompressed at once: the ratio may be a thousand."""
_ZLIB_OR_GZIP = 47
_RAW_DEFLATE = -15
_HEAD = 2
"""Enough bytes to tell these apart."""


async def decode(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """
    Yield the body of *answer* as it arrives; the caller counts it.

    Raises:
        httpx.TransportError: it broke off, or has a coding that was not offered.
    """
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in answer.stream:
            yield chunk
    elif encoding in ("gzip", "x-gzip", "deflate"):
        inflate = _Inflate()
        async for chunk in answer.stream:
            for piece in inflate.pieces(chunk):
                yield piece
        if not inflate.ended:
            raise httpx.RemoteProtocolError("The compressed body was cut short.")
    else:
        raise httpx.RemoteProtocolError("The body has a coding that was not offered.")


async def read_body(answer: httpx.Response, most_bytes: int) -> bytes:
    """
    Return the whole body of *answer*.

    Raises:
        httpx.TransportError: it broke off, cannot be read, or is longer than *most_bytes*.
    """
    body = bytearray()
    async with aclosing(decode(answer)) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > most_bytes:
                raise httpx.RemoteProtocolError("The answer is too long.")
    return bytes(body)


class _Inflate:
    """gzip, or deflate with or without a zlib header: servers send either under that name."""

    def __init__(self) -> None:
        self._zlib: zlib._Decompress | None = None
        self._head = b""

    @property
    def ended(self) -> bool:
        return self._zlib.eof if self._zlib else not self._head

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._zlib is None:
            self._head += chunk
            if len(self._head) < _HEAD:
                return
            chunk = self._head
            self._zlib = zlib.decompressobj(_format(chunk))
        try:
            while chunk and not self._zlib.eof:
                yield self._zlib.decompress(chunk, _PIECE)
                chunk = self._zlib.unconsumed_tail
        except zlib.error as error:
            raise httpx.RemoteProtocolError("The compressed body is broken.") from error


def _format(head: bytes) -> int:
    zlib_head = head[0] & 0x0F == 8 and int.from_bytes(head[:_HEAD], "big") % 31 == 0
    return _ZLIB_OR_GZIP if head.startswith(b"\x1f\x8b") or zlib_head else _RAW_DEFLATE
