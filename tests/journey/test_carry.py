"""Through the desk: routing, submitting, parts, and what a restart finds."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import AnswerForm, ResponseFormat
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidRequest,
    LedgerUnavailable,
    NotFound,
    ResultUnavailable,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.phases import Phases
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.digest import prompt_digest
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream
from tests.journey.house import House, buy, insist, refusal, whole

pytestmark = pytest.mark.anyio

UNREACHABLE = UpstreamUnreachable("No connection.")
REFUSED_KEY = UpstreamUnavailable("The key is refused.", upstream_code="InvalidApiKey")


def two_keys() -> House:
    """Return a house with two keys of one account."""
    return House(a_tenant("acme", an_upstream("one"), an_upstream("two")))


def two_accounts() -> House:
    """Return a house with two accounts."""
    second = an_upstream("second", an_account("acct2"))
    return House(a_tenant("acme", an_upstream("first"), second))


def submitted_to(house: House) -> list[str]:
    return [call.upstream for call in house.world.calls if call.operation == "submit"]


@pytest.mark.parametrize("make", [two_keys, two_accounts])
@pytest.mark.parametrize("error", [UNREACHABLE, REFUSED_KEY], ids=["unreachable", "refused"])
async def test_next_upstream(make: Callable[[], House], error: GatewayError) -> None:
    """An upstream that took no task is passed over for the next, and rested for a while."""
    house = make()
    first, second = (upstream.name for upstream in house.tenants[0].upstreams)
    house.world.down[first] = error
    async with house.desk() as desk:
        answer = await buy(desk, house.ask())
        await buy(desk, house.ask("another"))
        house.world.down.clear()
        await house.clock.sleep(61.0)
        await buy(desk, house.ask("a third"))

    assert answer.delivered == 1
    refused = error is REFUSED_KEY
    after = [first, second] if not refused else [second]  # 5 s are over, 60 s are not
    assert submitted_to(house)[: 2 + len(after)] == [first, second, *after]
    assert submitted_to(house)[-1] == first
    downs = [args for args in house.observer.of("upstream_key") if not args[2]]
    assert downs == ([("beijing", first, False)] if refused else [])
    assert house.observer.of("upstream_key")[-1] == ("beijing", first, True)
    assert house.observer.states == {}


@pytest.mark.parametrize("make", [two_keys, two_accounts])
async def test_no_upstream_left(make: Callable[[], House]) -> None:
    """When none is reachable the customer is told so, nothing is open, and a retry may work."""
    house = make()
    house.world.down = {u.name: UNREACHABLE for u in house.tenants[0].upstreams}
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask()))
        house.world.down.clear()
        answer = await buy(desk, house.ask(retry_count=1))

    assert isinstance(refused, UpstreamUnreachable)
    assert refused.edit_id
    assert refused.edit_id != answer.told.edit_id
    assert [record.state for record in house.ledger.records] == [EditState.SUCCEEDED]
    assert house.observer.in_line == 0


async def test_a_tenant_without_upstreams() -> None:
    """A tenant that has no upstream is refused, not forgotten."""
    tenant = replace(a_tenant("poor"), upstreams=())
    house = House(tenant, a_tenant())
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(tenant=tenant)))

    assert isinstance(refused, UpstreamUnavailable)


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("bad size"), ContentRefused("no"), GatewayError("other")],
    ids=lambda error: type(error).__name__,
)
async def test_refused_at_submit(error: GatewayError) -> None:
    """What DashScope refuses is refused, once, and leaves nothing open."""
    house = two_keys()
    house.world.submits.append(Submit(error, makes=False))
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask()))

    assert (type(refused), refused.message) == (type(error), error.message)
    assert submitted_to(house) == ["one"]
    assert house.ledger.records == []
    assert house.observer.states == {}
    assert [args[2] for args in house.observer.of("task_failed")] == [error]


async def test_throttled() -> None:
    """A 429 at submit makes the edit wait and halves the account's rate."""
    house = House()
    house.world.submits.extend([Submit(Throttled("slow"), makes=False)] * 5)
    async with house.desk() as desk:
        answer = await buy(desk, house.ask())
        lane = next(iter(desk._lanes.values()))

    at = [call.at for call in house.world.calls if call.operation == "submit"]
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert answer.told.task_ids == ("task-1",)
    assert len(at) == 6
    assert all(wait >= least for wait, least in zip(waits, (1, 2, 4, 8, 8), strict=True))
    assert lane.submits.factor < 1.0
    assert house.observer.of("upstream_throttled") == [("beijing", "submit")] * 5


