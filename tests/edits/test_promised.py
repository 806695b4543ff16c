"""Edits whose client was told 202: kept over a kill and a drain, or refused before it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import Edit, MaskSource, OutputOptions, Picture, Size
from gateway.domain.errors import (
    GatewayError,
    LedgerUnavailable,
    NotFound,
    RateLimited,
    SubmitUncertain,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.record import EditState, TaskState
from gateway.domain.tenant import Account
from gateway.edits.ports import PromisedEdits, Spooled
from gateway.edits.request import EditResult
from gateway.edits.service import EditService
from gateway.edits.takeover import OrphanedEditsError
from tests.edits.dying import Life, MortalDashScope, MortalLedger
from tests.edits.house import NARROW, House, busy, buy, narrow_house, refusal
from tests.edits.without_tasks import QWEN
from tests.fakes import Run, Submit, a_tenant, an_upstream

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The ledger is away.")


async def accepted(
    service: EditService, house: House, prompt: str = "later", **changes: Any
) -> str:
    """Hand an edit in as `Prefer: respond-async` does; return its id."""
    async with service.attend(house.request(prompt, promise=True, **changes)) as waiter:
        return waiter.status.edit_id


@asynccontextmanager
async def look(service: EditService, house: House, edit_id: str) -> AsyncIterator[Any]:
    now = Phases(house.clock.now())
    async with service.collect(house.tenants[0], edit_id, patience=200.0, phases=now) as waiter:
        yield waiter


async def had(service: EditService, house: House, edit_id: str) -> EditResult:
    async with look(service, house, edit_id) as waiter:
        answer: EditResult = await waiter.answer()
        await waiter.delivered()
        return answer


async def one_in_line(house: House, **changes: Any) -> str:
    """A process takes a promised edit that waits in line, and dies."""
    async with house.service() as service, asyncio.TaskGroup() as group:
        holder = group.create_task(buy(service, house.request("the busy one")))
        await house.clock.sleep(0.5)
        edit_id = await accepted(service, house, **changes)
        await house.clock.sleep(1.0)
        holder.cancel()
    return edit_id


async def test_one_that_waits_in_line_outlives_its_process() -> None:
    """The next process submits it, with all that decides its result, and GET has its picture."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    edit_id = await one_in_line(house, n=2, seed=7, size=Size(768, 512), picture=b"sent")
    before = house.world.count("submit")
    async with house.service() as service:
        async with look(service, house, edit_id) as waiter:
            status = waiter.status.stage
        answer = await had(service, house, edit_id)

    (made,) = [task for task in house.world.ours if task.prompt == "later"]
    assert before == 1
    assert status == "waiting"
    assert (made.n, made.source) == (2, b"sent")
    assert answer.delivered == 2
    assert house.promises.held == {}


async def test_its_seed_and_options_are_kept() -> None:
    """The next process asks upstream for just what the client asked for."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    form = OutputOptions(output_format="webp", compression=80)
    edit_id = await one_in_line(house, n=6, seed=2, size=Size(768, 512), output=form)
    async with house.service() as service:
        await had(service, house, edit_id)

    record = next(it for it in house.ledger.records if it.edit_id == edit_id)
    assert [task.seed for task in record.tasks] == [2, 6]
    assert (record.output_format, record.compression) == ("webp", 80)


async def test_what_its_mask_keeps_is_kept() -> None:
    """A masked edit is finished in the next process from what was written before the 202."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    edit_id = await one_in_line(
        house,
        output=OutputOptions(composite=True),
        mask_source=MaskSource(original=b"original", mask=b"mask"),
    )
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert bytes(answer.pictures[0]).endswith(b" into original by mask")  # type: ignore[arg-type]


