"""httpx's requests and answers, without its client."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.upstream.clients import Client

pytestmark = pytest.mark.anyio


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers with a body that may break off, and remembers."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.body = ScriptedBody(pieces)
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, stream=self.body, headers={"location": "http://else.test/"})

    async def aclose(self) -> None:
        self.closed = True


class ScriptedBody(httpx.AsyncByteStream):
    def __init__(self, pieces: tuple[bytes | Exception, ...]) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def a_client(storage: httpx.AsyncBaseTransport) -> Client:
    return Client(
        storage,
        base_url="http://region.test/api/v1/",
        headers={"Authorization": "Bearer k", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(10.0, connect=5.0),
    )


@pytest.mark.parametrize(
    ("url", "params", "expected"),
    [
        ("/tasks", None, "http://region.test/api/v1/tasks"),
        ("/tasks", {"a": "1 2"}, "http://region.test/api/v1/tasks?a=1+2"),
        ("https://oss.test/a%2Fb?c=d", None, "https://oss.test/a%2Fb?c=d"),
    ],
)
def test_where_a_request_goes(url: str, params: dict[str, str] | None, expected: str) -> None:
    """A path is the region's, any other URL its own; nothing that was given gets lost."""
    request = a_client(ScriptedTransport()).build_request(
        "POST", url, params=params, content=b"abc", headers={"X-More": "m"}, extensions={"t": 1}
    )

    assert (request.method, str(request.url)) == ("POST", expected)
    assert request.extensions["t"] == 1
    assert request.extensions["timeout"]["connect"] == 5.0
    assert request.headers["content-length"] == "3"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-more"] == "m"
    assert request.headers["host"] in expected


async def test_an_answer_is_read_and_no_redirect_followed() -> None:
    """An answer comes whole, and as it is: where it sends us, we do not go."""
    client = a_client(ScriptedTransport(b"who", b"le"))

    answer = await client.send(client.build_request("GET", "/tasks"))

    assert (answer.status_code, answer.content) == (302, b"whole")
    assert answer.request.url.path == "/api/v1/tasks"


async def test_a_stream_is_the_callers_to_read() -> None:
    """A streamed answer is handed on unread."""
    storage = ScriptedTransport(b"pie", b"ces")
    client = a_client(storage)

    answer = await client.send(client.build_request("GET", "/tasks"), stream=True)

    assert not storage.body.closed
    assert [piece async for piece in answer.aiter_bytes()] == [b"pie", b"ces"]


async def test_a_broken_answer_keeps_no_connection() -> None:
    """An answer that breaks off is closed before anybody hears of it."""
    storage = ScriptedTransport(b"pie", httpx.ReadError("cut"))
    client = a_client(storage)

    with pytest.raises(httpx.ReadError):
        await client.send(client.build_request("GET", "/tasks"))

    assert storage.body.closed


async def test_closing_closes_the_transport() -> None:
    """The connections end with their client."""
    storage = ScriptedTransport()

    await a_client(storage).aclose()

    assert storage.closed


@pytest.mark.parametrize(
    ("encoding", "piece"),
    [
        pytest.param("identity", bytes(2**19), id="identity"),
        pytest.param("gzip", gzip.compress(bytes(2**24)), id="gzip"),
        pytest.param("deflate", zlib.compress(bytes(2**24)), id="deflate"),
    ],
)
async def test_a_long_answer_is_cut_off(encoding: str, piece: bytes) -> None:
    """Of an answer over 1 MiB, as it is or decompressed, no more is read."""
    storage = FixedTransport(*[piece] * 3, encoding=encoding)

    tracemalloc.start()
    with pytest.raises(httpx.RemoteProtocolError, match="too long"):
        await a_client(storage).send(httpx.Request("GET", "http://region.test/"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert storage.body.closed
    assert peak < 6 * 2**20


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        pytest.param("", b"{}", id="none"),
        pytest.param("GZIP", gzip.compress(b"{}"), id="gzip"),
        pytest.param("x-gzip", gzip.compress(b"{}") + b"rest", id="gzip-and-a-rest"),
        pytest.param("deflate", zlib.compress(b"{}"), id="zlib"),
        pytest.param("deflate", zlib.compress(b"{}", wbits=-15), id="raw-deflate"),
    ],
)
async def test_a_compressed_answer_is_read(encoding: str, content: bytes) -> None:
    """gzip and deflate are understood, in pieces of any size."""
    storage = FixedTransport(*[content[i : i + 1] for i in range(len(content))], encoding=encoding)

    answer = await a_client(storage).send(httpx.Request("GET", "http://region.test/"))

    assert answer.content == b"{}"
    assert answer.json() == {}
    assert storage.body.closed


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        pytest.param("gzip", b"{}", id="not-compressed"),
        pytest.param("gzip", gzip.compress(bytes(1000))[:-9], id="cut"),
        pytest.param("gzip", gzip.compress(b"{}")[:-8] + bytes(8), id="wrong-sum"),
        pytest.param("br", b"{}", id="not-offered"),
    ],
)
async def test_an_answer_that_cannot_be_decompressed(encoding: str, content: bytes) -> None:
    """It broke off, as far as anybody can tell."""
    storage = FixedTransport(content, encoding=encoding)

    with pytest.raises(httpx.RemoteProtocolError):
        await a_client(storage).send(httpx.Request("GET", "http://region.test/"))

    assert storage.body.closed


class FixedTransport(httpx.AsyncBaseTransport):
    """Answers with a body in pieces, encoded as it says."""

    def __init__(self, *pieces: bytes, encoding: str) -> None:
        self.body = ScriptedBody(pieces)
        self._encoding = encoding

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": self._encoding, "content-length": "7"}
        return httpx.Response(200, stream=self.body, headers=headers)
