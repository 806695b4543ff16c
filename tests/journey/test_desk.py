"""Customers come, leave, come back and are told when to: the promises P2, P4, P6 and P16."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.domain.errors import (
    ContentRefused,
    Draining,
    GatewayError,
    NotFound,
    RateLimited,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamUnavailable,
)
from gateway.domain.phases import Phase, Phases
from gateway.domain.record import EditState
from gateway.domain.task import TaskStatus
from gateway.journey.ask import Ask
from gateway.journey.desk import Desk
from gateway.journey.visit import Visit
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream
from tests.journey.house import House, buy, refusal
from tests.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio

NARROW = an_account(running_tasks=1, pending_ahead=0)


def narrow_house() -> House:
    """Return a house whose account runs one task at a time."""
    return House(a_tenant("acme", an_upstream(account=NARROW)))


@asynccontextmanager
async def busy(house: House, desk: Desk, seconds: float = 60.0) -> AsyncIterator[None]:
    """Let another edit hold the only slot for so long."""
    house.world.submits.append(Submit(run=Run(0.0, seconds)))
    async with asyncio.TaskGroup() as group:
        group.create_task(buy(desk, house.ask("the busy one")))
        await house.clock.sleep(0.5)
        yield


async def stay(desk: Desk, ask: Ask, seconds: float) -> Visit:
    """Come, stay for so long, and hang up."""
    async with desk.attend(ask) as visit:
        await asyncio.sleep(seconds)
    return visit


async def test_one_edit() -> None:
    """An edit is submitted once, followed, brought home, told of, and its gauges fall back."""
    house = House()
    async with house.desk() as desk:
        ask = house.ask()
        answer = await buy(desk, ask)
        spent = ask.phases.spent(house.clock.now())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert (answer.requested, answer.delivered, answer.replayed) == (1, 1, False)
    assert answer.told.task_ids == ("task-1",)
    assert answer.told.upstream_request_ids == ("req-task-1",)
    assert answer.told.status == "succeeded"
    assert house.world.count("submit") == 1
    assert sum(spent.values()) == pytest.approx(house.clock.now() - 1000.0)
    assert spent[Phase.UPSTREAM_PENDING] == pytest.approx(1.0)
    assert spent[Phase.UPSTREAM_RUNNING] == pytest.approx(10.0, rel=0.02)
    assert house.observer.states == {}
    assert house.observer.in_line == 0
    assert house.ledger.records[0].state is EditState.SUCCEEDED
    assert house.ledger.records[0].delivered
    assert ask.digest == house.ledger.records[0].digest


async def test_bytes_are_released_once() -> None:
    """The bytes are let go as soon as the task exists, and exactly once."""
    house = House()
    released: list[float] = []
    async with house.desk() as desk:
        await buy(desk, house.ask(release=lambda: released.append(house.clock.now())))

    assert len(released) == 1
    assert released[0] - 1000.0 < 1.0


async def test_bytes_of_one_that_joins_are_released_at_once() -> None:
    """A retry whose bytes are not needed lets them go when it joins."""
    house = House()
    released: list[str] = []
    async with house.desk() as desk:
        await stay(desk, house.ask(release=lambda: released.append("first")), 5.0)
        await buy(desk, house.ask(retry_count=1, release=lambda: released.append("second")))

    assert released == ["first", "second"]


async def test_marked_retry_joins_while_the_first_is_connected() -> None:
    """A retry that says so joins, though the first try's connection seems open."""
    house = House()
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        first = group.create_task(buy(desk, house.ask()))
        await house.clock.sleep(5.0)
        second = group.create_task(buy(desk, house.ask(retry_count=1)))

    assert house.world.count("submit") == 1
    assert first.result().pictures == second.result().pictures
    assert house.observer.of("duplicate_prevented") == [("retry_joined",)]