async def test_a_drain_leaves_it_to_the_next_process() -> None:
    """A process that stops neither ends it nor forgets it."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    async with house.service() as service:
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(refusal(buy(service, house.request("the busy one"))))
            await house.clock.sleep(0.5)
            edit_id = await accepted(service, house)
            service.drain(1.0)
            busy_ones = service.busy
            service.turn_away()
        await house.clock.sleep(4.0)
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert busy_ones == 1
    assert holder.result().code == "still_running"
    assert answer.status.edit_id == edit_id
    assert len([task for task in house.world.ours if task.prompt == "later"]) == 1


async def test_its_key_and_its_content_find_it_after_a_restart() -> None:
    """A repeat by key joins it, a repeat without one too, and neither is a second edit."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    keyed = await one_in_line(house, idempotency_key="k")
    async with house.service() as service:
        by_key = await buy(service, house.request("later", idempotency_key="k"))
    plain = await one_in_line(house, picture=b"another")
    async with house.service() as service:
        by_content = await buy(service, house.request("later", picture=b"another"))

    assert (by_key.status.edit_id, by_content.status.edit_id) == (keyed, plain)
    assert len([task for task in house.world.ours if task.prompt == "later"]) == 2


async def test_a_submit_that_died_is_settled_and_goes_on() -> None:
    """Of an intent that made no task the next process makes one, without a client's bytes."""
    house = House()
    house.world.submits.append(Submit(Throttled("slow"), makes=False, takes=60.0))
    async with house.service() as service:
        edit_id = await accepted(service, house)
        await house.clock.sleep(2.0)
    states = [task.state for task in house.ledger.records[0].tasks]
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert states == ["submitting"]
    assert answer.delivered == 1
    assert len(house.world.ours) == 1
    assert house.promises.held == {}


async def test_a_submit_that_died_is_found_and_its_bytes_go() -> None:
    """Of an intent that made a task that one is followed, and what was kept is removed."""
    house = House()
    house.world.submits.append(Submit(takes=60.0))
    house.world.submits.append(Submit())
    async with house.service() as service:
        edit_id = await accepted(service, house)
        await house.clock.sleep(2.0)
    house.world.stranger("later", run=Run(0.0, 5.0))
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert answer.delivered == 1
    assert house.world.count("submit") == 1
    assert house.promises.held == {}


async def test_the_bytes_go_once_the_task_exists() -> None:
    """While the task runs nothing of the edit's content is kept any more."""
    house = House()
    async with house.service() as service:
        await accepted(service, house)
        before = len(house.promises.held)
        await house.clock.sleep(2.0)
        after = len(house.promises.held)

    assert (before, after) == (1, 0)
    assert house.ledger.records[0].promised


@pytest.mark.parametrize("name", ["promises", "ledger"])
async def test_one_that_cannot_be_kept_is_refused(name: str) -> None:
    """With the disk full or the ledger away nothing is accepted, submitted or left behind."""
    house = House()
    if name == "promises":
        house.promises.faults["put"] = [AWAY]
    else:
        house.ledger.faults["promise"] = [AWAY]
    async with house.service() as service:
        refused = await refusal(accepted(service, house))
        await house.clock.sleep(60.0)
        again = await accepted(service, house)
        await had(service, house, again)

    assert (refused.status, refused.code, refused.retry) == (503, "ledger_unavailable", True)
    assert house.world.count("submit") == 1
    assert house.promises.held == {}


async def test_a_full_line_is_told_before_the_202() -> None:
    """One that could not wait in line is refused as everybody else is."""
    house = House(a_tenant("acme", an_upstream(account=NARROW), max_waiting=1))
    async with house.service() as service, busy(house, service):
        await accepted(service, house, "first")
        await house.clock.sleep(0.1)
        refused = await refusal(accepted(service, house, "second"))

    assert isinstance(refused, RateLimited)
    assert refused.retry_after
    assert house.observer.of("queue_rejected") == [("acme", "tenant_limit")]


async def test_one_that_cannot_be_kept_goes_on_for_others() -> None:
    """A retry that joined it meanwhile, and waits, gets its picture."""
    house = House()
    house.promises.faults["put"] = [AWAY]
    async with house.service() as service, asyncio.TaskGroup() as group:
        refused = group.create_task(refusal(accepted(service, house)))
        await asyncio.sleep(0)
        answer = group.create_task(buy(service, house.request("later", retry_count=1)))

    assert refused.result().code == "ledger_unavailable"
    assert answer.result().delivered == 1
    assert house.world.count("submit") == 1


