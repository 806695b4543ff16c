import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.domain.errors import ResultUnavailable
from gateway.upstream.calls import CALL_LIMITS, CallLimits
from gateway.upstream.clients import Clients
from gateway.upstream.downloads import Downloads
from tests.upstream.wire import (
    PNG,
    HandClock,
    LoopbackServer,
    RecordedCalls,
    Serve,
    listening,
    read_request,
    upstream,
)

pytestmark = pytest.mark.anyio

_URL = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/a.png?Expires=1&Signature=a%2Bb"
_HALF = len(PNG) // 2
_RANGES = {"accept-ranges": "bytes", "etag": '"v1"'}


class _CutBody(httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise httpx.ReadError("cut")


def _cut(
    content: bytes, headers: dict[str, str] | None = None, status: int = 200
) -> httpx.Response:
    message = {"content-length": str(len(PNG))} | (headers or {})
    return httpx.Response(status, headers=message, stream=_CutBody(content))


def _rest(start: int, total: int | None = None) -> httpx.Response:
    total = len(PNG) if total is None else total
    fields = {"content-range": f"bytes {start}-{total - 1}/{total}"}
    return httpx.Response(206, headers=fields, content=PNG[start:])


class ScriptedStorage:
    """A storage that plays a script."""

    def __init__(
        self, *script: httpx.Response | Exception, limits: CallLimits = CALL_LIMITS
    ) -> None:
        self.script = list(script)
        self.seen: list[httpx.Request] = []
        self.tally, self.clock = RecordedCalls(), HandClock()
        clients = Clients(lambda _: httpx.MockTransport(self._handle))
        self.downloads = Downloads(clients, self.clock, self.tally, limits)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def download(self, url: str = _URL) -> bytes:
        return await self.downloads.download(upstream(), url)

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.seen]


async def test_download() -> None:
    """One GET without a key brings the picture as it is."""
    storage = ScriptedStorage(httpx.Response(200, content=PNG))

    assert await storage.download() == PNG

    assert "authorization" not in storage.seen[0].headers
    assert storage.tally.calls == [("beijing", "download", "200")]
    assert storage.clock.slept == []


async def test_signed_url_is_untouched_on_the_wire() -> None:
    """Every escape of a signed URL arrives as upstream wrote it, over a real socket."""
    target = "/1d%2fa/./b%20c.png?Expires=1&OSSAccessKeyId=LTAI'x&Signature=a%2Bb%2fc%3d%3D~[]"

    def serve(received: LoopbackServer) -> Serve:
        async def picture(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(received, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)
            await writer.drain()

        return picture

    async with listening(serve) as received, Clients() as clients:
        downloads = Downloads(clients, HandClock(), RecordedCalls(), CALL_LIMITS)
        content = await downloads.download(upstream(), received.base_url + target)

    assert content == PNG
    assert received.bytes.startswith(b"GET " + target.encode() + b" HTTP/1.1\r\n")
    assert b"authorization" not in received.bytes.lower()


async def test_resumed_over_a_real_socket() -> None:
    """A connection cut in mid-picture is resumed at the byte where it stopped."""

    def serve(received: LoopbackServer) -> Serve:
        async def picture(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_request(received, reader)
            body = b"Content-Length: %d\r\nAccept-Ranges: bytes\r\n" % len(PNG)
            if b"range: bytes=" in head.lower():
                start = int(head.lower().partition(b"range: bytes=")[2].partition(b"-")[0])
                rest = PNG[start:]
                body = b"Content-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n" % (
                    len(rest),
                    start,
                    len(PNG) - 1,
                    len(PNG),
                )
                writer.write(b"HTTP/1.1 206 Partial Content\r\n" + body + b"\r\n" + rest)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\n" + body + b"\r\n" + PNG[:_HALF])
            await writer.drain()

        return picture

    async with listening(serve) as received, Clients() as clients:
        downloads = Downloads(clients, HandClock(), RecordedCalls(), CALL_LIMITS)
        content = await downloads.download(upstream(), received.base_url + "/a.png")

    assert content == PNG
    assert (
        b"Range: bytes=%d-\r\n" % _HALF in received.bytes
        or b"range: bytes=%d-\r\n" % _HALF in received.bytes
    )
    assert received.connections == 2


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        pytest.param(
            [_cut(PNG[:_HALF], _RANGES), _rest(_HALF)], [None, f"bytes={_HALF}-"], id="resumed"
        ),
        pytest.param(
            [
                _cut(PNG[:99], _RANGES),
                _cut(PNG[99:_HALF], {"content-range": f"bytes 99-{len(PNG) - 1}/{len(PNG)}"}, 206),
                _rest(_HALF),
            ],
            [None, "bytes=99-", f"bytes={_HALF}-"],
            id="resumed-twice",
        ),
        pytest.param(
            [_cut(PNG[:_HALF]), httpx.Response(200, content=PNG)], [None, None], id="no-ranges"
        ),
        pytest.param(
            [_cut(PNG[:_HALF], _RANGES), httpx.Response(200, content=PNG)],
            [None, f"bytes={_HALF}-"],
            id="range-ignored",
        ),
        pytest.param(
            [_cut(PNG[:_HALF], _RANGES), _rest(_HALF + 1), httpx.Response(200, content=PNG)],
            [None, f"bytes={_HALF}-", None],
            id="resumed-elsewhere",
        ),
        pytest.param(
            [_cut(PNG[:_HALF], _RANGES), _rest(_HALF, 9999999), httpx.Response(200, content=PNG)],
            [None, f"bytes={_HALF}-", None],
            id="another-picture",
        ),
        pytest.param(
            [_cut(PNG[:_HALF], _RANGES), httpx.Response(416), httpx.Response(200, content=PNG)],
            [None, f"bytes={_HALF}-", None],
            id="range-refused",
        ),
        pytest.param(
            [_cut(b"", _RANGES), httpx.Response(200, content=PNG)], [None, None], id="cut-at-0"
        ),
        pytest.param(
            [httpx.Response(206, content=PNG), httpx.Response(200, content=PNG)],
            [None, None],
            id="part-unasked",
        ),
        pytest.param(
            [httpx.Response(200, content=b"<Error/>"), httpx.Response(200, content=PNG)],
            [None, None],
            id="no-picture",
        ),
        pytest.param(
            [httpx.ConnectError("x"), httpx.Response(503), httpx.Response(200, content=PNG)],
            [None, None, None],
            id="down-and-up",
        ),
    ],
)
async def test_tried_again(
    script: list[httpx.Response | Exception], ranges: list[str | None]
) -> None:
    """A broken download goes on where it stopped if that is safe, else begins again."""
    storage = ScriptedStorage(*script)

    assert await storage.download() == PNG

    assert storage.ranges == ranges
    assert len(storage.tally.retries) == len(ranges) - 1