async def test_unmarked_repeat_is_a_second_edit_while_the_first_is_connected() -> None:
    """Two equal asks of connected customers are two edits with two pictures."""
    house = House()
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        first = group.create_task(buy(desk, house.ask()))
        await house.clock.sleep(1.0)
        second = group.create_task(buy(desk, house.ask()))

    assert house.world.count("submit") == 2
    assert first.result().pictures != second.result().pictures


async def test_unmarked_repeat_joins_when_nobody_is_connected() -> None:
    """A person who presses the button again gets the edit that they left."""
    house = House()
    async with house.desk() as desk:
        await stay(desk, house.ask(), 5.0)
        answer = await buy(desk, house.ask())

    assert house.world.count("submit") == 1
    assert answer.told.task_ids == ("task-1",)
    assert house.observer.of("duplicate_prevented") == [("in_flight_joined",)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"prompt": "a blue cat"}, id="prompt"),
        pytest.param({"picture": b"other"}, id="picture"),
        pytest.param({"n": 2}, id="n"),
        pytest.param({"tenant": a_tenant("other")}, id="tenant"),
        pytest.param({"idempotency_key": "k"}, id="key"),
    ],
)
async def test_other_content_is_another_edit(changes: dict[str, Any]) -> None:
    """A retry joins only an edit of its own tenant and content."""
    house = House(a_tenant(), a_tenant("other"))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 5.0)
        await buy(desk, house.ask(retry_count=1, **changes))

    assert house.world.count("submit") == 2


async def test_delivered_is_not_joined() -> None:
    """Once it was delivered, an equal ask is a new edit, marked or not."""
    house = House()
    async with house.desk() as desk:
        await buy(desk, house.ask())
        await buy(desk, house.ask(retry_count=1))

    assert house.world.count("submit") == 2


async def test_each_retry_finds_its_own_edit() -> None:
    """Of two equal edits that were left, two retries get one each."""
    house = House()
    async with house.desk() as desk:
        async with asyncio.TaskGroup() as group:
            group.create_task(stay(desk, house.ask(), 5.0))
            group.create_task(stay(desk, house.ask(), 5.0))
        async with asyncio.TaskGroup() as group:
            one = group.create_task(buy(desk, house.ask(retry_count=1)))
            two = group.create_task(buy(desk, house.ask(retry_count=1)))

    assert house.world.count("submit") == 2
    assert one.result().told.edit_id != two.result().told.edit_id


async def test_ended_while_nobody_was_there() -> None:
    """A picture that came while nobody was connected waits for its customer."""
    house = House()
    async with house.desk() as desk:
        await stay(desk, house.ask(), 5.0)
        await house.clock.sleep(3600.0)
        answer = await buy(desk, house.ask())

    assert house.world.count("submit") == 1
    assert answer.told.task_ids == ("task-1",)


async def test_key_joins_replays_and_conflicts() -> None:
    """The same key joins, then replays for 24 h; with other content it is refused."""
    house = House()
    async with house.desk() as desk:
        await stay(desk, house.ask(idempotency_key="k"), 5.0)
        joined = await buy(desk, house.ask(idempotency_key="k"))
        await house.clock.sleep(3600.0)
        replayed = await buy(desk, house.ask(idempotency_key="k"))
        refused = await refusal(buy(desk, house.ask("other", idempotency_key="k")))

    assert house.world.count("submit") == 1
    assert not joined.replayed
    assert replayed.replayed
    assert replayed.pictures == joined.pictures
    assert refused.status == 422
    assert refused.code == "idempotency_key_reused"
    results = [result for (result,) in house.observer.of("idempotency")]
    assert results == ["new", "joined", "replayed", "conflict"]


async def test_key_belongs_to_its_tenant() -> None:
    """Another tenant's equal key is another key."""
    house = House(a_tenant(), a_tenant("other"))
    async with house.desk() as desk:
        await buy(desk, house.ask(idempotency_key="k"))
        await buy(desk, house.ask("other", tenant=a_tenant("other"), idempotency_key="k"))

    assert house.world.count("submit") == 2