async def test_ledger_refuses_the_intent() -> None:
    """Without a durable intent no byte goes out."""
    house = House()
    house.ledger.faults["intend"] = [LedgerUnavailable("full")]
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask()))

    assert isinstance(refused, LedgerUnavailable)
    assert house.world.count("submit") == 0


async def test_ledger_refuses_later() -> None:
    """Once money is spent the edit goes on though the ledger cannot follow."""
    house = House()
    house.ledger.faults |= {
        name: [LedgerUnavailable("full")] for name in ("accept", "end_task", "end_edit", "deliver")
    }
    async with house.desk() as desk:
        answer = await buy(desk, house.ask())
        claimed = desk._carrier._submitter._settlement._claimed

    assert answer.delivered == 1
    assert house.world.count("submit") == 1
    assert list(claimed) == ["task-1"], "it is known as ours though the ledger does not know it"


async def test_no_claim_outlives_its_use() -> None:
    """Once the ledger knows a task nothing else has to remember it."""
    house = House()
    async with house.desk() as desk:
        await buy(desk, house.ask(n=10))

        assert not desk._carrier._submitter._settlement._claimed


async def test_ten_pictures() -> None:
    """Ten pictures are three tasks, answered together, in order."""
    house = House()
    house.world.submits.extend([Submit(run=Run(1.0, 30.0)), Submit(), Submit(run=Run(1.0, 20.0))])
    async with house.desk() as desk:
        answer = await buy(desk, house.ask(n=10, seed=7))

    tasks = [picture.split(b"|")[0] for picture in whole(answer)]
    assert tasks == [b"task-1"] * 4 + [b"task-2"] * 4 + [b"task-3"] * 2
    assert (answer.requested, answer.delivered) == (10, 10)
    assert answer.told.task_ids == ("task-1", "task-2", "task-3")


async def test_some_parts_fail() -> None:
    """One good picture is a success; the answer tells how many were asked for."""
    house = House()
    house.world.submits.extend(
        [Submit(run=Run(end=TaskStatus.FAILED)), Submit(run=Run(failed=(0, 2)))]
    )
    async with house.desk() as desk:
        answer = await buy(desk, house.ask(n=8))

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
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask()))

    assert type(refused) is kind
    assert refused.edit_id == house.ledger.records[0].edit_id
    assert house.ledger.records[0].state is EditState.FAILED
    assert [args[3] for args in house.observer.of("task_ended")] == [outcome]
    assert len(house.observer.of("task_failed")) == 1
    assert [args[3:] for args in house.observer.of("pictures")] == [("failed", 1)]


@pytest.mark.parametrize("n", [1, 8])
async def test_a_bug_in_a_submit_is_an_uncertain_submit(n: int) -> None:
    """A bug between the intent and the task is settled by the list, and ends no other edit."""
    house = House()
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        other = group.create_task(buy(desk, house.ask("other")))
        await house.clock.sleep(1.0)
        house.world.submits.append(Submit(RuntimeError("bug"), makes=False))
        answer = await buy(desk, house.ask(n=n))

    assert answer.delivered == n
    assert other.result().delivered == 1
    assert len(house.world.paid) == 1 + (n + 3) // 4
    assert len(house.bugs) == 1


def a_record(state: EditState = EditState.OPEN, *tasks: TaskRecord, **changes: Any) -> EditRecord:
    ask = House().ask()
    record = EditRecord(
        edit_id="edit_1",
        tenant="acme",
        region="beijing",
        digest=ask.digest,
        prompt_digest=prompt_digest(ask.edit.prompt),
        model=ask.edit.model,
        n=1,
        response_format="b64_json",
        output_format="png",
        created=House().clock.epoch() - 30.0,
        state=state,
        tasks=tasks,
    )
    return replace(record, **changes)


def a_task(
    house: House, state: TaskState, *, task_id: str | None = None, ago: float = 5.0
) -> TaskRecord:
    at = house.clock.epoch() - ago
    return TaskRecord(0, 1, "main", "acct", state, intended_at=at, task_id=task_id)


