"""What the service says of itself to whoever reads gauges off it."""

import asyncio

import pytest

from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_the_oldest_wait() -> None:
    """Each region tells how long its oldest edit has been in the queue; 0 once it is submitted."""
    harness = EditHarness(
        a_tenant("acme", an_upstream(account=an_account(running_tasks=1, pending_ahead=0)))
    )
    harness.dashscope.submits.append(Submit(run=Run(0.0, 20.0)))

    async with harness.service() as service, asyncio.TaskGroup() as group:
        empty = service.oldest_waits()
        group.create_task(complete(service, harness.request("running")))
        await harness.clock.sleep(1.0)
        first = group.create_task(complete(service, harness.request("first in the queue")))
        await harness.clock.sleep(3.0)
        group.create_task(complete(service, harness.request("second in the queue")))
        await harness.clock.sleep(2.0)
        crowded = service.oldest_waits()
        await first
        after_first = service.oldest_waits()

    assert empty == {"beijing": 0.0}
    assert crowded == {"beijing": pytest.approx(5.0, abs=0.01)}
    assert after_first == {"beijing": 0.0}


async def test_what_can_be_had_by_a_retry() -> None:
    """A task counts from its end, if its client has left, until somebody gets its pictures."""
    harness = EditHarness()
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(5.0)
            running = service.recoverable, service.oldest_recoverable
        await harness.clock.sleep(30.0)
        left = service.recoverable, service.oldest_recoverable
        await complete(service, harness.request())
        served = service.recoverable, service.oldest_recoverable

    assert (running, left, served) == ((0, 0.0), (1, 35.0), (0, 0.0))


async def test_a_running_edit_without_clients_is_not_busy() -> None:
    """A drain waits for connected clients, not for tasks that the next process can follow."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(1.0)
            connected = service.busy
        left = service.busy

    assert (connected, left) == (1, 0)
