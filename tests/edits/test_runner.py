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
from tests.edits.house import UNREACHABLE, House, buy, refusal, whole
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_ten_pictures() -> None:
    """Ten pictures are three tasks, answered together, in order."""
    house = House()
    house.world.submits.extend([Submit(run=Run(1.0, 30.0)), Submit(), Submit(run=Run(1.0, 20.0))])
    async with house.service() as service:
        answer = await buy(service, house.request(n=10, seed=7))

    tasks = [picture.split(b"|")[0] for picture in whole(answer)]
    assert tasks == [b"task-1"] * 4 + [b"task-2"] * 4 + [b"task-3"] * 2
    assert (answer.requested, answer.delivered) == (10, 10)
    assert answer.status.task_ids == ("task-1", "task-2", "task-3")


async def test_some_parts_fail() -> None:
    """One good picture is a success; the answer tells how many were asked for."""
    house = House()
    house.world.submits.extend(
        [Submit(run=Run(end=TaskStatus.FAILED)), Submit(run=Run(failed=(0, 2)))]
    )
    async with house.service() as service:
        answer = await buy(service, house.request(n=8))

    assert [picture[-1:] for picture in whole(answer)] == [b"1", b"3"]
    assert (answer.requested, answer.delivered) == (8, 2)
    outcomes = {args[3] for args in house.observer.of("task_ended")}
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
    house = House()
    house.world.run = run
    async with house.service() as service:
        refused = await refusal(buy(service, house.request()))

    assert type(refused) is kind
    assert refused.edit_id == house.ledger.records[0].edit_id
    assert house.ledger.records[0].state is EditState.FAILED
    assert [args[3] for args in house.observer.of("task_ended")] == [outcome]
    assert len(house.observer.of("task_failed")) == 1
    assert [args[3:] for args in house.observer.of("pictures")] == [("failed", 1)]


async def test_forgotten_after_a_day() -> None:
    """An edit that nobody fetched is forgotten when its picture is gone upstream."""
    house = House()
    async with house.service() as service:
        async with service.attend(house.request()):
            await house.clock.sleep(5.0)
        await house.clock.sleep(23 * 3600.0)
        kept = len(service._index)
        await house.clock.sleep(3600.0 + 120.0)
        after = len(service._index)

    assert (kept, after) == (1, 0)
    assert house.observer.of("undelivered") == [("expired",)]
    assert house.observer.of("pictures")[-1][3:] == ("undelivered", 1)


async def test_urls() -> None:
    """Where URLs are asked for nothing is downloaded."""
    house = House()
    form = OutputOptions(ResponseFormat.URL)
    async with house.service() as service:
        answer = await buy(service, house.request(output=form, n=2))

    assert answer.urls == ("https://oss.test/task-1/0", "https://oss.test/task-1/1")
    assert answer.pictures == ()
    assert answer.delivered == 2
    assert house.world.count("download") == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_download_again(n: int) -> None:
    """A download that fails is tried again with fresh URLs, and no picture is doubled."""
    house = House()
    house.world.fail("download", *[ResultUnavailable("cut")] * 7)
    async with house.service() as service:
        answer = await buy(service, house.request(n=n))

    assert [picture[-1:] for picture in whole(answer)] == [b"%d" % i for i in range(n)]


async def test_pictures_gone() -> None:
    """A day later the picture is gone, and a retry will not help."""
    house = House()
    async with house.service() as service:
        edit_id = (await buy(service, house.request())).status.edit_id
        house.world.tasks_by_id.clear()
        house.world.fail("fetch", UNREACHABLE)
        async with service.collect(
            house.tenants[0], edit_id, patience=60.0, phases=Phases(house.clock.now())
        ) as waiter:
            refused = await refusal(waiter.answer())

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry
    assert refused.edit_id == edit_id


async def test_offsets_and_times_of_upstream() -> None:
    """Our lag is read by upstream's clock, whatever its offset is."""
    house = House()
    house.world.offset = 30.0
    async with house.service() as service:
        await buy(service, house.request())

    ((_, _, lag),) = house.observer.of("end_detected")
    assert 0.0 <= lag < 1.6


class Silent:
    """A DashScope that tells no times; the rest is the world's."""

    def __init__(self, house: House) -> None:
        self.upload = house.world.upload
        self.submit = house.world.submit
        self.cancel = house.world.cancel
        self.tasks = house.world.tasks
        self.clock_known = house.world.clock_known
        self.clock_offset = house.world.clock_offset
        self.open = house.world.open
        self.download = house.world.download
        self._world = house.world

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await self._world.fetch(upstream, task_id)
        return Task(task.task_id, task.status, task.results, task.fault)


async def test_upstream_tells_no_times() -> None:
    """Without upstream's times the phases still add up to the whole."""
    house = House()
    async with house.service(dashscope=Silent(house)) as service:
        request = house.request()
        await buy(service, request)

    assert sum(request.phases.spent(house.clock.now()).values()) == pytest.approx(
        house.clock.now() - 1000.0
    )
    assert house.observer.of("end_detected") == []


async def test_line_is_full() -> None:
    """One more than may wait is refused with the time after which to come again."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    house = House(a_tenant("acme", an_upstream(account=narrow), max_waiting=1))
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(buy(service, house.request("running")))
        await house.clock.sleep(1.0)
        group.create_task(buy(service, house.request("waiting")))
        await house.clock.sleep(1.0)
        refused = await refusal(buy(service, house.request("too many")))

    assert refused.status == 429
    assert refused.retry_after == 90.0
    assert refused.edit_id
    assert house.observer.of("queue_rejected") == [("acme", "tenant_limit")]
    assert house.world.count("submit") == 2


async def test_a_tenant_at_a_hundred_times_the_load() -> None:
    """A crowd of one tenant moves another's wait by at most one task's run."""
    account = an_account(running_tasks=2, pending_ahead=0)
    house = House(
        a_tenant("crowd", an_upstream(account=account)),
        a_tenant("other", an_upstream(account=account)),
        running_limit=2,
    )
    async with house.service() as service, asyncio.TaskGroup() as group:
        crowd = [
            group.create_task(buy(service, house.request(f"cat {number}", patience=9e3)))
            for number in range(100)
        ]
        await house.clock.sleep(20.0)
        began = house.clock.now()
        await buy(service, house.request("mine", tenant=house.tenants[1]))
        took = house.clock.now() - began

    assert took < 2 * 11.0 + 3.0
    assert all(task.result().delivered == 1 for task in crowd)