async def test_recovered_running() -> None:
    """A task that another process submitted is followed, and its retry has the picture."""
    house = House()
    task_id = house.world.stranger("a red cat", run=Run(0.0, 20.0))
    task = a_task(house, TaskState.ACCEPTED, task_id=task_id)
    house.ledger.put(a_record(EditState.OPEN, task))
    async with house.desk() as desk:
        lane = next(iter(desk._lanes.values()))
        await house.clock.sleep(1.0)
        free = lane.line.free
        answer = await buy(desk, house.ask(retry_count=1))

    assert answer.told.edit_id == "edit_1"
    assert answer.told.task_ids == (task_id,)
    assert house.world.count("submit") == 0
    assert (free, lane.line.free) == (5, 6)
    assert house.observer.of("recovered") == [("task_followed",)]


@pytest.mark.parametrize("comes_after", [0.0, 2.0, 60.0])
async def test_recovered_submitting_with_a_task(comes_after: float) -> None:
    """An intent that had made a task is resolved: nothing is paid twice."""
    house = House()
    task_id = house.world.stranger("a red cat", run=Run(0.0, 20.0))
    house.world.stranger("another prompt", run=Run(0.0, 5.0))
    house.ledger.put(a_record(EditState.OPEN, a_task(house, TaskState.SUBMITTING)))
    async with house.desk() as desk:
        await house.clock.sleep(comes_after)
        answer = await buy(desk, house.ask())

    assert answer.told.task_ids == (task_id,)
    assert house.world.count("submit") == 0
    assert house.observer.of("recovered") == [("submit_resolved",)]


async def test_recovered_submitting_without_a_task() -> None:
    """An intent that made none ends at no cost; a retry that brings the bytes goes on at once."""
    house = House()
    house.ledger.put(a_record(EditState.OPEN, a_task(house, TaskState.SUBMITTING)))
    async with house.desk() as desk:
        await house.clock.sleep(2.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert answer.told.edit_id == "edit_1"
    assert house.world.count("submit") == 1
    assert house.observer.of("recovered") == [("submit_void",)]


async def test_recovered_submitting_and_nobody_came() -> None:
    """Without the bytes the edit is dropped; a later retry is a new one."""
    house = House()
    house.ledger.put(a_record(EditState.OPEN, a_task(house, TaskState.SUBMITTING)))
    async with house.desk() as desk:
        async with desk.collect(
            house.tenants[0], "edit_1", patience=60.0, phases=Phases(house.clock.now())
        ) as visit:
            refused = await refusal(visit.answer())
        dropped = house.ledger.records
        answer = await insist(desk, lambda count: house.ask(retry_count=count + 1), house.clock)

    assert isinstance(refused, TaskLost)
    assert refused.retry
    assert dropped == []
    assert answer.told.edit_id != "edit_1"
    assert house.world.count("submit") == 1


async def test_recovered_undelivered() -> None:
    """A picture that was made and not delivered waits for the retry in the next process."""
    house = House()
    task_id = house.world.stranger("a red cat", run=Run(0.0, 1.0))
    await house.clock.sleep(2.0)
    task = replace(a_task(house, TaskState.ENDED, task_id=task_id), outcome="succeeded")
    house.ledger.put(a_record(EditState.SUCCEEDED, task))
    async with house.desk() as desk:
        answer = await buy(desk, house.ask())

    assert answer.told.edit_id == "edit_1"
    assert answer.pictures == (task_id.encode() + b"|a red cat||0",)
    assert house.ledger.records[0].delivered


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tenant": "gone"}, id="tenant"),
        pytest.param(
            {"tasks": (TaskRecord(0, 1, "gone", "acct", TaskState.ACCEPTED, 0.0),)}, id="key"
        ),
    ],
)
async def test_recovered_for_nobody(changes: dict[str, Any]) -> None:
    """An edit whose tenant or key is no longer configured is told to the operator."""
    house = House()
    task = a_task(house, TaskState.ACCEPTED, task_id="task-9")
    house.ledger.put(a_record(EditState.OPEN, task, **changes))
    async with house.desk():
        await house.clock.sleep(1.0)

    assert [type(bug) for bug in house.bugs] == [NotFound]
    assert house.world.calls == []