async def test_a_retry_that_cannot_be_promised_leaves_the_edit_as_it_is() -> None:
    """Who joins and is refused takes nothing away from the one that waits."""
    house = narrow_house()
    house.promises.faults["put"] = [AWAY]
    async with house.service() as service, busy(house, service), asyncio.TaskGroup() as group:
        waits = group.create_task(buy(service, house.request("later")))
        await house.clock.sleep(1.0)
        refused = await refusal(accepted(service, house, retry_count=1))

    assert refused.code == "ledger_unavailable"
    assert waits.result().delivered == 1


async def test_joined_in_line_and_promised() -> None:
    """An edit that another client waits for is promised to one that joins, and is kept for it."""
    house = narrow_house()
    house.world.submits.append(Submit(run=Run(0.0, 60.0)))
    async with house.service() as service, asyncio.TaskGroup() as group:
        holder = group.create_task(buy(service, house.request("the busy one")))
        await house.clock.sleep(0.5)
        waits = group.create_task(buy(service, house.request("later")))
        await house.clock.sleep(0.5)
        edit_id = await accepted(service, house, retry_count=1)
        again = await accepted(service, house, retry_count=2)
        waits.cancel()
        await house.clock.sleep(30.0)
        holder.cancel()
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert again == edit_id
    assert answer.delivered == 1


async def test_joined_while_it_runs_and_promised() -> None:
    """Of one whose task exists only the promise is written down, no bytes."""
    house = House()
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(buy(service, house.request("later")))
        await house.clock.sleep(3.0)
        await accepted(service, house, retry_count=1)
        kept = dict(house.promises.held)

    assert kept == {}
    assert house.ledger.records[0].promised


async def test_its_task_is_made_while_it_is_promised() -> None:
    """Bytes that are written while the task is accepted do not stay."""
    house = House()
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(buy(service, house.request("later")))
        await house.clock.sleep(0.095)
        await accepted(service, house, retry_count=1)
        await house.clock.sleep(0.1)
        kept = dict(house.promises.held)

    assert kept == {}


async def test_refused_while_it_is_promised() -> None:
    """What was refused in that moment is told by GET, and not submitted by the next process."""
    house = House()
    house.world.submits.append(Submit(UpstreamUnavailable("arrears"), makes=False, takes=0.005))
    async with house.service() as service, asyncio.TaskGroup() as group:
        group.create_task(refusal(buy(service, house.request("later"))))
        await asyncio.sleep(0.0)
        edit_id = await accepted(service, house, retry_count=1)
    async with house.service() as service, look(service, house, edit_id) as waiter:
        refused = await refusal(waiter.answer())

    assert refused.code == "upstream_unavailable"
    assert house.world.count("submit") == 1
    assert house.promises.held == {}


async def test_a_refusal_upstream_is_told_by_get() -> None:
    """An accepted edit that upstream refuses is kept: GET tells why, after a restart, too."""
    house = House()
    house.world.submits.append(Submit(UpstreamUnavailable("arrears"), makes=False))
    async with house.service() as service:
        edit_id = await accepted(service, house, idempotency_key="k")
        await house.clock.sleep(10.0)
        async with look(service, house, edit_id) as waiter:
            now = await refusal(waiter.answer())
    async with house.service() as service:
        async with look(service, house, edit_id) as waiter:
            later = await refusal(waiter.answer())
        new = await buy(service, house.request("later", idempotency_key="k"))

    assert now.code == later.code == "upstream_unavailable"
    assert new.status.edit_id != edit_id
    assert house.promises.held == {}


@pytest.mark.parametrize(
    "fault", [UpstreamUnreachable("No connection."), AWAY], ids=["unreachable", "ledger"]
)
async def test_what_passes_is_waited_for(fault: GatewayError) -> None:
    """Nobody repeats an accepted edit, so it outlasts what a client would have repeated."""
    house = House()
    if isinstance(fault, UpstreamUnreachable):
        house.world.submits.extend(Submit(fault, makes=False) for _ in range(8))
    else:
        house.ledger.faults["intend"] = [fault] * 3
    async with house.service() as service:
        edit_id = await accepted(service, house)
        answer = await had(service, house, edit_id)

    assert answer.delivered == 1
    assert len(house.world.ours) == 1


