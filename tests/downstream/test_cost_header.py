"""x-wan-cost: what an edit cost, for clients that are told."""

import asyncio
from typing import Any

import pytest

from gateway.domain.price import Bill, Price
from tests.downstream.harness import FILES, FORM, EdgeHarness, FakeWaiter, answer

pytestmark = pytest.mark.anyio
ONE = (Bill((None,)),)
PRICES = {("beijing", "wan2.5-i2i-preview"): Price(0.2, "CNY")}


async def reply_headers(prices: dict[tuple[str, str], Price], **result: Any) -> dict[str, str]:
    harness = EdgeHarness(prices=prices)

    async def made() -> Any:
        return answer(model="wan2.5-i2i-preview", **result)

    harness.service.waiter = FakeWaiter(made)
    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", data=FORM, files=FILES)
    assert reply.status_code == 200
    return dict(reply.headers)


@pytest.mark.parametrize(
    ("price", "bills", "header"),
    [
        pytest.param(Price(0.2, "CNY"), [1], "0.20 CNY", id="one"),
        pytest.param(Price(0.2, "CNY"), [4, 2], "1.20 CNY", id="two tasks"),
        pytest.param(Price(0.2, "CNY", input_picture=0.003), [1, 1], "0.418 CNY", id="put in"),
        pytest.param(Price(0.562065, "CNY"), [2], "1.12413 CNY", id="decimals"),
        pytest.param(Price(10.0, "USD"), [10], "100.00 USD", id="hundred"),
        pytest.param(Price(0.0, "CNY"), [1], "0.00 CNY", id="free"),
    ],
)
async def test_the_cost_of_what_was_made(price: Price, bills: list[int], header: str) -> None:
    """It is what the tasks cost, also for a picture that could not be delivered."""
    headers = await reply_headers(
        {("beijing", "wan2.5-i2i-preview"): price},
        bills=tuple(Bill((None,) * made, inputs=3) for made in bills),
    )

    assert headers["x-wan-cost"] == header


async def test_off_by_default() -> None:
    """Without prices to tell it by there is no such header."""
    assert "x-wan-cost" not in await reply_headers({}, bills=ONE)


async def test_what_is_not_known() -> None:
    """Without a task there is nothing to tell the cost by."""
    assert "x-wan-cost" not in await reply_headers(PRICES, bills=())


async def test_a_model_without_a_price() -> None:
    """What a model costs that has no price is not guessed."""
    assert "x-wan-cost" not in await reply_headers(
        {("singapore", "wan2.5-i2i-preview"): Price(0.03, "USD")}, bills=ONE
    )


async def test_in_a_stream() -> None:
    """The head of a stream goes out before the end, so the cost is a comment there."""
    harness = EdgeHarness(prices=PRICES, heartbeat_seconds=0.01)
    head_sent = asyncio.Event()

    class Waiting(FakeWaiter):
        def extend(self, patience: float) -> None:
            head_sent.set()

    async def made() -> Any:
        await head_sent.wait()
        return answer(model="wan2.5-i2i-preview", bills=ONE)

    harness.service.waiter = Waiting(made)
    async with harness.client() as client:
        form = {**FORM, "stream": "true"}
        reply = await client.post("/v1/images/edits", data=form, files=FILES)

    assert "x-wan-cost" not in reply.headers
    assert ": x-wan-cost: 0.20 CNY" in reply.text
