"""Result pictures: brought home whole, from allowed hosts only, without a key."""

import re
from dataclasses import dataclass, field

import httpx

from gateway.domain.clock import Clock
from gateway.domain.errors import ResultUnavailable
from gateway.domain.tenant import Upstream
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.picture_check import fault_of
from gateway.upstream.ports import UpstreamCalls
from gateway.upstream.result_url import ResultUrl, allowed

MOST_BYTES = 64 * 2**20
"""No picture of a DashScope task comes near it; it keeps a wrong URL from eating the memory."""
_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each further try
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Broken(Exception):
    """This try failed; another may not."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """network, status or content: for the tally."""


@dataclass(slots=True)
class _Haul:
    """What has come so far of one picture, over all tries."""

    chunks: list[bytes] = field(default_factory=list, repr=False)
    size: int = 0
    whole: int | None = None
    """How many bytes the picture has, if the server said."""
    resumable: bool = False
    tag: str = ""
    """Names the version that the chunks are of."""

    def headers(self) -> dict[str, str]:
        if not self.size:
            return {}
        asked = {"Range": f"bytes={self.size}-"}
        return asked | {"If-Range": self.tag} if self.tag else asked

    def accept(self, answer: httpx.Response) -> None:
        """Get ready for the bytes of *answer*, or raise what its status means."""
        match answer.status_code:
            case 200:
                self.forget()
                if "content-encoding" in answer.headers:
                    # Not asked for; lengths and ranges would count other bytes than ours.
                    return
                length = answer.headers.get("content-length", "")
                self.whole = int(length) if length.isdecimal() else None
                self.resumable = answer.headers.get("accept-ranges") == "bytes"
                tag = answer.headers.get("etag", "")
                self.tag = "" if tag.startswith("W/") else tag
            case 206 if self._goes_on(answer.headers.get("content-range", "")):
                pass
            case 206 | 416:
                self.forget()
                raise _Broken("the server resumed elsewhere", "status")
            case 408 | 429 | 500 | 502 | 503 | 504 as status:
                raise _Broken(f"HTTP {status}", "status")
            case status:
                # Redirects too: result storage has no reason to send us elsewhere.
                raise ResultUnavailable(f"The picture is not there: HTTP {status}.")

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > MOST_BYTES:
            raise ResultUnavailable("The upstream's picture is over 64 MiB.", retry=False)
        self.chunks.append(chunk)

    def broke_off(self) -> None:
        if not self.resumable:
            self.forget()

    def forget(self) -> None:
        """Start again from the first byte."""
        self.chunks.clear()
        self.size, self.whole, self.resumable, self.tag = 0, None, False, ""

    def picture(self) -> bytes:
        size, whole = self.size, self.whole
        if whole is not None and size != whole:
            self.broke_off()
            raise _Broken(f"{size} of {whole} bytes came", "network")
        content = b"".join(self.chunks)
        if wrong := fault_of(content):
            self.forget()
            raise _Broken(wrong, "content")
        return content

    def _goes_on(self, said: str) -> bool:
        parts = _CONTENT_RANGE.fullmatch(said)
        return (
            parts is not None
            and int(parts[1]) == self.size > 0
            and self.whole in (None, int(parts[2]))
        )


class Results:
    """
    Where finished pictures lie.

    A GET changes nothing there, so it is tried five times in all, each from where the
    last one broke off if the server can, else from the first byte.
    """

    def __init__(self, clients: Clients, clock: Clock, calls: UpstreamCalls) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls

    async def download(self, upstream: Upstream, url: str) -> bytes:
        """
        Return the picture behind *url*, which is never logged nor part of an error.

        Raises:
            ResultUnavailable: not allowed, not there, or broken five times.
        """
        place = allowed(url, upstream.region.result_hosts)
        haul = _Haul()
        for pause in _PAUSES:
            try:
                return await self._try(upstream, place, haul)
            except _Broken as exc:
                self._calls.upstream_retried(upstream.region.name, "download", exc.reason)
            await self._clock.sleep(pause)
        try:
            return await self._try(upstream, place, haul)
        except _Broken as exc:
            raise ResultUnavailable(f"The picture cannot be downloaded: {exc}.") from exc

    async def _try(self, upstream: Upstream, place: ResultUrl, haul: _Haul) -> bytes:
        began, code = self._clock.now(), "error"
        client = self._clients.of(upstream, Purpose.DOWNLOAD)
        try:
            async with client.stream(
                "GET", place.url, headers=haul.headers(), extensions={"target": place.target}
            ) as answer:
                code = str(answer.status_code)
                haul.accept(answer)
                async for chunk in answer.aiter_bytes():
                    haul.add(chunk)
        except httpx.TransportError as exc:
            code = "error"
            haul.broke_off()
            raise _Broken(type(exc).__name__, "network") from exc
        finally:
            self._calls.upstream_call(
                upstream.region.name, "download", code, self._clock.now() - began
            )
        return haul.picture()
