import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message

from gateway.domain.errors import BodyTooSlow, RequestTooLarge
from gateway.downstream.body import BodyLimits, announced, read_body
from gateway.downstream.disconnect import ClientLeft
from gateway.downstream.memory_budget import MemoryBudget
from tests.downstream.harness import limits_of
from tests.warp import WARP

pytestmark = pytest.mark.anyio


def playing(*script: Message | float) -> Callable[[], Awaitable[Message]]:
    """Receive *script*; a number in it is a pause in seconds, past its end is silence."""
    rest = list(script)

    async def receive() -> Message:
        while rest:
            step = rest.pop(0)
            if not isinstance(step, float):
                return step
            await asyncio.sleep(step)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def poured(*script: Message | float, limits: BodyLimits) -> list[bytes]:
    pieces: list[bytes] = []
    with MemoryBudget(1000, lambda _: None).reserve() as reservation:
        await read_body(playing(*script), pieces.append, limits, reservation)
        assert reservation.held == sum(map(len, pieces))
    return pieces


async def test_pieces_come_as_they_are() -> None:
    """The pieces are handed on in order, empty ones left out, until the last."""
    pieces = await poured(piece(b"a"), piece(b""), piece(b"bc", more=False), limits=limits_of())

    assert pieces == [b"a", b"bc"]


async def test_a_large_piece() -> None:
    """A piece of 320 KiB is handed on in slices, and others have a turn between two of them."""
    turns: list[int] = []
    slices: list[bytes] = []

    def into(some: bytes) -> None:
        slices.append(some)
        asyncio.get_running_loop().call_soon(turns.append, len(slices))

    content = bytes(range(256)) * 1280
    with MemoryBudget(2**20, lambda _: None).reserve() as reservation:
        await read_body(playing(piece(content, more=False)), into, limits_of(), reservation)

    assert [len(some) for some in slices] == [65_536] * 5
    assert b"".join(slices) == content
    assert turns[:4] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("script", "limits"),
    [
        pytest.param([piece(b"a")], limits_of(idle_body_seconds=0.01), id="silence"),
        pytest.param([], limits_of(idle_body_seconds=0.01), id="nothing-at-all"),
        pytest.param(
            [piece(b"a"), 0.02, piece(b"b"), 0.02, piece(b"c"), 0.02, piece(b"d", more=False)],
            limits_of(body_seconds=0.03),
            id="drop-by-drop",
        ),
    ],
)
async def test_too_slow(script: list[Message | float], limits: BodyLimits) -> None:
    """Silence, and a body that takes too long as a whole, end with 408."""
    with pytest.raises(BodyTooSlow):
        await poured(*script, limits=limits)


@pytest.mark.parametrize("anyio_backend", [WARP])
async def test_its_turn_is_late() -> None:
    """What a piece waits for its turn is no silence of the client's, nor part of its time."""
    limits = limits_of(idle_body_seconds=0.5, body_seconds=0.5)

    async def turn() -> None:
        await asyncio.sleep(3.0)

    script = [piece(b"a"), piece(b"b"), piece(b"c", more=False)]
    pieces: list[bytes] = []
    with MemoryBudget(1000, lambda _: None).reserve() as reservation:
        await read_body(playing(*script), pieces.append, limits, reservation, turn)

    assert pieces == [b"a", b"b", b"c"]


async def test_too_large_on_the_way() -> None:
    """A chunked body is refused once it is over the limit."""
    with pytest.raises(RequestTooLarge, match=r"limit \(4\) exceeded"):
        await poured(piece(b"abc"), piece(b"de"), limits=limits_of(max_body_bytes=4))


async def test_customer_leaves() -> None:
    """A client who hangs up while sending is no fault of anybody."""
    with pytest.raises(ClientLeft):
        await poured(piece(b"a"), {"type": "http.disconnect"}, limits=limits_of())


@pytest.mark.parametrize(
    ("length", "n"),
    [
        pytest.param(None, 0, id="chunked"),
        pytest.param("12", 12, id="known"),
        pytest.param("-1", 0, id="negative"),
        pytest.param("²", 0, id="no-number"),
    ],
)
def test_announced(length: str | None, n: int) -> None:
    """Content-Length is a number of bytes or nothing."""
    assert announced({} if length is None else {"content-length": length}) == n
