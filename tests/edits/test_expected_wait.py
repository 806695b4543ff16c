"""The wait that a client is told to expect, before and after the submit."""

import asyncio

import pytest

from gateway.domain.errors import GatewayError
from gateway.edits.account import expected_wait
from tests.edits.accounts import FAR, ONE, accounts_of, tickets_queued
from tests.edits.harness import EditHarness, complete, error_of
from tests.fakes import Run, a_tenant

pytestmark = pytest.mark.anyio


async def test_the_wait_of_those_in_line() -> None:
    """An edit waits for the last of its parts; one that is not queued, for the shortest queue."""
    accounts = accounts_of(ONE, FAR)
    near = accounts.of(ONE)
    tenant = a_tenant("acme", ONE, FAR)
    places = [near.queue.issue_ticket(tenant, 1) for _ in range(6 + 4)]
    async with tickets_queued(near, *places):
        waits = [
            expected_wait(accounts, tenant, "", some) for some in (places[6:8], places[9:], [])
        ]

    assert waits == [2 * 9.0, 4 * 9.0, 1.0]


async def forecast(model: str, *, retry_count: int) -> float:
    """Let 20 edits take 10 to 29 s, and one more go on; return what it hears after 12 s."""
    harness = EditHarness()
    async with harness.service() as service:
        for seconds in range(10, 30):
            harness.dashscope.run = Run(0.0, float(seconds))
            await complete(service, harness.request(f"cat {seconds}", model=model))
        harness.dashscope.run = Run(0.0, 25.0)
        request = harness.request("a dog", model=model, patience=12.0, retry_count=retry_count)
        late: GatewayError = await error_of(complete(service, request))
        await asyncio.sleep(60.0)
    return late.retry_after or 0.0


@pytest.mark.parametrize("model", ["wan2.5-i2i-preview", "qwen-image-edit-plus"])
async def test_the_rest_of_one_that_runs(model: str) -> None:
    """Half of those that lasted so long have then ended; nearly all at an SDK's last try."""
    first, last = await forecast(model, retry_count=0), await forecast(model, retry_count=2)

    assert first == pytest.approx(21.0 - 12.0, abs=2.0)
    assert last == pytest.approx(29.0 - 12.0, abs=1.5)