async def test_failure_that_may_pass_is_not_replayed() -> None:
    """The key of an edit that failed for their reason may be used again."""
    house = House()
    house.world.submits.append(Submit(run=Run(end=TaskStatus.FAILED)))
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(idempotency_key="k")))
        answer = await buy(desk, house.ask(idempotency_key="k"))

    assert refused.code == "upstream_failed"
    assert answer.told.task_ids == ("task-2",)
    assert not answer.replayed


async def test_failure_that_stays_is_replayed() -> None:
    """A loss that cannot be told apart stays one: its key never submits again."""
    house = House()
    lost = Run(end=TaskStatus.CANCELED, fault=TaskLost("Gone for good."))
    house.world.submits.append(Submit(run=lost))
    async with house.desk() as desk:
        first = await refusal(buy(desk, house.ask(idempotency_key="k")))
        second = await refusal(buy(desk, house.ask(idempotency_key="k")))

    assert house.world.count("submit") == 1
    assert (type(first), first.message) == (type(second), second.message)
    assert first.edit_id == second.edit_id


async def test_refused_before_a_submit_is_not_kept() -> None:
    """A refusal by DashScope at submit made no task: the same key may try again."""
    house = House()
    house.world.submits.append(Submit(GatewayError("no"), makes=False))
    async with house.desk() as desk:
        await refusal(buy(desk, house.ask(idempotency_key="k")))
        answer = await buy(desk, house.ask(idempotency_key="k"))

    assert answer.told.task_ids == ("task-1",)
    assert len(house.ledger.records) == 1


async def test_leaving_the_line() -> None:
    """One who leaves while waiting is gone from the line 3 s later, and nothing is submitted."""
    house = narrow_house()
    async with house.desk() as desk, busy(house, desk):
        visit = await stay(desk, house.ask(), 1.0)
        lane = next(iter(desk._lanes.values()))
        await house.clock.sleep(2.9)
        before = lane.line.waiting
        await house.clock.sleep(0.2)
        after = lane.line.waiting
        await house.clock.sleep(100.0)

    assert visit.told.status == "failed"
    assert (before, after) == (1, 0)
    assert house.world.count("submit") == 1
    assert house.observer.in_line == 0


async def test_coming_back_to_the_line() -> None:
    """Within the grace a retry finds its place again, before those that came later."""
    house = narrow_house()
    order: list[str] = []

    async def come(desk: Desk, prompt: str, **changes: Any) -> None:
        await buy(desk, house.ask(prompt, **changes))
        order.append(prompt)

    async with house.desk() as desk, busy(house, desk), asyncio.TaskGroup() as group:
        await stay(desk, house.ask("early"), 1.0)
        group.create_task(come(desk, "late"))
        await house.clock.sleep(2.0)
        group.create_task(come(desk, "early", retry_count=1))

    assert order == ["early", "late"]
    assert house.world.count("submit") == 3


async def test_the_absent_are_passed_by() -> None:
    """During the grace a free slot goes to one who is there."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 5.0)))
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        group.create_task(buy(desk, house.ask("running")))
        await house.clock.sleep(1.0)
        await stay(desk, house.ask("absent"), 3.0)
        answer = await buy(desk, house.ask("present"))
        await house.clock.sleep(10.0)

    assert answer.told.task_ids == ("task-2",)
    assert house.world.count("submit") == 2


async def test_leaving_a_pending_task() -> None:
    """A task that still queues upstream is cancelled after the grace, at no cost."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(2.9)
        before = house.world.count("cancel")
        await house.clock.sleep(100.0)

    assert before == 0
    assert house.world.count("cancel") == 1
    assert house.world.paid == []
    assert house.observer.states == {}