async def test_forgotten_after_a_day() -> None:
    """An edit that nobody fetched is forgotten when its picture is gone upstream."""
    house = House()
    async with house.desk() as desk:
        async with desk.attend(house.ask()):
            await house.clock.sleep(5.0)
        await house.clock.sleep(23 * 3600.0)
        kept = len(desk._register)
        await house.clock.sleep(3600.0 + 120.0)
        after = len(desk._register)

    assert (kept, after) == (1, 0)
    assert house.observer.of("undelivered") == [("expired",)]
    assert house.observer.of("pictures")[-1][3:] == ("undelivered", 1)


async def test_urls() -> None:
    """Where URLs are asked for nothing is downloaded."""
    house = House()
    form = AnswerForm(ResponseFormat.URL)
    async with house.desk() as desk:
        answer = await buy(desk, house.ask(answer=form, n=2))

    assert answer.urls == ("https://oss.test/task-1/0", "https://oss.test/task-1/1")
    assert answer.pictures == ()
    assert answer.delivered == 2
    assert house.world.count("download") == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_download_again(n: int) -> None:
    """A download that fails is tried again with fresh URLs, and no picture is doubled."""
    house = House()
    house.world.fail("download", *[ResultUnavailable("cut")] * 7)
    async with house.desk() as desk:
        answer = await buy(desk, house.ask(n=n))

    assert [picture[-1:] for picture in whole(answer)] == [b"%d" % i for i in range(n)]


async def test_pictures_gone() -> None:
    """A day later the picture is gone, and a retry will not help."""
    house = House()
    async with house.desk() as desk:
        edit_id = (await buy(desk, house.ask())).told.edit_id
        house.world.tasks_by_id.clear()
        house.world.fail("fetch", UNREACHABLE)
        async with desk.collect(
            house.tenants[0], edit_id, patience=60.0, phases=Phases(house.clock.now())
        ) as visit:
            refused = await refusal(visit.answer())

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry
    assert refused.edit_id == edit_id


async def test_offsets_and_times_of_upstream() -> None:
    """Our lag is read by upstream's clock, whatever its offset is."""
    house = House()
    house.world.offset = 30.0
    async with house.desk() as desk:
        await buy(desk, house.ask())

    ((_, _, lag),) = house.observer.of("end_detected")
    assert 0.0 <= lag < 1.6


class Silent:
    """A DashScope that tells no times; the rest is the world's."""

    def __init__(self, house: House) -> None:
        self.submit = house.world.submit
        self.cancel = house.world.cancel
        self.tasks = house.world.tasks
        self.heard = house.world.heard
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
    async with house.desk(dashscope=Silent(house)) as desk:
        ask = house.ask()
        await buy(desk, ask)

    assert sum(ask.phases.spent(house.clock.now()).values()) == pytest.approx(
        house.clock.now() - 1000.0
    )
    assert house.observer.of("end_detected") == []


async def test_uncertain_part_of_many() -> None:
    """One uncertain part holds up its equals, and no picture is made twice."""
    house = House()
    house.world.submits.append(Submit(SubmitUncertain("cut")))
    async with house.desk() as desk:
        answer = await buy(desk, house.ask(n=8))

    assert house.world.count("submit") == 2
    assert len(set(answer.pictures)) == 8


async def test_line_is_full() -> None:
    """One more than may wait is refused with the time after which to come again."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    house = House(a_tenant("acme", an_upstream(account=narrow), max_waiting=1))
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        group.create_task(buy(desk, house.ask("running")))
        await house.clock.sleep(1.0)
        group.create_task(buy(desk, house.ask("waiting")))
        await house.clock.sleep(1.0)
        refused = await refusal(buy(desk, house.ask("too many")))

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
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        crowd = [
            group.create_task(buy(desk, house.ask(f"cat {number}", patience=9e3)))
            for number in range(100)
        ]
        await house.clock.sleep(20.0)
        began = house.clock.now()
        await buy(desk, house.ask("mine", tenant=house.tenants[1]))
        took = house.clock.now() - began

    assert took < 2 * 11.0 + 3.0
    assert all(task.result().delivered == 1 for task in crowd)