async def test_compressed_all_the_same() -> None:
    """Storage that compresses unasked is understood; its length counts other bytes."""
    storage = ScriptedStorage(
        httpx.Response(
            200,
            headers={"content-encoding": "gzip", "accept-ranges": "bytes"},
            content=gzip.compress(PNG),
        )
    )

    assert await storage.download() == PNG


async def test_resume_is_of_the_same_version() -> None:
    """A strong ETag goes along as If-Range; a weak one cannot name bytes."""
    strong = ScriptedStorage(_cut(PNG[:40], _RANGES), _rest(40))
    weak = ScriptedStorage(_cut(PNG[:40], {"accept-ranges": "bytes", "etag": 'W/"v1"'}), _rest(40))

    await strong.download()
    await weak.download()

    assert strong.seen[1].headers["if-range"] == '"v1"'
    assert "if-range" not in weak.seen[1].headers


async def test_given_up_after_five_tries() -> None:
    """Four repeats with growing pauses, then the picture is unavailable."""
    storage = ScriptedStorage(*[httpx.Response(503)] * 5)

    with pytest.raises(ResultUnavailable) as caught:
        await storage.download()

    assert storage.clock.slept == [0.25, 0.5, 1.0, 2.0]
    assert storage.tally.calls == [("beijing", "download", "503")] * 5
    assert storage.tally.retries == [("beijing", "download", "status")] * 4
    assert "Signature" not in caught.value.message


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(403, id="expired"),
        pytest.param(404, id="deleted"),
        pytest.param(302, id="redirect"),
    ],
)
async def test_final(status: int) -> None:
    """What is not there will not come; a redirect is not followed."""
    storage = ScriptedStorage(
        httpx.Response(status, headers={"location": "https://a.aliyuncs.com/x"})
    )

    with pytest.raises(ResultUnavailable, match=f"HTTP {status}") as caught:
        await storage.download()

    assert not caught.value.retry
    assert caught.value.upstream_code == (
        f"dashscope-result-bj.oss-cn-beijing.aliyuncs.com: HTTP {status}"
    )
    assert len(storage.seen) == 1
    assert storage.tally.calls == [("beijing", "download", str(status))]


async def test_elsewhere_is_never_asked() -> None:
    """A host outside result_hosts gets no request at all."""
    storage = ScriptedStorage()

    with pytest.raises(ResultUnavailable):
        await storage.download("https://evil.com/x")

    assert storage.seen == []


_SMALL = CallLimits(picture_bytes=len(PNG) - 1)


async def test_size_cap() -> None:
    """A body over the cap is cut off and not tried again."""
    storage = ScriptedStorage(httpx.Response(200, content=PNG), limits=_SMALL)

    with pytest.raises(ResultUnavailable, match="64 MiB"):
        await storage.download()