async def test_coming_back_to_a_pending_task() -> None:
    """A retry within the grace keeps the task from being cancelled."""
    house = House()
    house.world.run = Run(pending=20.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(2.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert house.world.count("cancel") == 0
    assert house.world.count("submit") == 1
    assert answer.told.task_ids == ("task-1",)


async def test_after_a_cancel_the_retry_is_a_new_edit() -> None:
    """Nothing joins an edit that was cancelled."""
    house = House()
    house.world.run = Run(pending=20.0)
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert answer.told.task_ids == ("task-2",)
    assert len(house.world.paid) == 1


async def test_leaving_a_running_task() -> None:
    """A task that runs is followed to its end and kept."""
    house = House()
    async with house.desk() as desk:
        visit = await stay(desk, house.ask(), 5.0)
        await house.clock.sleep(60.0)
        told = visit.told
        answer = await buy(desk, house.ask(retry_count=1))

    assert told.status == "succeeded"
    assert answer.told == told
    assert house.world.count("submit") == 1


async def test_cancel_that_is_refused() -> None:
    """Where it is not known whether a cancel worked the task is followed."""
    house = House()
    house.world.run = Run(pending=10.0, running=10.0)
    house.world.fail("cancel", Throttled("slow"))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(60.0)
        answer = await buy(desk, house.ask())

    assert answer.told.task_ids == ("task-1",)
    assert house.world.count("submit") == 1


async def test_leaving_during_a_long_submit() -> None:
    """One who leaves during a submit and comes back after the grace pays for one task only."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=0.0)))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        answer = await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(60.0)

    assert len(house.world.paid) == 1
    assert answer.told.task_ids == ("task-1",)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_long_submit_that_ends_pending(*, comes_back: bool) -> None:
    """A task made after its customer left is cancelled while it is PENDING, unless they return."""
    house = House()
    house.world.submits.append(Submit(takes=20.0, run=Run(pending=30.0)))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(10.0)
        if comes_back:
            await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.count("cancel") == (not comes_back)
    assert len(house.world.paid) == comes_back


async def test_coming_back_during_the_cancel() -> None:
    """One who comes back while the cancel is under way is not given a second paid task."""
    house = House()
    house.world.run = Run(pending=3.92, running=10.0)  # runs when the cancel arrives
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(3.02)
        answer = await buy(desk, house.ask(retry_count=1))
        await house.clock.sleep(60.0)

    assert house.world.count("cancel") == 1
    assert len(house.world.paid) == 1
    assert answer.delivered == 1


async def test_left_and_then_throttled() -> None:
    """A submit that is throttled after its customer has gone is not tried again."""
    house = House()
    house.world.submits.append(Submit(Throttled("slow"), makes=False, takes=10.0))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1
    assert house.world.paid == []


async def test_left_and_then_uncertain() -> None:
    """An uncertain submit that made no task is not repeated for a customer who has gone."""
    house = House()
    house.world.submits.append(Submit(SubmitUncertain("cut"), makes=False))
    async with house.desk() as desk:
        await stay(desk, house.ask(), 1.0)
        await house.clock.sleep(100.0)

    assert house.world.count("submit") == 1


async def test_leaving_some_parts_in_line() -> None:
    """Parts in line are dropped when the customer goes; the running part stays theirs."""
    house = narrow_house()
    async with house.desk() as desk:
        visit = await stay(desk, house.ask(n=8), 5.0)
        await house.clock.sleep(60.0)
        answer = await buy(desk, house.ask(n=8))

    assert house.world.count("submit") == 1
    assert visit.told.status == "succeeded"
    assert answer.delivered == 4
    assert all(leg.error or leg.task for leg in visit.errand.legs)


async def test_still_running() -> None:
    """At the deadline the customer is told when to come again; the retry has the picture."""
    house = House()
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(patience=5.0)))
        at = house.clock.now()
        await house.clock.sleep(refused.retry_after or 0.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert at == pytest.approx(1005.0)
    assert isinstance(refused, StillRunning)
    assert refused.edit_id == answer.told.edit_id
    assert refused.edit_id in refused.message
    assert 0 < (refused.retry_after or 0.0) <= 60.0
    assert house.world.count("submit") == 1


async def test_still_pending_is_not_cancelled_after_a_deadline() -> None:
    """A deadline is no leaving: the customer was told to come back."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.desk() as desk:
        await refusal(buy(desk, house.ask(patience=5.0)))
        await house.clock.sleep(30.0)
        answer = await buy(desk, house.ask(retry_count=1))

    assert house.world.count("cancel") == 0
    assert answer.told.task_ids == ("task-1",)


async def test_deadline_while_uncertain() -> None:
    """While it is being found out whether a task was made the customer is told just that."""
    house = House()
    house.world.submits.append(Submit(SubmitUncertain("cut")))
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(patience=3.0)))
        answer = await buy(desk, house.ask(retry_count=1))

    assert isinstance(refused, SubmitUncertain)
    assert refused.edit_id == answer.told.edit_id
    assert 0 < (refused.retry_after or 0.0) <= 10.0
    assert house.world.count("submit") == 1