async def test_a_model_without_tasks_is_kept_over_a_drain() -> None:
    """What would be cut by the process's end is left to the next one."""
    house = narrow_house()
    async with house.service() as service:
        service.drain(30.0)
        service.draining = False  # it came in the last moment before
        edit_id = await accepted(service, house, model=QWEN)
        await house.clock.sleep(20.0)
    before = house.world.count("submit")
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert before == 0
    assert answer.delivered == 1


async def test_called_off_in_line() -> None:
    """DELETE takes it out of the line, off the disk and out of the ledger before it answers."""
    house = narrow_house()
    async with house.service() as service, busy(house, service):
        edit_id = await accepted(service, house)
        await house.clock.sleep(1.0)
        await service.withdraw(house.tenants[0], edit_id)
        known = [record.edit_id for record in house.ledger.records]
        await house.clock.sleep(1.0)
        gone = await refusal(service._index.find(house.tenants[0], edit_id))

    assert edit_id not in known
    assert isinstance(gone, NotFound)
    assert house.promises.held == {}
    assert house.world.count("submit") == 1


async def test_called_off_while_the_ledger_is_away() -> None:
    """DELETE says that it could not be done, and done again it is: nothing is ever submitted."""
    house = narrow_house()
    async with house.service() as service, busy(house, service):
        edit_id = await accepted(service, house)
        await house.clock.sleep(1.0)
        house.ledger.faults["end_edit"] = [AWAY, AWAY]
        refused = await refusal(service.withdraw(house.tenants[0], edit_id))
        await house.clock.sleep(1.0)
        await service.withdraw(house.tenants[0], edit_id)
        await house.clock.sleep(100.0)

    assert refused.code == "ledger_unavailable"
    assert [record.edit_id for record in house.ledger.records] != [edit_id]
    assert house.world.count("submit") == 1


async def test_after_a_day_in_line_it_is_given_up() -> None:
    """Prompt and pictures do not lie on the disk for ever."""
    house = House()
    house.world.down["main"] = UpstreamUnreachable("No connection.")
    house.world.run = Run()
    async with house.service() as service:
        await accepted(service, house)
        await house.clock.sleep(23 * 3600.0)
        before = len(house.promises.held)
        await house.clock.sleep(3700.0)

    assert before == 1
    assert house.promises.held == {}
    assert house.ledger.records == []


async def test_orphans_are_dropped() -> None:
    """What a process left behind between the file and the row is removed by the next."""
    house = House()
    await house.promises.put("edit_unknown", house.request().edit, ())
    async with house.service():
        await house.clock.sleep(1.0)

    assert house.promises.held == {}


async def test_a_start_without_its_tenant_is_refused() -> None:
    """A config that would submit accepted edits for nobody is refused; put right, they go on."""
    house = narrow_house()
    edit_id = await one_in_line(house)
    other = House(a_tenant("other"))
    other.ledger, other.promises = house.ledger, house.promises
    with pytest.raises(OrphanedEditsError) as refused:
        async with other.service():
            pass
    kept = list(house.promises.held)
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert str(refused.value) == (
        "tenants: 1 accepted edit of acme would be submitted by nobody: put the tenant back "
        "until they have ended, or end them by serve --abandon"
    )
    assert kept == [edit_id]
    assert answer.delivered == 1


async def test_a_start_without_their_tenants_that_is_wanted() -> None:
    """With --abandon they end, and their bytes leave the disk."""
    house = narrow_house()
    await one_in_line(house)
    record = house.ledger.records[-1]
    for number, tenant in enumerate(("two", "two", "three")):
        edit_id = f"edit_{number}"
        house.ledger.put(replace(record, edit_id=edit_id, tenant=tenant))
        await house.promises.put(edit_id, house.request().edit, ())
    other = House()
    other.ledger, other.promises = house.ledger, house.promises
    with pytest.raises(OrphanedEditsError, match=r"2 accepted edits of two \(and of 1 more\)"):
        async with other.service():
            pass
    async with other.service(abandon=True):
        await other.clock.sleep(100.0)

    ends = {record.edit_id: record.error_code for record in house.ledger.records}
    assert [ends[f"edit_{number}"] for number in range(3)] == ["upstream_unavailable"] * 3
    assert house.promises.held == {}


