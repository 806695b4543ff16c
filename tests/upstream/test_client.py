"""httpx's requests and answers, without its client."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.upstream.client import Client

pytestmark = pytest.mark.anyio


class Storage(httpx.AsyncBaseTransport):
    """Answers with a body that may break off, and remembers."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.body = Body(pieces)
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, stream=self.body, headers={"location": "http://else.test/"})

    async def aclose(self) -> None:
        self.closed = True


class Body(httpx.AsyncByteStream):
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
    request = a_client(Storage()).build_request(
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
    client = a_client(Storage(b"who", b"le"))

    answer = await client.send(client.build_request("GET", "/tasks"))

    assert (answer.status_code, answer.content) == (302, b"whole")
    assert answer.request.url.path == "/api/v1/tasks"


async def test_a_stream_is_the_callers_to_read() -> None:
    """A streamed answer is handed on unread."""
    storage = Storage(b"pie", b"ces")
    client = a_client(storage)

    answer = await client.send(client.build_request("GET", "/tasks"), stream=True)

    assert not storage.body.closed
    assert [piece async for piece in answer.aiter_bytes()] == [b"pie", b"ces"]


async def test_a_broken_answer_keeps_no_connection() -> None:
    """An answer that breaks off is closed before anybody hears of it."""
    storage = Storage(b"pie", httpx.ReadError("cut"))
    client = a_client(storage)

    with pytest.raises(httpx.ReadError):
        await client.send(client.build_request("GET", "/tasks"))

    assert storage.body.closed


async def test_closing_closes_the_transport() -> None:
    """The connections end with their client."""
    storage = Storage()

    await a_client(storage).aclose()

    assert storage.closed