async def test_deadline_in_line() -> None:
    """At the deadline in line it is 429; one who obeys retry-after keeps the place."""
    house = narrow_house()
    order: list[str] = []

    async def come(desk: Desk, prompt: str, **changes: Any) -> None:
        await buy(desk, house.ask(prompt, **changes))
        order.append(prompt)

    async with house.desk() as desk, busy(house, desk, 120.0), asyncio.TaskGroup() as group:
        refused = await refusal(buy(desk, house.ask("early", patience=5.0)))
        group.create_task(come(desk, "late"))
        await house.clock.sleep((refused.retry_after or 0.0) + 2.0)
        group.create_task(come(desk, "early", retry_count=1))

    assert isinstance(refused, RateLimited)
    assert refused.edit_id
    assert 0 < (refused.retry_after or 0.0) <= 60.0
    assert order == ["early", "late"]


async def test_deadline_in_line_and_never_back() -> None:
    """The place is given up 3 s after the time that was told."""
    house = narrow_house()
    async with house.desk() as desk, busy(house, desk):
        await refusal(buy(desk, house.ask("early", patience=5.0)))
        await house.clock.sleep(120.0)

    assert house.world.count("submit") == 1
    assert house.observer.in_line == 0


async def test_deadline_in_download() -> None:
    """A picture that cannot be brought home in time is made: the retry gets it."""
    house = House()
    house.world.fail("download", *[ResultUnavailable("cut")] * 6)
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(patience=15.0)))
        answer = await buy(desk, house.ask(retry_count=1))

    assert isinstance(refused, ResultUnavailable)
    assert refused.retry
    assert refused.edit_id == answer.told.edit_id
    assert refused.retry_after == 5.0
    assert house.world.count("submit") == 1


async def test_throttled_past_the_patience() -> None:
    """An account that throttles for ever is 429 with nothing submitted and nothing owed."""
    house = House()
    house.world.submits.extend([Submit(Throttled("slow"), makes=False)] * 50)
    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask(patience=20.0)))
        await house.clock.sleep(200.0)
        submits = house.world.count("submit")
        await house.clock.sleep(200.0)

    assert isinstance(refused, RateLimited)
    assert house.world.paid == []
    assert house.world.count("submit") == submits


async def test_detached() -> None:
    """An edit whose customer means to come back later is kept, not cancelled."""
    house = House()
    house.world.run = Run(pending=60.0)
    async with house.desk() as desk:
        async with desk.attend(house.ask()) as visit:
            await house.clock.sleep(1.0)
            visit.detach()
        await house.clock.sleep(100.0)

    assert house.world.count("cancel") == 0
    assert visit.told.status == "succeeded"


