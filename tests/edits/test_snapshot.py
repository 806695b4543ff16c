import asyncio

import orjson
import pytest

from gateway.domain.clock import Phase
from gateway.domain.errors import SubmitUncertain, Throttled, UpstreamUnavailable
from gateway.domain.snapshot import EditSummary, KeySummary, Snapshot
from gateway.domain.task import TaskStatus
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.lifecycle import Stage
from gateway.edits.snapshot import (
    MOST_ACCOUNTS,
    MOST_KEPT,
    MOST_RUNNING,
    MOST_TENANTS,
    MOST_WAITING,
    take_snapshot,
)
from gateway.edits.timeline import Timeline
from tests.edits.accounts import account_state
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit, a_request, a_tenant, an_account, an_upstream
from tests.models import EDITOR
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

PROMPT = "canary-prompt"


def phases(edit: EditSummary) -> list[str]:
    return [name for name, _ in edit.phases]


async def test_nothing_goes_on() -> None:
    """An idle service shows its accounts and tenants, and no edit."""
    harness = EditHarness(a_tenant("acme"), a_tenant("studio"))
    async with harness.service() as service:
        seen = service.snapshot()

    assert (seen.running.total, seen.waiting.total, seen.kept.total) == (0, 0, 0)
    assert [one.name for one in seen.tenants.rows] == ["acme", "studio"]
    (account,) = seen.accounts.rows
    assert (account.taken, account.running_tasks, account.waiting) == (0, 5, 0)
    assert account.keys == (KeySummary("main", "works"),)
    assert (account.submits.per_second, account.submits.used, account.submits.factor) == (5, 0, 1)


async def test_the_way_of_an_edit() -> None:
    """In the queue, queued upstream, running, ended and left: each state has its phases."""
    tenant = a_tenant("acme", an_upstream(account=an_account(running_tasks=1, pending_ahead=0)))
    harness = EditHarness(tenant)
    harness.dashscope.run = Run(2.0, 20.0)
    async with harness.service() as service:
        async with (
            service.attend(harness.request("first")),
            service.attend(harness.request("second", n=2)),
        ):
            await harness.clock.sleep(15.0)
            early = service.snapshot()
        await harness.clock.sleep(20.0)
        late = service.snapshot()

    (running,), (waiting,) = early.running.rows, early.waiting.rows
    assert (running.stage, running.clients, running.tenant) == ("running", 1, "acme")
    assert running.accounts == ("acct",)
    assert len(running.tasks) == 1
    assert phases(running)[:2] == ["queue", "submit"]
    assert phases(running)[-1] == "upstream_running"
    assert (waiting.stage, waiting.pictures, waiting.accounts) == ("waiting", 2, ())
    assert phases(waiting) == ["queue"]
    assert waiting.since == waiting.phases[0][1] == running.since
    assert early.accounts.rows[0].taken == early.accounts.rows[0].waiting == 1
    (kept,) = late.kept.rows
    assert (kept.edit_id, kept.stage, kept.clients) == (running.edit_id, "kept", 0)
    assert (early.tenants.rows[0].running, early.tenants.rows[0].waiting) == (1, 1)
    assert late.tenants.rows[0].kept == 1


async def test_while_it_is_brought_home() -> None:
    """An edit that has ended still runs for those who watch as long as its client waits."""
    harness = EditHarness()
    async with harness.service() as service, service.attend(harness.request()) as waiter:
        await waiter.answer()
        seen = service.snapshot()

    assert [edit.stage for edit in seen.running.rows] == ["delivering"]
    assert phases(seen.running.rows[0])[-1] == "download"


async def test_a_doubtful_end() -> None:
    """Nobody was told yet that it may have been paid for: an operator sees it."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(error=SubmitUncertain("cut")))
    async with harness.service() as service:
        async with service.attend(harness.request(model="qwen-image-edit-plus")):
            await harness.clock.sleep(1.0)
        await harness.clock.sleep(60.0)
        seen = service.snapshot()

    assert [edit.stage for edit in seen.kept.rows] == ["doubtful"]
    assert seen.running.total == 0


async def test_a_key_at_rest() -> None:
    """A refused key tells its reason and until when; afterwards that it is in doubt."""
    tenant = a_tenant("acme", an_upstream("old"), an_upstream("new"))
    harness = EditHarness(tenant)
    harness.dashscope.down["old"] = UpstreamUnavailable("no", upstream_code="Arrearage")
    async with harness.service() as service:
        await complete(service, harness.request())
        resting = service.snapshot().accounts.rows[0].keys
        await harness.clock.sleep(61.0)
        doubted = service.snapshot().accounts.rows[0].keys

    assert [(key.name, key.state) for key in resting] == [("old", "rests"), ("new", "works")]
    assert resting[0].reason == "Arrearage"
    assert resting[0].until > harness.clock.now() - 61.0
    assert doubted[0].state == "doubted"


async def test_budgets() -> None:
    """What the last second used, and how far a throttling slowed it."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(error=Throttled("slow")))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(0.5)
        (account,) = service.snapshot().accounts.rows

    assert account.submits.used == pytest.approx(0.2)
    assert account.submits.factor == pytest.approx(0.51, abs=0.02)


