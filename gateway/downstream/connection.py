"""uvicorn's HTTP, with what it leaves out: an honest 'sent', and limits on a request's head."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.domain.errors import GatewayError, InvalidRequest
from gateway.translate.openai_error import error_body

MOST_HEAD_BYTES = 65_536  # as OpenAI asks for (openai.md 1)
HEAD_SECONDS = 20.0


class Connection(HttpToolsProtocol):
    """
    One customer's connection.

    uvicorn waits for its write buffer to drain before each send, if it is over a mark. With
    the mark at 0 a send returns only when all that was sent before was handed to the
    socket, which is what "delivered" means. And it would read a head of any length for ever.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                b"431 Request Header Fields Too Large",
                InvalidRequest("The request's headers are over 64 KiB. Send fewer."),
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:
            self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the envelope that every other refusal has."""
        self._refuse(b"400 Bad Request", InvalidRequest(msg, code="invalid_request"))

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _end_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        self.transport.close()

    def _refuse(self, status: bytes, error: GatewayError) -> None:
        self._end_head()
        body = error_body(error, "")
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        self.transport.write(head % (status, len(body)) + b"connection: close\r\n\r\n" + body)
        self.transport.close()
