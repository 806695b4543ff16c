"""A deadline comes first: what the client is told, and what the retry finds (P6)."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import (
    RateLimited,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
    Throttled,
)
from gateway.edits.service import EditService
from tests.edits.harness import EditHarness, complete, error_of, narrow_harness, slot_taken
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio


async def test_still_running() -> None:
    """At the deadline the client is told when to come again; the retry has the picture."""
    harness = EditHarness()
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(patience=5.0)))
        at = harness.clock.now()
        await harness.clock.sleep(refused.retry_after or 0.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert at == pytest.approx(1005.0)
    assert isinstance(refused, StillRunning)
    assert refused.edit_id == answer.status.edit_id
    assert refused.edit_id in refused.message
    assert 0 < (refused.retry_after or 0.0) <= 60.0
    assert harness.dashscope.count("submit") == 1


async def test_still_pending_is_not_cancelled_after_a_deadline() -> None:
    """A deadline is no leaving: the client was told to come back."""
    harness = EditHarness()
    harness.dashscope.run = Run(pending=60.0)
    async with harness.service() as service:
        await error_of(complete(service, harness.request(patience=5.0)))
        await harness.clock.sleep(30.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert harness.dashscope.count("cancel") == 0
    assert answer.status.task_ids == ("task-1",)


async def test_deadline_while_uncertain() -> None:
    """While it is being found out whether a task was made the client is told just that."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(SubmitUncertain("cut")))
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(patience=3.0)))
        answer = await complete(service, harness.request(retry_count=1))

    assert isinstance(refused, SubmitUncertain)
    assert refused.edit_id == answer.status.edit_id
    assert 0 < (refused.retry_after or 0.0) <= 10.0
    assert harness.dashscope.count("submit") == 1


async def test_deadline_in_line() -> None:
    """At the deadline in the queue it is 429; one who obeys retry-after keeps the place."""
    harness = narrow_harness()
    order: list[str] = []

    async def come(service: EditService, prompt: str, **changes: Any) -> None:
        await complete(service, harness.request(prompt, **changes))
        order.append(prompt)

    async with (
        harness.service() as service,
        slot_taken(harness, service, 120.0),
        asyncio.TaskGroup() as group,
    ):
        refused = await error_of(complete(service, harness.request("early", patience=5.0)))
        group.create_task(come(service, "late"))
        await harness.clock.sleep((refused.retry_after or 0.0) + 2.0)
        group.create_task(come(service, "early", retry_count=1))

    assert isinstance(refused, RateLimited)
    assert refused.edit_id
    assert 0 < (refused.retry_after or 0.0) <= 60.0
    assert order == ["early", "late"]


async def test_deadline_in_line_and_never_back() -> None:
    """The place is given up 3 s after the time that was told."""
    harness = narrow_harness()
    async with harness.service() as service, slot_taken(harness, service):
        await error_of(complete(service, harness.request("early", patience=5.0)))
        await harness.clock.sleep(120.0)

    assert harness.dashscope.count("submit") == 1
    assert harness.observer.in_line == 0


async def test_deadline_in_download() -> None:
    """A picture that cannot be brought home in time is made: the retry gets it."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[ResultUnavailable("cut")] * 6)
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(patience=15.0)))
        answer = await complete(service, harness.request(retry_count=1))

    assert isinstance(refused, ResultUnavailable)
    assert refused.retry
    assert refused.edit_id == answer.status.edit_id
    assert refused.retry_after == 5.0
    assert harness.dashscope.count("submit") == 1


async def test_throttled_past_the_patience() -> None:
    """An account that throttles for ever is 429 with nothing submitted and nothing owed."""
    harness = EditHarness()
    harness.dashscope.submits.extend([Submit(Throttled("slow"), makes=False)] * 50)
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(patience=20.0)))
        await harness.clock.sleep(200.0)
        submits = harness.dashscope.count("submit")
        await harness.clock.sleep(200.0)

    assert isinstance(refused, RateLimited)
    assert harness.dashscope.paid == []
    assert harness.dashscope.count("submit") == submits