async def test_collect_by_id() -> None:
    """A known edit can be looked at and had by its id, also after it was delivered."""
    house = House()
    tenant = house.tenants[0]
    async with house.desk() as desk:
        visit = await stay(desk, house.ask(), 5.0)
        edit_id = visit.told.edit_id
        async with desk.collect(
            tenant, edit_id, patience=60.0, phases=Phases(house.clock.now())
        ) as running:
            told = running.told
            answer = await running.answer()
            await running.delivered()
            await running.delivered()
        async with desk.collect(
            tenant, edit_id, patience=60.0, phases=Phases(house.clock.now())
        ) as again:
            second = await again.answer()

    assert told.status == "running"
    assert answer.pictures == second.pictures == (b"task-1|a red cat|in|0",)
    assert len(house.observer.of("pictures")) == 1


@pytest.mark.parametrize("delivered", [True, False])
async def test_another_tenants_edit_is_none(*, delivered: bool) -> None:
    """An id of another tenant is not found, whether its edit runs or was delivered."""
    house = House(a_tenant(), a_tenant("other"))
    async with house.desk() as desk:
        if delivered:
            edit_id = (await buy(desk, house.ask())).told.edit_id
        else:
            edit_id = (await stay(desk, house.ask(), 5.0)).told.edit_id

        with pytest.raises(NotFound):
            await desk.withdraw(house.tenants[1], edit_id)
        with pytest.raises(NotFound):
            await desk.withdraw(house.tenants[0], "edit_unknown")


async def test_withdraw_in_line_pending_and_running() -> None:
    """Withdrawing drops what waits, cancels what is pending, lets run what runs."""
    house = House(a_tenant("acme", an_upstream(account=NARROW)))
    tenant = house.tenants[0]
    house.world.submits.append(Submit(run=Run(pending=5.0, running=20.0)))
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        first = group.create_task(refusal(buy(desk, house.ask("pending"))))
        waiting = group.create_task(refusal(buy(desk, house.ask("waiting"))))
        await house.clock.sleep(1.0)
        by_prompt = {e.edit.prompt: e.edit_id for e in desk._register}
        await desk.withdraw(tenant, by_prompt["waiting"])
        await desk.withdraw(tenant, by_prompt["pending"])
        running = group.create_task(buy(desk, house.ask("running")))
        await house.clock.sleep(5.0)
        edit_id = next(e.edit_id for e in desk._register)
        told = await desk.withdraw(tenant, edit_id)

    assert isinstance(first.result(), TaskLost)
    assert isinstance(waiting.result(), TaskLost)
    assert told.status == "running"
    assert running.result().delivered == 1
    assert house.world.count("submit") == 2


async def test_withdraw_what_has_ended() -> None:
    """An edit that was delivered stays what it is."""
    house = House()
    async with house.desk() as desk:
        answer = await buy(desk, house.ask())
        told = await desk.withdraw(house.tenants[0], answer.told.edit_id)

    assert told.status == "succeeded"
    assert house.world.count("cancel") == 0


async def test_draining_takes_nothing_new() -> None:
    """New edits are refused while draining; retries still join."""
    house = House()
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        first = group.create_task(buy(desk, house.ask()))
        await house.clock.sleep(1.0)
        desk.draining = True
        refused = await refusal(buy(desk, house.ask("new")))
        busy_before = desk.busy
        joined = await buy(desk, house.ask(retry_count=1))

    assert isinstance(refused, Draining)
    assert refused.retry_after == 2.0
    assert joined.pictures == first.result().pictures
    assert (busy_before, desk.busy) == (1, 0)


async def test_turned_away_with_the_way_back() -> None:
    """At the end of the grace each customer is sent home; the next process has their edits."""
    house = narrow_house()
    async with asyncio.TaskGroup() as group, house.desk() as desk:
        running = group.create_task(refusal(buy(desk, house.ask("running"))))
        await house.clock.sleep(3.0)
        waiting = group.create_task(refusal(buy(desk, house.ask("waiting"))))
        await house.clock.sleep(1.0)
        desk.draining = True
        desk.turn_away()
        await house.clock.sleep(30.0)
    async with house.desk() as desk:
        answer = await buy(desk, house.ask("running", retry_count=1))
        other = await buy(desk, house.ask("waiting", retry_count=1))

    assert isinstance(running.result(), StillRunning)
    assert isinstance(waiting.result(), Draining)
    assert running.result().edit_id == answer.told.edit_id
    assert house.world.count("submit") == 2
    assert other.delivered == 1


