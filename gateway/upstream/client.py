"""httpx's requests and answers over one transport, without the edits of httpx's client."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import httpx

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