class _SilentBody(httpx.AsyncByteStream):
    """A body that never comes, and tells when it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def aclose(self) -> None:
        self.closed = True


async def test_refused_it_is_closed() -> None:
    """An answer that is not a picture gives its connection back at once."""
    body = _SilentBody()
    storage = ScriptedStorage(httpx.Response(403, stream=body))

    with pytest.raises(ResultUnavailable):
        await storage.downloads.open(upstream(), _URL)

    assert body.closed


async def test_given_up_it_is_closed() -> None:
    """When nobody waits any more for the head of a picture its connection is given back."""
    body = _SilentBody()
    storage = ScriptedStorage(httpx.Response(200, headers={"content-length": "9000"}, stream=body))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await storage.downloads.open(upstream(), _URL)

    assert body.closed


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"<!doctype html><p>Welcome", "not a PNG, JPEG or WEBP", id="page"),
        pytest.param(b"GIF89a" + bytes(100), "not a PNG, JPEG or WEBP", id="another-format"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(PNG[:-50], "without its end", id="cut-at-storage"),
    ],
)
async def test_a_file_that_is_no_picture_is_for_good(content: bytes, why: str) -> None:
    """A file that comes whole and is no whole picture is told as such, with its host."""
    storage = ScriptedStorage(*[httpx.Response(200, content=content) for _ in range(5)])

    with pytest.raises(ResultUnavailable, match=why) as caught:
        await storage.download()

    assert not caught.value.retry
    assert str(caught.value.upstream_code).startswith("dashscope-result-bj.")


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param([httpx.Response(503)] * 5, id="status"),
        pytest.param([httpx.ReadError("reset")] * 5, id="resets"),
        pytest.param([_cut(PNG[:50]) for _ in range(5)], id="cut-short"),
    ],
)
async def test_what_may_pass_is_not_for_good(failures: list[httpx.Response | Exception]) -> None:
    """Five failures of a passing kind leave it open whether the picture can be had."""
    with pytest.raises(ResultUnavailable) as caught:
        await ScriptedStorage(*failures).download()

    assert caught.value.retry


async def test_a_range_of_absurd_numbers() -> None:
    """A Content-Range of five thousand digits is another range than was asked for."""
    absurd = {"content-range": f"bytes {'9' * 5000}-{'9' * 5000}/{'9' * 5000}"}
    storage = ScriptedStorage(
        _cut(PNG[:40], _RANGES),
        httpx.Response(206, headers=absurd),
        httpx.Response(200, content=PNG),
    )

    assert await storage.download() == PNG


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        pytest.param({"content-encoding": "gzip"}, b"no gzip at all", id="broken"),
        pytest.param({"content-encoding": "gzip"}, gzip.compress(PNG)[:-20], id="cut"),
        pytest.param({"content-encoding": "br"}, PNG, id="not-offered"),
    ],
)
async def test_compressed_in_vain(headers: dict[str, str], content: bytes) -> None:
    """A body that cannot be decompressed is a break like any other, and tried again."""

    class Raw(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield content

    storage = ScriptedStorage(
        httpx.Response(200, headers=headers, stream=Raw()), httpx.Response(200, content=PNG)
    )

    assert await storage.download() == PNG
    assert storage.tally.retries == [("beijing", "download", "network")]


class _Trickle(httpx.AsyncByteStream):
    """A picture that comes byte by byte, half a minute each."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for place in range(len(PNG)):
            self._clock.time += 29.0
            yield PNG[place : place + 1]


@pytest.mark.parametrize("length", [{"content-length": str(len(PNG))}, {}])
async def test_a_trickle_is_given_up(length: dict[str, str]) -> None:
    """Storage has a minute, and one second more for each 64 KiB, until the last byte."""
    storage = ScriptedStorage()
    storage.script.append(httpx.Response(200, headers=length, stream=_Trickle(storage.clock)))

    with pytest.raises(ResultUnavailable, match="too slowly") as caught:
        await storage.download()

    assert caught.value.retry
    assert storage.clock.time < 1000.0 + 4 * 29.0


async def test_a_slow_reader_takes_nothing_of_the_time() -> None:
    """A client that reads for an hour gets its picture: only waits for storage count."""
    storage = ScriptedStorage(httpx.Response(200, content=PNG))
    picture = await storage.downloads.open(upstream(), _URL)

    content = b""
    async for chunk in picture.chunks():
        storage.clock.time += 3600.0
        content += chunk

    assert content == PNG


async def test_size_cap_without_a_length() -> None:
    """A body that does not tell its length is cut off at the cap, for good."""

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield PNG

    storage = ScriptedStorage(httpx.Response(200, stream=Endless()), limits=_SMALL)

    with pytest.raises(ResultUnavailable, match="64 MiB") as caught:
        await storage.download()

    assert not caught.value.retry


async def test_silence_is_given_up() -> None:
    """Storage that says nothing at all does not hold a download beyond its time."""
    storage = ScriptedStorage(
        httpx.Response(200, stream=_SilentBody()), limits=CallLimits(download=0.01)
    )

    with pytest.raises(ResultUnavailable, match="too slowly"):
        await storage.download()
