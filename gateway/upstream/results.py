"""Result pictures: brought home from allowed hosts only, without a key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from gateway.domain.clock import Clock
from gateway.domain.tenant import Upstream
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.incoming import Incoming, unavailable
from gateway.upstream.ports import UpstreamCalls
from gateway.upstream.result_url import allowed

_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each further try


class Results:
    """Where finished pictures lie."""

    def __init__(self, clients: Clients, clock: Clock, calls: UpstreamCalls) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls

    async def open(self, upstream: Upstream, url: str) -> Incoming:
        """
        Return the picture behind *url*, which is never logged nor part of an error.

        It is to be closed. A break is fixed up to four times, here and while it is read.

        Raises:
            ResultUnavailable: not allowed, not there, or broken five times. ``retry`` is
                False where this URL will have no other end.
        """
        place = allowed(url, upstream.region.result_hosts)
        region = upstream.region.name
        client = self._clients.of(upstream, Purpose.DOWNLOAD)
        pauses = iter(_PAUSES)

        async def edit_request(headers: dict[str, str]) -> httpx.Response:
            began = self._clock.now()
            code = "error"
            try:
                request = client.build_request(
                    "GET", place.url, headers=headers, extensions={"target": place.target}
                )
                answer = await client.send(request, stream=True)
                code = str(answer.status_code)
                return answer
            finally:
                seconds = self._clock.now() - began
                self._calls.upstream_call(region, "download", code, seconds)

        async def broke(message: str, reason: str) -> None:
            if (pause := next(pauses, None)) is None:
                raise unavailable(message, place.host, for_good=reason == "content")
            self._calls.upstream_retried(region, "download", reason)
            await self._clock.sleep(pause)

        incoming = Incoming(edit_request, broke, self._clock, place.host)
        try:
            await incoming.begin()
        except BaseException:  # refused, or nobody waits any more: its connection is not kept
            await incoming.close()
            raise
        return incoming

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """Return the picture behind *url* whole; see open."""
        async with self._opened(upstream, url) as incoming:
            return b"".join([chunk async for chunk in incoming.chunks()])

    @asynccontextmanager
    async def _opened(self, upstream: Upstream, url: str) -> AsyncIterator[Incoming]:
        incoming = await self.open(upstream, url)
        try:
            yield incoming
        finally:
            await incoming.close()
