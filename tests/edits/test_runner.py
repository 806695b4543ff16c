"""Through the service: parts, their pictures, their times, and the queue before them."""

import asyncio

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions, ResponseFormat
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    ResultUnavailable,
    TaskLost,
    UpstreamFailed,
)
from gateway.domain.record import EditState
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Upstream
from tests.edits.harness import UNREACHABLE, EditHarness, complete, error_of, picture_bytes
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_ten_pictures() -> None:
    """Ten pictures are three tasks, answered together, in order."""
    harness = EditHarness()
    harness.dashscope.submits.extend(
        [Submit(run=Run(1.0, 30.0)), Submit(), Submit(run=Run(1.0, 20.0))]
    )
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=10, seed=7))

    tasks = [picture.split(b"|")[0] for picture in picture_bytes(answer)]
    assert tasks == [b"task-1"] * 4 + [b"task-2"] * 4 + [b"task-3"] * 2
    assert (answer.requested, answer.delivered) == (10, 10)
    assert answer.status.task_ids == ("task-1", "task-2", "task-3")


async def test_some_parts_fail() -> None:
    """One good picture is a success; the answer tells how many were asked for."""
    harness = EditHarness()
    harness.dashscope.submits.extend(
        [Submit(run=Run(end=TaskStatus.FAILED)), Submit(run=Run(failed=(0, 2)))]
    )
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=8))

    assert [picture[-1:] for picture in picture_bytes(answer)] == [b"1", b"3"]
    assert (answer.requested, answer.delivered) == (8, 2)
    outcomes = {args[3] for args in harness.observer.of("task_ended")}
    assert outcomes == {"failed", "partial"}


@pytest.mark.parametrize(
    ("run", "kind", "outcome"),
    [
        pytest.param(Run(end=TaskStatus.FAILED), UpstreamFailed, "failed", id="failed"),
        pytest.param(
            Run(end=TaskStatus.FAILED, fault=ContentRefused("no")),
            ContentRefused,
            "failed",
            id="content",
        ),
        pytest.param(Run(failed=(0,)), UpstreamFailed, "succeeded", id="no picture"),
        pytest.param(
            Run(20.0, end=TaskStatus.UNKNOWN, fault=TaskLost("gone")), TaskLost, "lost", id="lost"
        ),
    ],
)
async def test_a_task_that_made_nothing(run: Run, kind: type[GatewayError], outcome: str) -> None:
    """A task without a picture is a refusal in its own words, with the edit's id."""
    harness = EditHarness()
    harness.dashscope.run = run
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert type(refused) is kind
    assert refused.edit_id == harness.ledger.records[0].edit_id
    assert harness.ledger.records[0].state is EditState.FAILED
    assert [args[3] for args in harness.observer.of("task_ended")] == [outcome]
    assert len(harness.observer.of("task_failed")) == 1
    assert [args[3:] for args in harness.observer.of("pictures")] == [("failed", 1)]


async def test_forgotten_after_a_day() -> None:
    """An edit that nobody fetched is forgotten when its picture is gone upstream."""
    harness = EditHarness()
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(5.0)
        await harness.clock.sleep(23 * 3600.0)
        kept = len(service._index)
        await harness.clock.sleep(3600.0 + 120.0)
        after = len(service._index)

    assert (kept, after) == (1, 0)
    assert harness.observer.of("undelivered") == [("expired",)]
    assert harness.observer.of("pictures")[-1][3:] == ("undelivered", 1)


async def test_urls() -> None:
    """Where URLs are asked for nothing is downloaded."""
    harness = EditHarness()
    form = OutputOptions(ResponseFormat.URL)
    async with harness.service() as service:
        answer = await complete(service, harness.request(output=form, n=2))

    assert answer.urls == ("https://oss.test/task-1/0", "https://oss.test/task-1/1")
    assert answer.pictures == ()
    assert answer.delivered == 2
    assert harness.dashscope.count("download") == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_download_again(n: int) -> None:
    """A download that fails is tried again with fresh URLs, and no picture is doubled."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[ResultUnavailable("cut")] * 7)
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=n))

    assert [picture[-1:] for picture in picture_bytes(answer)] == [b"%d" % i for i in range(n)]


async def test_pictures_gone() -> None:
    """A day later the picture is gone, and a retry will not help."""
    harness = EditHarness()
    async with harness.service() as service:
        edit_id = (await complete(service, harness.request())).status.edit_id
        harness.dashscope.tasks_by_id.clear()
        harness.dashscope.fail("fetch", UNREACHABLE)
        async with service.collect(
            harness.tenants[0], edit_id, patience=60.0, phases=Phases(harness.clock.now())
        ) as waiter:
            refused = await error_of(waiter.answer())

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry
    assert refused.edit_id == edit_id


async def test_offsets_and_times_of_upstream() -> None:
    """Our lag is read by upstream's clock, whatever its offset is."""
    harness = EditHarness()
    harness.dashscope.offset = 30.0
    async with harness.service() as service:
        await complete(service, harness.request())

    ((_, _, lag),) = harness.observer.of("end_detected")
    assert 0.0 <= lag < 1.6


class Silent:
    """A DashScope that tells no times; the rest is as in FakeDashScope."""

    def __init__(self, harness: EditHarness) -> None:
        self.upload = harness.dashscope.upload
        self.submit = harness.dashscope.submit
        self.cancel = harness.dashscope.cancel
        self.tasks = harness.dashscope.tasks
        self.clock_known = harness.dashscope.clock_known
        self.clock_offset = harness.dashscope.clock_offset
        self.open = harness.dashscope.open
        self.download = harness.dashscope.download
        self._simulated = harness.dashscope

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await self._simulated.fetch(upstream, task_id)
        return Task(task.task_id, task.status, task.results, task.fault)


async def test_upstream_tells_no_times() -> None:
    """Without upstream's times the phases still add up to the whole."""
    harness = EditHarness()
    async with harness.service(dashscope=Silent(harness)) as service:
        request = harness.request()
        await complete(service, request)

    assert sum(request.phases.spent(harness.clock.now()).values()) == pytest.approx(
        harness.clock.now() - 1000.0
    )
    assert harness.observer.of("end_detected") == []


async def test_line_is_full() -> None:
    """One more than may wait is refused with the time after which to come again."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow), max_waiting=1))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("running")))
        await harness.clock.sleep(1.0)
        group.create_task(complete(service, harness.request("waiting")))
        await harness.clock.sleep(1.0)
        refused = await error_of(complete(service, harness.request("too many")))

    assert refused.status == 429
    assert refused.retry_after == 90.0
    assert refused.edit_id
    assert harness.observer.of("queue_rejected") == [("acme", "tenant_limit")]
    assert harness.dashscope.count("submit") == 2


async def test_a_tenant_at_a_hundred_times_the_load() -> None:
    """A crowd of one tenant moves another's wait by at most one task's run."""
    account = an_account(running_tasks=2, pending_ahead=0)
    harness = EditHarness(
        a_tenant("crowd", an_upstream(account=account)),
        a_tenant("other", an_upstream(account=account)),
        running_limit=2,
    )
    async with harness.service() as service, asyncio.TaskGroup() as group:
        crowd = [
            group.create_task(complete(service, harness.request(f"cat {number}", patience=9e3)))
            for number in range(100)
        ]
        await harness.clock.sleep(20.0)
        began = harness.clock.now()
        await complete(service, harness.request("mine", tenant=harness.tenants[1]))
        took = harness.clock.now() - began

    assert took < 2 * 11.0 + 3.0
    assert all(task.result().delivered == 1 for task in crowd)
