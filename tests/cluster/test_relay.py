import pytest
from starlette.types import Message

from gateway.cluster.relay import AnswerRelay

pytestmark = pytest.mark.anyio

HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


async def relayed(*pieces: bytes) -> tuple[AnswerRelay, list[Message]]:
    """Send a stream of these pieces; the last one ends it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    relay = AnswerRelay(send)
    await relay.send(HEAD)
    for number, piece in enumerate(pieces, start=1):
        more = number < len(pieces)
        await relay.send({"type": "http.response.body", "body": piece, "more_body": more})
    return relay, sent


def body(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("size", range(1, 12))
async def test_a_stream_in_pieces_of_any_size(size: int) -> None:
    """However a stream is cut into pieces, it arrives whole, and begins with its first event."""
    whole = b": keep-alive\n\n: x-wan-region: a\n\nevent: x\ndata: {}\n\n: end\n\n"
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    before = b"".join(pieces[: (whole.index(b"event")) // size])

    _, sent = await relayed(*pieces)
    relay, some = await relayed(
        *[before[at : at + size] for at in range(0, len(before), size)], b""
    )

    assert body(sent) == whole
    assert body(some) == before
    assert relay.begun


async def test_a_comment_that_the_end_cuts() -> None:
    """An end is an end: nothing is held back after it."""
    _, sent = await relayed(b": a\n\n: b")

    assert body(sent) == b": a\n\n: b"
    assert sent[-1]["more_body"] is False


async def test_an_empty_answer() -> None:
    """It is sent by its end."""
    relay, sent = await relayed(b"")

    assert [message["type"] for message in sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert relay.begun