async def test_nothing_said_tells_a_secret() -> None:
    """No prompt, key, picture or URL is in a snapshot, whatever it is written as."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 30.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request(PROMPT, picture=b"canary-picture")))
        await harness.clock.sleep(5.0)
        seen = service.snapshot()

    body = orjson.dumps(seen).decode() + repr(seen)
    assert seen.running.total == 1
    for secret in (PROMPT, "canary-picture", "key-of-main", "http"):
        assert secret not in body


async def test_time_alone_changes_nothing() -> None:
    """Two looks between which nothing happened are equal, so the second need not be sent."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 300.0)
    async with harness.service() as service, service.attend(harness.request()):
        await harness.clock.sleep(5.0)
        first = service.snapshot()
        await harness.clock.sleep(0.01)
        second = service.snapshot()

    assert first == second


async def test_an_edit_of_another_process() -> None:
    """One that was taken over and has no marks yet tells since when it was asked for."""
    clock = WarpClock()
    active = ActiveEdit.begin("edit_1", a_request(clock), EDITOR, created=clock.epoch() - 40.0)
    active.life.intended(0, an_upstream(), now=0.0, at=0.0)
    active.life.uncertain(0)

    seen = take_snapshot([active.tenant], [], [active], clock)

    (edit,) = seen.running.rows
    assert (edit.stage, edit.phases) == ("uncertain", ())
    assert edit.since == pytest.approx(clock.now() - 40.0, abs=1.0)


@pytest.mark.parametrize(
    ("status", "polls", "listed", "runs_since", "expected"),
    [
        pytest.param("PENDING", 0, 0.0, 10.0, ["upstream_running"], id="not looked at yet"),
        pytest.param("PENDING", 1, 0.0, 10.0, ["upstream_pending"], id="seen in their queue"),
        pytest.param("PENDING", 1, 5.0, 10.0, ["upstream_running"], id="listed as running"),
        pytest.param("RUNNING", 1, 0.0, 10.0, ["upstream_running"], id="began at once"),
        pytest.param(
            "RUNNING", 2, 0.0, 14.0, ["upstream_pending", "upstream_running"], id="began later"
        ),
    ],
)
async def test_what_is_known_of_a_task(
    status: str, polls: int, listed: float, runs_since: float, expected: list[str]
) -> None:
    """Time upstream is split by what the looks saw, and by nothing else."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 300.0)
    async with harness.service() as service, service.attend(harness.request()) as waiter:
        await harness.clock.sleep(1.0)
        active = waiter.active
        active.timeline = Timeline()
        active.timeline.enter(Phase.SUBMIT, 9.0)
        active.timeline.enter(Phase.UPSTREAM_RUNNING, 10.0)
        watch = active.runs[0].watch
        assert watch is not None
        watch.status, watch.polls = TaskStatus(status), polls
        watch.listed_at, watch.runs_since = listed, runs_since
        (edit,) = service.snapshot().running.rows

    assert phases(edit) == ["submit", *expected]
    assert edit.polls == polls


def _crowd(clock: WarpClock, stage: Stage, n: int) -> list[ActiveEdit]:
    request = a_request(clock)
    crowd = [
        ActiveEdit.begin(f"edit_{stage}_{i}", request, EDITOR, created=clock.epoch())
        for i in range(n)
    ]
    for active in crowd:
        if stage is Stage.RUNNING:
            active.life.intended(0, an_upstream(), now=0.0, at=0.0)
        elif stage is Stage.SUCCEEDED:
            active.end()
    return crowd


async def test_a_crowd_is_cut() -> None:
    """Of ten thousand edits the first of each kind are told, and how many there are."""
    clock = WarpClock()
    crowd = [
        *_crowd(clock, Stage.WAITING, 9_000),
        *_crowd(clock, Stage.RUNNING, 900),
        *_crowd(clock, Stage.SUCCEEDED, 100),
    ]

    seen = take_snapshot([crowd[0].tenant], [], crowd, clock)

    assert (len(seen.waiting.rows), seen.waiting.total) == (MOST_WAITING, 9_000)
    assert (len(seen.running.rows), seen.running.total) == (MOST_RUNNING, 900)
    assert (len(seen.kept.rows), seen.kept.total) == (MOST_KEPT, 100)
    assert seen.waiting.rows[0].edit_id == "edit_waiting_0"
    assert len(orjson.dumps(seen)) < 60_000


async def test_many_tenants_and_accounts_are_cut() -> None:
    """The busiest tenants are told, and accounts with a key at rest before all others."""
    clock = WarpClock()
    tenants = [a_tenant(f"t{i}") for i in range(200)]
    active = ActiveEdit.begin(
        "edit_1", a_request(clock, tenants[150]), EDITOR, created=clock.epoch()
    )
    last = an_upstream("last", an_account("a99"))
    accounts = [*(account_state(f"a{i}") for i in range(99)), account_state("a99", last)]
    accounts[99].suspend(last, UpstreamUnavailable("no"))

    seen: Snapshot = take_snapshot(tenants, accounts, [active], clock)

    assert (len(seen.tenants.rows), seen.tenants.total) == (MOST_TENANTS, 200)
    assert seen.tenants.rows[0].name == "t150"
    assert (len(seen.accounts.rows), seen.accounts.total) == (MOST_ACCOUNTS, 100)
    assert [one.name for one in seen.accounts.rows[:2]] == ["a99", "a0"]