async def test_an_open_submit_has_its_prompt_before_all_others() -> None:
    """
    After a restart an equal prompt waits until the submit that died is settled.

    It does so however long the disk takes to give back what was kept of the first.
    """
    house = House()
    house.world.submits.append(Submit(run=Run(0.0, 20.0)))
    house.ledger.faults["accept"] = [AWAY] * 1000
    async with house.service() as service:
        first = await accepted(service, house)
        await house.clock.sleep(1.0)
        second = await accepted(service, house, picture=b"second")
        await house.clock.sleep(1.0)
    house.ledger.faults.clear()
    get = house.promises.get

    async def slowly(edit_id: str) -> tuple[Edit, Spooled] | None:
        if edit_id == first:
            await house.clock.sleep(3.0)
        return await get(edit_id)

    house.promises.get = slowly  # type: ignore[assignment, method-assign]
    async with house.service() as service:
        await house.clock.sleep(10.0)
        submits = house.world.count("submit")
        answers = [await had(service, house, edit_id) for edit_id in (first, second)]

    assert submits == 1
    assert [answer.delivered for answer in answers] == [1, 1]
    assert house.world.count("submit") == 2
    assert house.promises.held == {}


@pytest.mark.parametrize("model", ["wan2.5-i2i-preview", "qwen-image-edit-plus"])
async def test_what_is_kept_goes_with_a_doubtful_end(model: str) -> None:
    """Of an edit of which nobody can tell whether it was made no bytes stay on the disk."""
    house = House()
    house.world.submits.append(Submit(run=Run(0.0, 500.0)))
    life = Life(0)
    async with house.service(dashscope=MortalDashScope(house.world, life)) as service:
        edit_id = await accepted(service, house, model=model)
        life.over.set()
        await house.clock.sleep(5.0)
        life.bury()
    (record,) = house.ledger.records
    house.world.stranger("later")
    house.world.stranger("later")
    async with house.service() as service:
        await house.clock.sleep(30.0)
        held = dict(house.promises.held)
        async with look(service, house, edit_id) as waiter:
            refused = await refusal(waiter.answer())

    assert record.tasks[0].state is TaskState.SUBMITTING
    assert refused.code in ("upstream_task_lost", "submit_uncertain")
    assert held == {}


async def test_a_tenant_that_moved_takes_its_waiting_edits_along() -> None:
    """An edit without a task is made, and recorded, in the region that its tenant has by then."""
    house = House()
    house.ledger.faults["intend"] = [AWAY] * 1000
    async with house.service() as service:
        edit_id = await accepted(service, house)
        await house.clock.sleep(1.0)
    house.ledger.faults.clear()
    (tenant,) = house.tenants
    (old,) = tenant.upstreams
    region, account = (replace(old.region, name="singapore"), Account("acct", "singapore"))
    moved = replace(old, region=region, account=account)
    house.tenants = (replace(tenant, region="singapore", upstreams=(moved,)),)
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert answer.status.region == "singapore"
    assert [record.region for record in house.ledger.records] == ["singapore"]


async def test_bytes_that_are_gone_are_told() -> None:
    """An edit whose file was lost with the machine's power ends as it would for a client."""
    house = narrow_house()
    edit_id = await one_in_line(house)
    house.promises.held.clear()
    async with house.service() as service, look(service, house, edit_id) as waiter:
        lost = await refusal(waiter.answer())

    assert (lost.code, lost.retry) == ("upstream_task_lost", True)


async def test_a_disk_that_fails_for_a_moment() -> None:
    """Bytes that cannot be read now are read later."""
    house = narrow_house()
    edit_id = await one_in_line(house)
    house.promises.faults["get"] = [AWAY, AWAY]
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert answer.delivered == 1


async def test_a_disk_that_fails_while_an_intent_is_settled() -> None:
    """The settlement goes on: what may be paid for comes first."""
    house = House()
    house.world.submits.append(Submit(takes=60.0))
    async with house.service() as service:
        edit_id = await accepted(service, house)
        await house.clock.sleep(2.0)
    house.promises.faults["get"] = [AWAY]
    async with house.service() as service:
        answer = await had(service, house, edit_id)

    assert answer.delivered == 1
    assert len(house.world.ours) == 1


