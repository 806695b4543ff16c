"""What the examples for nginx and HAProxy repeat at another node: only what was not sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.haproxy import haproxy
from tests.nginx import nginx_example
from tests.programs import needs

_Proxy = Callable[..., AbstractContextManager[str]]


@contextmanager
def _haproxy(folder: Path, *gateways: str) -> Iterator[str]:
    # No check is to find out what the requests do not.
    with haproxy(folder, *gateways, changes={"inter 1s": "inter 1h"}) as running:
        yield running.url


pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.parametrize(
        "proxy",
        [
            pytest.param(nginx_example, id="nginx", marks=needs("nginx")),
            pytest.param(_haproxy, id="haproxy", marks=needs("haproxy")),
        ],
    ),
]


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since the proxies have no others."""
    return "asyncio"


class _Backend:
    """Takes every request, and answers it; or closes the connection of each POST instead."""

    def __init__(self, *, closes: bool) -> None:
        self._closes = closes
        self.posts = 0
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(65536)
        if request.startswith(b"POST"):
            self.posts += 1
        if not (self._closes and request.startswith(b"POST")):
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def _node(*, closes: bool) -> AsyncIterator[_Backend]:
    node = _Backend(closes=closes)
    server = await asyncio.start_server(node, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield node


async def _posts(url: str, number: int) -> list[int]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return [
            (await client.post(f"{url}/v1/images/edits", content=b"prompt")).status_code
            for _ in range(number)
        ]


async def test_a_post_that_was_sent_is_not_repeated(tmp_path: Path, proxy: _Proxy) -> None:
    """A node that takes a POST and breaks off may have paid: no other node gets it."""
    async with _node(closes=True) as one, _node(closes=True) as other:
        with proxy(tmp_path, one.url, other.url) as url:
            statuses = await _posts(url, 1)

    assert statuses == [502]
    assert one.posts + other.posts == 1


async def test_a_node_that_cannot_be_reached_is_passed_over(tmp_path: Path, proxy: _Proxy) -> None:
    """Nothing was sent to it yet, so another node gets the POST, and the client sees nothing."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(_node(closes=False))
        async with _node(closes=False) as gone:
            url = stack.enter_context(proxy(tmp_path, gone.url, node.url))
            before = await _posts(url, 2)
        after = await _posts(url, 4)

    assert before + after == [200] * 6
    assert (gone.posts, node.posts) == (1, 5)
