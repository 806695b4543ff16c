"""gateway.upstream.downloads, where it is handed on; the rest is in test_downloads.py."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.domain.errors import ResultUnavailable
from gateway.upstream.calls import CALL_LIMITS
from gateway.upstream.downloads import Incoming
from tests.upstream.wire import PNG, HandClock

pytestmark = pytest.mark.anyio


class PartialStorage:
    """Plays a script of answers; three breaks are enough."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.ranges: list[str | None] = []
        self.broke: list[tuple[str, str]] = []
        self.clock = HandClock()

    async def edit_request(self, headers: dict[str, str]) -> httpx.Response:
        self.ranges.append(headers.get("Range"))
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def noted(self, message: str, reason: str) -> None:
        self.broke.append((message, reason))
        if len(self.broke) > 3:
            raise ResultUnavailable(message)

    async def incoming(self) -> Incoming:
        picture = Incoming(self.edit_request, self.noted, self.clock, "oss.test", CALL_LIMITS)
        await picture.begin()
        return picture


def _response(length: int, content: bytes = PNG) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 50):
            yield content[start : start + 50]

    headers = {"content-length": str(length), "accept-ranges": "bytes"}
    return httpx.Response(200, headers=headers, content=body())


async def test_length_and_head_come_first() -> None:
    """Before a byte is handed on the length is known, and enough to tell form and size."""
    storage = PartialStorage(_response(len(PNG)))

    picture = await storage.incoming()

    assert picture.length == len(PNG)
    assert picture.head == PNG[: len(picture.head)]
    assert 32 <= len(picture.head) < len(PNG)
    assert b"".join([chunk async for chunk in picture.chunks()]) == PNG
    await picture.close()


async def test_length_that_nobody_tells() -> None:
    """Without a length the picture is read whole first."""

    async def body() -> AsyncIterator[bytes]:
        yield PNG[:60]
        yield PNG[60:]

    storage = PartialStorage(httpx.Response(200, content=body()))

    picture = await storage.incoming()

    assert picture.length == len(PNG)
    assert [chunk async for chunk in picture.chunks()] == [PNG]


@pytest.mark.parametrize(
    ("length", "content", "says"),
    [
        pytest.param(len(PNG) - 7, PNG, "longer", id="longer-than-said"),
        pytest.param(len(PNG) - 50, PNG[:-50], "without its end", id="png-without-its-end"),
    ],
)
async def test_broken_at_its_end(length: int, content: bytes, says: str) -> None:
    """What is found only at the end is told then: the answer that carried it must be cut."""
    storage = PartialStorage(_response(length, content))
    picture = await storage.incoming()

    with pytest.raises(ResultUnavailable, match=says):
        _ = [chunk async for chunk in picture.chunks()]


async def test_what_was_handed_on_is_not_handed_on_again() -> None:
    """A server that ignores the range sends all again; only what is missing goes on."""
    storage = PartialStorage(_response(len(PNG), PNG[:100]), _response(len(PNG)))
    picture = await storage.incoming()

    chunks = [chunk async for chunk in picture.chunks()]

    assert b"".join(chunks) == PNG
    assert storage.ranges == [None, "bytes=100-"]
    assert storage.broke == [("it was cut short", "network")]


async def test_another_picture_is_not_mixed_in() -> None:
    """After a break, a picture of another length is never joined to what was handed on."""
    storage = PartialStorage(
        _response(len(PNG), PNG[:100]), *[_response(len(PNG) + 1) for _ in range(4)]
    )
    picture = await storage.incoming()

    with pytest.raises(ResultUnavailable, match="has changed"):
        _ = [chunk async for chunk in picture.chunks()]