async def test_who_was_turned_away_from_the_line_is_not_submitted() -> None:
    """Another process may take up an edit that was sent home unsubmitted: this one must not."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 5.0)))
    async with house.desk() as desk, asyncio.TaskGroup() as group:
        group.create_task(refusal(buy(desk, house.ask("running"))))
        await house.clock.sleep(1.0)
        waiting = group.create_task(refusal(buy(desk, house.ask("waiting"))))
        await house.clock.sleep(1.0)
        desk.draining = True
        desk.turn_away()
        await house.clock.sleep(60.0)

    assert isinstance(waiting.result(), Draining)
    assert house.world.count("submit") == 1


async def test_a_bug_in_one_look_loses_no_task() -> None:
    """An exception that nobody foresaw is reported, and every task is still seen to its end."""
    house = House()
    house.world.fail("fetch", None, KeyError("nobody foresaw this"))

    async with house.desk() as desk:
        answer = await buy(desk, house.ask())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert len(house.bugs) == 1


class BreakingObserver(RecordingObserver):
    """Raises, so many times, where a task has ended or an edit left the line."""

    def __init__(self, where: str, times: int) -> None:
        super().__init__()
        self.where, self.left = where, times

    def polls_spent(self, region: str, polls: int) -> None:
        self._break("polls_spent")

    def queue_waited(self, region: str, seconds: float) -> None:
        self._break("queue_waited")

    def _break(self, where: str) -> None:
        if where == self.where and self.left:
            self.left -= 1
            raise KeyError("nobody foresaw this")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_bug_on_the_way_loses_no_task(times: int) -> None:
    """When our own counting breaks after the task was made, the edit is carried on from there."""
    house = House()
    house.observer = BreakingObserver("polls_spent", times)

    async with house.desk() as desk:
        answer = await buy(desk, house.ask())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert len(house.world.paid) == 1
    assert len(house.bugs) == times


@pytest.mark.parametrize(
    ("where", "submits", "bugs"),
    [
        pytest.param("polls_spent", 1, 3, id="after-the-submit"),
        pytest.param("queue_waited", 0, 1, id="before-the-submit"),
    ],
)
async def test_a_bug_that_stays(where: str, submits: int, bugs: int) -> None:
    """The customer hears of it by its id: at once, or after three tries if a task is paid for."""
    house = House()
    house.observer = BreakingObserver(where, 99)

    async with house.desk() as desk:
        refused = await refusal(buy(desk, house.ask()))

    assert refused.code == "internal_error"
    assert house.world.count("submit") == submits
    assert len(house.bugs) == bugs


async def test_a_refused_part_is_not_tried_again_after_a_bug() -> None:
    """A part that has its end keeps it when the edit is carried on because another broke."""
    house = House()
    house.observer = BreakingObserver("polls_spent", 1)
    house.world.submits.append(Submit(ContentRefused("no"), makes=False))

    async with house.desk() as desk:
        answer = await buy(desk, house.ask(n=8))

    assert (answer.delivered, answer.requested) == (4, 8)
    assert len(house.bugs) == 1
    assert house.observer.of("recovered") == [("task_followed",)]


async def test_a_key_that_is_refused_while_its_task_runs() -> None:
    """The task is followed with the other key of its account, and delivered."""
    account = an_account()
    house = House(a_tenant("acme", an_upstream("one", account), an_upstream("two", account)))
    refused = UpstreamUnavailable("key", upstream_code="InvalidApiKey")
    house.world.fail("fetch", refused)

    async with house.desk() as desk:
        answer = await buy(desk, house.ask())

    assert answer.delivered == 1
    asked = [call.upstream for call in house.world.calls if call.operation == "fetch"]
    assert asked[0] == "one"
    assert asked[-1] == "two"
