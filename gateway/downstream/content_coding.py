"""A body that came compressed → the same body, in pieces of bounded size (RFC 9110 8.4)."""

import asyncio
import zlib
from collections.abc import Mapping

from starlette.types import Message, Receive

from gateway.domain.errors import InvalidRequest, UnsupportedCoding

MOST_PIECE_BYTES = 65_536
"""Of one piece after decompression: whoever counts them stops a bomb at its limit."""
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def decoded(receive: Receive, headers: Mapping[str, str]) -> Receive:
    """
    Return a ``receive`` that hands out the body as it was before it was compressed.

    Raises:
        UnsupportedCoding: by something else than gzip or deflate, or more than once.
    """
    told = headers.get("content-encoding", "")
    codings = [it for it in map(str.strip, told.lower().split(",")) if it not in {"", "identity"}]
    if not codings:
        return receive
    if len(codings) > 1 or codings[0] not in _WINDOW_BITS:
        raise UnsupportedCoding(
            f"The header 'Content-Encoding: {told[:100]}' names what cannot be read here. Send the"
            " body without it, or compressed once by gzip or deflate."
        )
    return _Decoded(receive, _WINDOW_BITS[codings[0]])


class _Decoded:
    """
    A ``receive`` that decompresses.

    Its messages may raise InvalidRequest: the body is not what the header says, or cut short.
    """

    def __init__(self, receive: Receive, window_bits: int) -> None:
        self._receive = receive
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(window_bits)
        self._rest = b""
        """What came and is not decompressed yet."""
        self._full = False
        """Whether the last piece was cut off, so that there may be more without more input."""
        self._began = False
        self._ended = False

    async def __call__(self) -> Message:
        while True:
            if self._rest or self._full:
                await asyncio.sleep(0)  # others have a turn, however much comes out of little
                if piece := self._next_piece():
                    return {"type": "http.request", "body": piece, "more_body": True}
            elif self._ended:
                self._check_end()
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._rest = message.get("body", b"")
                self._ended = not message.get("more_body", False)

    def _next_piece(self) -> bytes:
        self._began = True
        if self._stream.eof:  # gzip may have several members
            self._stream = zlib.decompressobj(self._window_bits)
        try:
            piece = self._stream.decompress(self._rest, MOST_PIECE_BYTES)
        except zlib.error:
            raise _broken("is not what the header 'Content-Encoding' says") from None
        self._rest = self._stream.unconsumed_tail or self._stream.unused_data
        self._full = len(piece) == MOST_PIECE_BYTES and not self._stream.eof
        return piece

    def _check_end(self) -> None:
        if self._began and not self._stream.eof:
            raise _broken("ends before its compressed data do")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The request body {why}.", code="invalid_request_body")
