"""gateway.downstream.reply: pictures that are still on their way while the answer goes out."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.domain.errors import ResultUnavailable
from gateway.downstream.body import ClientLeft
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.reply import events_of, json_of
from tests.downstream.calls import by_hand
from tests.downstream.harness import FakeVisit, House, Wire, answer

pytestmark = pytest.mark.anyio

PICTURE = bytes(range(256)) * 3 + b"!"


class Coming:
    """A picture in chunks; one that is an exception breaks it off."""

    def __init__(self, *chunks: bytes | Exception, length: int = len(PICTURE)) -> None:
        self._chunks = chunks
        self.length = length
        self.head = PICTURE[:32]
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def close(self) -> None:
        self.closed = True


def _coming() -> Coming:
    return Coming(PICTURE[:1], PICTURE[1:3], PICTURE[3:300], PICTURE[300:])


@pytest.mark.parametrize("make", [json_of, events_of])
async def test_pictures_on_their_way(make: Any) -> None:
    """A picture in chunks of any length goes out as it would whole, of the length told before."""
    whole, coming = (
        make(answer(pictures=pictures, requested=2), 7, lambda _: None)
        for pictures in ((PICTURE, b"b"), (_coming(), b"b"))
    )
    sent = []
    for delivery in (whole, coming):
        wire = Wire()
        async with DisconnectWatch(wire.receive) as client:
            await delivery.begin(wire.send, client)
        sent.append(wire.body)

    assert sent[0] == sent[1]
    assert coming.length in (None, len(sent[0]))
    assert base64.b64encode(PICTURE) in sent[0]


async def test_a_picture_that_breaks_off() -> None:
    """What cannot be sent to its end is cut: no end, not delivered, and the line tells why."""
    house = House()
    broken = ResultUnavailable("The picture cannot be downloaded: cut.")

    async def ends() -> Any:
        return answer(pictures=(Coming(PICTURE[:300], broken),))

    house.service.waiter = FakeVisit(ends)
    await by_hand(house, wire := Wire())

    assert wire.sent[0]["status"] == 200
    assert all(message.get("more_body", True) for message in wire.sent)
    assert not house.service.waiter.was_delivered
    assert house.seen.lines[0].outcome == "result_unavailable"


async def test_a_customer_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who takes no byte for two minutes is taken for gone."""
    monkeypatch.setattr("gateway.downstream.reply._STALL_SECONDS", 0.01)
    delivery = json_of(answer(), 7, lambda _: None)

    async def stuck(_: object) -> None:
        await asyncio.Event().wait()

    async with DisconnectWatch(Wire().receive) as client:
        with pytest.raises(ClientLeft):
            await delivery.begin(stuck, client)


def test_urls_have_a_length() -> None:
    """An answer of URLs is one part of known length."""
    delivery = json_of(answer(pictures=(), urls=("https://r/1",)), 7, lambda _: None)

    (part,) = delivery.parts
    assert isinstance(part, bytes)
    assert delivery.length == len(part)
    assert json.loads(part)["data"] == [{"url": "https://r/1"}]
