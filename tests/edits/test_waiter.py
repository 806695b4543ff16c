"""One client's stay: what happens to its deadline when it begins to hear of us."""

import asyncio

import pytest

from gateway.domain.clock import Phase
from gateway.domain.errors import StillRunning
from tests.edits.harness import EditHarness, error_of
from tests.fakes import Run

pytestmark = pytest.mark.anyio


async def test_extended_while_it_waits() -> None:
    """A client that hears of us waits on past its own deadline, and has its picture."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    async with (
        harness.service() as service,
        service.attend(harness.request(patience=5.0)) as waiter,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(waiter.answer())
        await harness.clock.sleep(3.0)
        waiter.extend(540.0)
        answer = await waiting

    assert answer.delivered == 1


async def test_the_longer_deadline_is_one_too() -> None:
    """It counts from the client's coming, and is told like any other."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    began = harness.clock.now()
    async with (
        harness.service() as service,
        service.attend(harness.request(patience=5.0)) as waiter,
    ):
        waiter.extend(20.0)
        refused = await error_of(waiter.answer())

    assert isinstance(refused, StillRunning)
    assert harness.clock.now() == pytest.approx(began + 20.0)


async def test_extended_too_late() -> None:
    """In the very moment in which the deadline comes, and after it, nothing is extended."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    async with (
        harness.service() as service,
        service.attend(harness.request(patience=5.0)) as waiter,
    ):
        refused = await error_of(waiter.answer())
        waiter.extend(540.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0) as waiter._timer:
                await harness.clock.sleep(1.0)
        waiter.extend(540.0)

    assert isinstance(refused, StillRunning)


async def test_where_the_time_went() -> None:
    """At each moment the phases add up to the time since the client came."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    began = harness.clock.now()
    async with (
        harness.service() as service,
        service.attend(harness.request(patience=540.0)) as waiter,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(waiter.answer())
        await harness.clock.sleep(30.0)
        meanwhile = dict(waiter.spent())
        await waiting
        afterwards = dict(waiter.spent())

    assert sum(meanwhile.values()) == pytest.approx(30.0)
    assert max(meanwhile, key=meanwhile.__getitem__) is Phase.UPSTREAM_RUNNING
    assert sum(afterwards.values()) == pytest.approx(harness.clock.now() - began)
    assert Phase.DOWNLOAD in afterwards


async def test_where_the_time_of_one_who_left_went() -> None:
    """Who hangs up while the task runs did not spend that time on sending its request."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 60.0)
    async with (
        harness.service() as service,
        service.attend(harness.request(patience=540.0)) as waiter,
    ):
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(waiter.answer())
            await harness.clock.sleep(30.0)
            waiting.cancel()
        spent = waiter.phases.spent(harness.clock.now())

    assert max(spent, key=spent.__getitem__) is Phase.UPSTREAM_RUNNING
    assert sum(spent.values()) == pytest.approx(30.0)