async def test_a_retry_brings_bytes_while_an_intent_is_settled() -> None:
    """The client's own bytes serve, and what was kept goes with the task."""
    house = House()
    house.world.submits.append(Submit(Throttled("slow"), makes=False, takes=60.0))
    async with house.service() as service:
        edit_id = await accepted(service, house)
        await house.clock.sleep(2.0)
    house.promises.faults["get"] = [AWAY]
    async with house.service() as service:
        await house.clock.sleep(1.0)
        answer = await buy(service, house.request("later", retry_count=1))

    assert answer.status.edit_id == edit_id
    assert house.promises.held == {}


async def test_a_bug_is_told_and_not_tried_for_ever() -> None:
    """An accepted edit that cannot be carried ends as internal_error, for every later GET."""
    house = House()
    house.world.submits.append(Submit(UpstreamUnreachable("x"), makes=False))
    async with house.service() as service:
        service._runner._wait_and_submit = _broken  # type: ignore[assignment, method-assign]
        edit_id = await accepted(service, house)
        await house.clock.sleep(10.0)
    async with house.service() as service, look(service, house, edit_id) as waiter:
        refused = await refusal(waiter.answer())

    assert refused.code == "internal_error"
    assert [record.state for record in house.ledger.records] == [EditState.FAILED]
    assert house.world.count("submit") == 0


async def _broken(*_: object) -> None:
    raise ValueError


class _MortalPromises:
    """Promises of one life in a folder that outlives it."""

    def __init__(self, promises: PromisedEdits, life: Life) -> None:
        self._promises = promises
        self._life = life

    async def put(self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]) -> Spooled:
        return await self._life.call("put", self._promises.put(edit_id, edit, pictures))

    async def get(self, edit_id: str) -> tuple[Edit, Spooled] | None:
        return await self._promises.get(edit_id)

    async def drop(self, *edit_ids: str) -> None:
        await self._promises.drop(*edit_ids)

    async def list_ids(self) -> list[str]:
        return await self._promises.list_ids()


async def _one_life(house: House, last: int, **changes: Any) -> tuple[Life, str | None]:
    """Let a process take a promised edit and die at step *last*; return the id if it was told."""
    life = Life(last)
    service = house.service(
        dashscope=MortalDashScope(house.world, life),
        ledger=MortalLedger(house.ledger, life),
        promises=_MortalPromises(house.promises, life),
    )
    told: list[str] = []

    async def come() -> None:
        told.append(await accepted(service, house, **changes))

    async with service, asyncio.TaskGroup() as group:
        client = group.create_task(come())
        with suppress(TimeoutError):
            async with asyncio.timeout(100.0):  # then the edit has ended
                await life.over.wait()
        life.over.set()
        client.cancel()
        life.bury()
    return life, told[0] if told else None


@pytest.mark.parametrize(
    ("submits", "changes"),
    [
        pytest.param([], {}, id="smooth"),
        pytest.param([], {"n": 6}, id="two tasks"),
        pytest.param([Submit(Throttled("slow"), makes=False)], {}, id="throttled"),
        pytest.param([Submit(SubmitUncertain("cut"))], {}, id="answer lost"),
        pytest.param([Submit(SubmitUncertain("cut"), makes=False)], {}, id="never arrived"),
    ],
)
async def test_dies_anywhere(submits: list[Submit], changes: dict[str, Any]) -> None:
    """Whenever the process dies, an edit that was told 202 is made once and no bytes stay."""
    steps = 0
    while True:
        steps += 1
        house = House()
        house.world.submits.extend(submits)
        life, edit_id = await _one_life(house, steps, **changes)
        async with house.service() as service:
            if edit_id is not None:
                answer = await had(service, house, edit_id)
                assert answer.delivered == changes.get("n", 1), life.where
            await house.clock.sleep(100.0)

        wanted = changes.get("n", 1)
        paid = sum(task.n for task in house.world.paid)
        assert paid == wanted if edit_id is not None else paid in (0, wanted), life.where
        assert house.promises.held == {}, life.where
        assert house.bugs == []
        if not life.where:
            break
    assert steps > 10
