"""What is told of an edit that has ended (D118)."""

import asyncio

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import ContentRefused
from gateway.edits.active_edit import MAX_REQUEST_IDS
from tests.edits.harness import EditHarness, complete, error_of, leave_after
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio


async def test_one_that_is_answered() -> None:
    """Its ids, requests, pictures and phases are reported once, when it ends."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(2.0, 10.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = harness.request(request_id="req_1")
        group.create_task(complete(service, first))
        await harness.clock.sleep(1.0)
        again = harness.request(request_id="req_2", retry_count=1, digest=first.digest)
        group.create_task(complete(service, again))

    (ended,) = harness.ended
    assert ended.outcome == "ok"
    assert ended.status == 200
    assert ended.request_ids == ("req_1", "req_2")
    assert (ended.tenant, ended.region, ended.model) == ("acme", "beijing", "wan2.5-i2i-preview")
    assert len(ended.task_ids) == len(ended.upstreams) == len(ended.accounts) == 1
    assert (ended.n, ended.made) == (1, 1)
    assert ended.seconds == pytest.approx(sum(ended.phase_seconds.values()), abs=0.1)
    assert ended.phase_seconds["upstream_pending"] == pytest.approx(2.0, abs=0.6)
    assert ended.phase_seconds["upstream_running"] == pytest.approx(10.0, abs=0.6)
    assert len(ended.bills) == 1
    assert "red cat" not in repr(ended)


async def test_one_that_nobody_waits_for() -> None:
    """An edit whose client has left is reported like any other."""
    harness = EditHarness()
    async with harness.service() as service:
        await leave_after(service, harness.request(), 5.0)
        await harness.clock.sleep(200.0)

        assert [edit.outcome for edit in harness.ended] == ["ok"]


async def test_one_that_is_refused() -> None:
    """A failed one has the code that its client gets, and DashScope's own words."""
    harness = EditHarness()
    refusal = ContentRefused("It was refused.", upstream_code="DataInspectionFailed")
    refusal.upstream_message = "It may not be."
    harness.dashscope.submits.append(Submit(error=refusal))
    async with harness.service() as service:
        await error_of(complete(service, harness.request()))

    (ended,) = harness.ended
    assert (ended.outcome, ended.status) == ("moderation_blocked", 400)
    assert (ended.upstream_code, ended.upstream_message) == (
        "DataInspectionFailed",
        "It may not be.",
    )
    assert (ended.made, ended.task_ids, ended.bills) == (0, (), ())


async def test_one_that_was_taken_over() -> None:
    """An edit of an earlier process is marked, and has no request of this one."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service:
        await leave_after(service, harness.request(size=Size(768, 512)), 5.0)
    async with harness.service():
        await harness.clock.sleep(300.0)

        (ended,) = harness.ended
        assert ended.taken_over
        assert ended.request_ids == ()
        assert ended.outcome == "ok"


async def test_one_with_endless_retries() -> None:
    """Only the first of a client's many requests are remembered."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service:
        first = harness.request(request_id="req_0")
        for count in range(MAX_REQUEST_IDS + 5):
            again = harness.request(
                request_id=f"req_{count}", retry_count=count, digest=first.digest
            )
            await leave_after(service, again, 0.5)
        await harness.clock.sleep(200.0)

        (ended,) = harness.ended
        assert len(ended.request_ids) == MAX_REQUEST_IDS
        assert ended.request_ids[0] == "req_0"
