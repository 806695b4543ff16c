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
from gateway.domain.record import EditRecord, EditState, TaskState
from gateway.domain.tenant import Account
from gateway.edits.digest import prompt_digest
from gateway.edits.ports import PromisedEdits, Spooled
from gateway.edits.request import EditResult
from gateway.edits.service import EditService
from gateway.edits.takeover import OrphanedEditsError
from tests.edits.crashing import MortalDashScope, MortalLedger, MortalProcess
from tests.edits.harness import NARROW, EditHarness, complete, error_of, narrow_harness, slot_taken
from tests.edits.without_tasks import QWEN
from tests.fake_stores import FakeLedger
from tests.fakes import Run, Submit, a_tenant, an_upstream

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The ledger is away.")


async def accepted(
    service: EditService, harness: EditHarness, prompt: str = "later", **changes: Any
) -> str:
    """Hand an edit in as `Prefer: respond-async` does; return its id."""
    async with service.attend(harness.request(prompt, promise=True, **changes)) as waiter:
        return waiter.status.edit_id


@asynccontextmanager
async def look(service: EditService, harness: EditHarness, edit_id: str) -> AsyncIterator[Any]:
    now = Phases(harness.clock.now())
    async with service.collect(harness.tenants[0], edit_id, patience=200.0, phases=now) as waiter:
        yield waiter


async def had(service: EditService, harness: EditHarness, edit_id: str) -> EditResult:
    async with look(service, harness, edit_id) as waiter:
        answer: EditResult = await waiter.answer()
        await waiter.delivered()
        return answer


async def one_in_line(harness: EditHarness, **changes: Any) -> str:
    """A process takes a promised edit that waits in the queue, and dies."""
    async with harness.service() as service, asyncio.TaskGroup() as group:
        holder = group.create_task(complete(service, harness.request("the busy one")))
        await harness.clock.sleep(0.5)
        edit_id = await accepted(service, harness, **changes)
        await harness.clock.sleep(1.0)
        holder.cancel()
    return edit_id


async def test_one_that_waits_in_line_outlives_its_process() -> None:
    """The next process submits it, with all that decides its result, and GET has its picture."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    edit_id = await one_in_line(harness, n=2, seed=7, size=Size(768, 512), picture=b"sent")
    before = harness.dashscope.count("submit")
    async with harness.service() as service:
        async with look(service, harness, edit_id) as waiter:
            status = waiter.status.stage
        answer = await had(service, harness, edit_id)

    (results,) = [task for task in harness.dashscope.ours if task.prompt == "later"]
    assert before == 1
    assert status == "waiting"
    assert (results.n, results.source) == (2, b"sent")
    assert answer.delivered == 2
    assert harness.promises.held == {}


async def test_its_seed_and_options_are_kept() -> None:
    """The next process asks upstream for just what the client asked for."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    form = OutputOptions(output_format="webp", compression=80)
    edit_id = await one_in_line(harness, n=6, seed=2, size=Size(768, 512), output=form)
    async with harness.service() as service:
        await had(service, harness, edit_id)

    record = next(it for it in harness.ledger.records if it.edit_id == edit_id)
    assert [task.seed for task in record.tasks] == [2, 6]
    assert (record.output_format, record.compression) == ("webp", 80)


async def test_what_its_mask_keeps_is_kept() -> None:
    """A masked edit is finished in the next process from what was written before the 202."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    edit_id = await one_in_line(
        harness,
        output=OutputOptions(composite=True),
        mask_source=MaskSource(original=b"original", mask=b"mask"),
    )
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert bytes(answer.pictures[0]).endswith(b" into original by mask")  # type: ignore[arg-type]


async def test_a_drain_leaves_it_to_the_next_process() -> None:
    """A process that stops neither ends it nor forgets it."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service:
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(error_of(complete(service, harness.request("the busy one"))))
            await harness.clock.sleep(0.5)
            edit_id = await accepted(service, harness)
            service.drain(1.0)
            busy_ones = service.busy
            service.turn_away()
        await harness.clock.sleep(4.0)
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert busy_ones == 1
    assert holder.result().code == "still_running"
    assert answer.status.edit_id == edit_id
    assert len([task for task in harness.dashscope.ours if task.prompt == "later"]) == 1


async def test_its_key_and_its_content_find_it_after_a_restart() -> None:
    """A repeat by key joins it, a repeat without one too, and neither is a second edit."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    keyed = await one_in_line(harness, idempotency_key="k")
    async with harness.service() as service:
        by_key = await complete(service, harness.request("later", idempotency_key="k"))
    plain = await one_in_line(harness, picture=b"another")
    async with harness.service() as service:
        by_content = await complete(service, harness.request("later", picture=b"another"))

    assert (by_key.status.edit_id, by_content.status.edit_id) == (keyed, plain)
    assert len([task for task in harness.dashscope.ours if task.prompt == "later"]) == 2


async def test_a_submit_that_died_is_settled_and_goes_on() -> None:
    """Of an intent that made no task the next process makes one, without a client's bytes."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(Throttled("slow"), makes=False, takes=60.0))
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(2.0)
    states = [task.state for task in harness.ledger.records[0].tasks]
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert states == ["submitting"]
    assert answer.delivered == 1
    assert len(harness.dashscope.ours) == 1
    assert harness.promises.held == {}


async def test_a_submit_that_died_is_found_and_its_bytes_go() -> None:
    """Of an intent that made a task that one is followed, and what was kept is removed."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(takes=60.0))
    harness.dashscope.submits.append(Submit())
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(2.0)
    harness.dashscope.stranger("later", run=Run(0.0, 5.0))
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 1
    assert harness.promises.held == {}


async def test_the_bytes_go_once_the_task_exists() -> None:
    """While the task runs nothing of the edit's content is kept any more."""
    harness = EditHarness()
    async with harness.service() as service:
        await accepted(service, harness)
        before = len(harness.promises.held)
        await harness.clock.sleep(2.0)
        after = len(harness.promises.held)

    assert (before, after) == (1, 0)
    assert harness.ledger.records[0].promised


@pytest.mark.parametrize("name", ["promises", "ledger"])
async def test_one_that_cannot_be_kept_is_refused(name: str) -> None:
    """With the disk full or the ledger away nothing is accepted, submitted or left behind."""
    harness = EditHarness()
    if name == "promises":
        harness.promises.faults["put"] = [AWAY]
    else:
        harness.ledger.faults["promise"] = [AWAY]
    async with harness.service() as service:
        refused = await error_of(accepted(service, harness))
        await harness.clock.sleep(60.0)
        again = await accepted(service, harness)
        await had(service, harness, again)

    assert (refused.status, refused.code, refused.retry) == (503, "ledger_unavailable", True)
    assert harness.dashscope.count("submit") == 1
    assert harness.promises.held == {}


class _Hanging(FakeLedger):
    """Writes a promise at once and answers late; so the client may hang up in between."""

    def __init__(self, harness: EditHarness) -> None:
        super().__init__(harness.clock.now)
        self.clock = harness.clock
        self.seconds = [5.0]
        """For the next promises."""

    async def promise(self, edit: EditRecord) -> None:
        await super().promise(edit)
        await self.clock.sleep(self.seconds.pop(0) if self.seconds else 0.0)


@pytest.mark.parametrize("faults", [[], [AWAY, AWAY]], ids=["at once", "later"])
async def test_a_client_that_leaves_before_the_202_leaves_nothing(faults: list[Exception]) -> None:
    """Its promise may be on the disk: it is taken back, so no later process pays for it."""
    harness = EditHarness()
    harness.ledger = _Hanging(harness)
    harness.ledger.faults["end_edit"] = list(faults)
    async with harness.service() as service:
        async with asyncio.TaskGroup() as group:
            client = group.create_task(accepted(service, harness))
            await harness.clock.sleep(1.0)
            written = [record.promised for record in harness.ledger.records]
            client.cancel()
        await harness.clock.sleep(5.0)
    left = list(harness.ledger.records)
    async with harness.service():
        await harness.clock.sleep(60.0)

    assert written == [True]
    assert left == []
    assert harness.dashscope.count("submit") == 0
    assert harness.promises.held == {}


async def test_a_client_that_leaves_before_the_202_leaves_it_to_the_others() -> None:
    """An edit that another client waits for goes on for that one, unpromised."""
    harness = narrow_harness()
    harness.ledger = _Hanging(harness)
    async with harness.service() as service:
        async with slot_taken(harness, service), asyncio.TaskGroup() as group:
            first = group.create_task(accepted(service, harness))
            await harness.clock.sleep(1.0)
            waits = group.create_task(complete(service, harness.request("later", retry_count=1)))
            await harness.clock.sleep(1.0)
            first.cancel()
            await harness.clock.sleep(5.0)
            rows = {it.prompt_digest: it.promised for it in harness.ledger.records}
            waits.cancel()
        assert rows[prompt_digest("later")] is False
        await harness.clock.sleep(10.0)
    async with harness.service():
        await harness.clock.sleep(60.0)

    assert [task.prompt for task in harness.dashscope.ours] == ["the busy one"]


async def test_a_repeat_by_key_after_the_202_was_not_sent_is_a_new_edit() -> None:
    """What is taken back is the first one's row, not that of the edit that its client gets."""
    harness = EditHarness()
    harness.ledger = _Hanging(harness)
    async with harness.service() as service:
        async with asyncio.TaskGroup() as group:
            client = group.create_task(accepted(service, harness, idempotency_key="k"))
            await harness.clock.sleep(1.0)
            client.cancel()
        first = [record.edit_id for record in harness.ledger.records]
        edit_id = await accepted(service, harness, idempotency_key="k", retry_count=1)
        await harness.clock.sleep(1.0)
    rows = [record.edit_id for record in harness.ledger.records]
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert first != [edit_id] == rows
    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 1


async def test_one_whose_end_is_not_written_is_not_carried_on() -> None:
    """A repeat by key of a refused edit waits until the ledger knows that it has ended."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(UpstreamUnavailable("arrears"), makes=False))
    async with harness.service() as service:
        harness.ledger.faults["end_edit"] = [AWAY, AWAY]
        await accepted(service, harness, idempotency_key="k")
        await harness.clock.sleep(0.3)
        refused = await error_of(complete(service, harness.request("later", idempotency_key="k")))
        await harness.clock.sleep(5.0)
        answer = await complete(service, harness.request("later", idempotency_key="k"))
    states = [record.state for record in harness.ledger.records]

    assert (refused.code, refused.retry) == ("ledger_unavailable", True)
    assert answer.delivered == 1
    assert states == [EditState.FAILED, EditState.SUCCEEDED]


async def test_one_that_is_promised_again_stays_promised() -> None:
    """What one client's leaving takes back does not take back another one's 202."""
    harness = narrow_harness()
    harness.ledger = _Hanging(harness)
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        holder = group.create_task(complete(service, harness.request("the busy one")))
        await harness.clock.sleep(0.5)
        first = group.create_task(accepted(service, harness))
        await harness.clock.sleep(1.0)
        second = group.create_task(accepted(service, harness, retry_count=1))
        await harness.clock.sleep(1.0)
        first.cancel()
        edit_id = await second
        await harness.clock.sleep(5.0)
        holder.cancel()
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert answer.delivered == 1
    assert len([task for task in harness.dashscope.ours if task.prompt == "later"]) == 1


async def test_a_full_line_is_told_before_the_202() -> None:
    """One that could not wait in the queue is refused as everybody else is."""
    harness = EditHarness(a_tenant("acme", an_upstream(account=NARROW), max_waiting=1))
    async with harness.service() as service, slot_taken(harness, service):
        await accepted(service, harness, "first")
        await harness.clock.sleep(0.1)
        refused = await error_of(accepted(service, harness, "second"))

    assert isinstance(refused, RateLimited)
    assert refused.retry_after
    assert harness.observer.of("queue_rejected") == [("acme", "tenant_limit")]


async def test_one_that_cannot_be_kept_goes_on_for_others() -> None:
    """A retry that joined it meanwhile, and waits, gets its picture."""
    harness = EditHarness()
    harness.promises.faults["put"] = [AWAY]
    async with harness.service() as service, asyncio.TaskGroup() as group:
        refused = group.create_task(error_of(accepted(service, harness)))
        await asyncio.sleep(0)
        answer = group.create_task(complete(service, harness.request("later", retry_count=1)))

    assert refused.result().code == "ledger_unavailable"
    assert answer.result().delivered == 1
    assert harness.dashscope.count("submit") == 1


async def test_a_retry_that_cannot_be_promised_leaves_the_edit_as_it_is() -> None:
    """Who joins and is refused takes nothing away from the one that waits."""
    harness = narrow_harness()
    harness.promises.faults["put"] = [AWAY]
    async with (
        harness.service() as service,
        slot_taken(harness, service),
        asyncio.TaskGroup() as group,
    ):
        waits = group.create_task(complete(service, harness.request("later")))
        await harness.clock.sleep(1.0)
        refused = await error_of(accepted(service, harness, retry_count=1))

    assert refused.code == "ledger_unavailable"
    assert waits.result().delivered == 1


async def test_joined_in_line_and_promised() -> None:
    """An edit that another client waits for is promised to one that joins, and is kept for it."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        holder = group.create_task(complete(service, harness.request("the busy one")))
        await harness.clock.sleep(0.5)
        waits = group.create_task(complete(service, harness.request("later")))
        await harness.clock.sleep(0.5)
        edit_id = await accepted(service, harness, retry_count=1)
        again = await accepted(service, harness, retry_count=2)
        waits.cancel()
        await harness.clock.sleep(30.0)
        holder.cancel()
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert again == edit_id
    assert answer.delivered == 1


async def test_joined_while_it_runs_and_promised() -> None:
    """Of one whose task exists only the promise is written down, no bytes."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("later")))
        await harness.clock.sleep(3.0)
        await accepted(service, harness, retry_count=1)
        kept = dict(harness.promises.held)

    assert kept == {}
    assert harness.ledger.records[0].promised


async def test_its_task_is_made_while_it_is_promised() -> None:
    """Bytes that are written while the task is accepted do not stay."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("later")))
        await harness.clock.sleep(0.095)
        await accepted(service, harness, retry_count=1)
        await harness.clock.sleep(0.1)
        kept = dict(harness.promises.held)

    assert kept == {}


async def test_refused_while_it_is_promised() -> None:
    """What was refused in that moment is told by GET, and not submitted by the next process."""
    harness = EditHarness()
    harness.dashscope.submits.append(
        Submit(UpstreamUnavailable("arrears"), makes=False, takes=0.005)
    )
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(error_of(complete(service, harness.request("later"))))
        await asyncio.sleep(0.0)
        edit_id = await accepted(service, harness, retry_count=1)
    async with harness.service() as service, look(service, harness, edit_id) as waiter:
        refused = await error_of(waiter.answer())

    assert refused.code == "upstream_unavailable"
    assert harness.dashscope.count("submit") == 1
    assert harness.promises.held == {}


async def test_a_refusal_upstream_is_told_by_get() -> None:
    """An accepted edit that upstream refuses is kept: GET tells why, after a restart, too."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(UpstreamUnavailable("arrears"), makes=False))
    async with harness.service() as service:
        edit_id = await accepted(service, harness, idempotency_key="k")
        await harness.clock.sleep(10.0)
        async with look(service, harness, edit_id) as waiter:
            now = await error_of(waiter.answer())
    async with harness.service() as service:
        async with look(service, harness, edit_id) as waiter:
            later = await error_of(waiter.answer())
        new = await complete(service, harness.request("later", idempotency_key="k"))

    assert now.code == later.code == "upstream_unavailable"
    assert new.status.edit_id != edit_id
    assert harness.promises.held == {}


@pytest.mark.parametrize(
    "fault", [UpstreamUnreachable("No connection."), AWAY], ids=["unreachable", "ledger"]
)
async def test_what_passes_is_waited_for(fault: GatewayError) -> None:
    """Nobody repeats an accepted edit, so it outlasts what a client would have repeated."""
    harness = EditHarness()
    if isinstance(fault, UpstreamUnreachable):
        harness.dashscope.submits.extend(Submit(fault, makes=False) for _ in range(8))
    else:
        harness.ledger.faults["intend"] = [fault] * 3
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        answer = await had(service, harness, edit_id)

    assert answer.delivered == 1
    assert len(harness.dashscope.ours) == 1


async def test_a_model_without_tasks_is_kept_over_a_drain() -> None:
    """What would be cut by the process's end is left to the next one."""
    harness = narrow_harness()
    async with harness.service() as service:
        service.drain(30.0)
        service.draining = False  # it came in the last moment before
        edit_id = await accepted(service, harness, model=QWEN)
        await harness.clock.sleep(20.0)
    before = harness.dashscope.count("submit")
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert before == 0
    assert answer.delivered == 1


async def test_called_off_in_line() -> None:
    """DELETE takes it out of the line, off the disk and out of the ledger before it answers."""
    harness = narrow_harness()
    async with harness.service() as service, slot_taken(harness, service):
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(1.0)
        await service.withdraw(harness.tenants[0], edit_id)
        samples = [record.edit_id for record in harness.ledger.records]
        await harness.clock.sleep(1.0)
        gone = await error_of(service._index.find(harness.tenants[0], edit_id))

    assert edit_id not in samples
    assert isinstance(gone, NotFound)
    assert harness.promises.held == {}
    assert harness.dashscope.count("submit") == 1


async def test_called_off_while_the_ledger_is_away() -> None:
    """DELETE says that it could not be done yet, and it is done: nothing is ever submitted."""
    harness = narrow_harness()
    async with harness.service() as service, slot_taken(harness, service):
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(1.0)
        harness.ledger.faults["end_edit"] = [AWAY, AWAY, AWAY]
        refused = await error_of(service.withdraw(harness.tenants[0], edit_id))
        await harness.clock.sleep(0.1)
        again = await error_of(service.withdraw(harness.tenants[0], edit_id))
        await harness.clock.sleep(3.0)
        gone = await error_of(service.withdraw(harness.tenants[0], edit_id))
    async with harness.service():
        await harness.clock.sleep(100.0)

    assert (refused.code, again.code) == ("ledger_unavailable", "ledger_unavailable")
    assert isinstance(gone, NotFound)
    assert [record.edit_id for record in harness.ledger.records] != [edit_id]
    assert harness.dashscope.count("submit") == 1


async def test_after_a_day_in_line_it_is_given_up() -> None:
    """Prompt and pictures do not lie on the disk for ever."""
    harness = EditHarness()
    harness.dashscope.down["main"] = UpstreamUnreachable("No connection.")
    harness.dashscope.run = Run()
    async with harness.service() as service:
        await accepted(service, harness)
        await harness.clock.sleep(23 * 3600.0)
        before = len(harness.promises.held)
        await harness.clock.sleep(3700.0)

    assert before == 1
    assert harness.promises.held == {}
    assert harness.ledger.records == []


async def test_orphans_are_dropped() -> None:
    """What a process left behind between the file and the row is removed by the next."""
    harness = EditHarness()
    await harness.promises.put("edit_unknown", harness.request().edit, ())
    async with harness.service():
        await harness.clock.sleep(1.0)

    assert harness.promises.held == {}


async def test_a_start_without_its_tenant_is_refused() -> None:
    """A config that would submit accepted edits for nobody is refused; put right, they go on."""
    harness = narrow_harness()
    edit_id = await one_in_line(harness)
    other = EditHarness(a_tenant("other"))
    other.ledger, other.promises = harness.ledger, harness.promises
    with pytest.raises(OrphanedEditsError) as refused:
        async with other.service():
            pass
    kept = list(harness.promises.held)
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert str(refused.value) == (
        "tenants: 1 accepted edit of acme could not be submitted: put the tenant back "
        "until they have ended, or end them by serve --abandon"
    )
    assert kept == [edit_id]
    assert answer.delivered == 1


async def test_a_start_without_their_tenants_that_is_wanted() -> None:
    """With --abandon they end, and their bytes leave the disk."""
    harness = narrow_harness()
    await one_in_line(harness)
    record = harness.ledger.records[-1]
    for number, tenant in enumerate(("two", "two", "three")):
        edit_id = f"edit_{number}"
        harness.ledger.put(replace(record, edit_id=edit_id, tenant=tenant))
        await harness.promises.put(edit_id, harness.request().edit, ())
    other = EditHarness()
    other.ledger, other.promises = harness.ledger, harness.promises
    with pytest.raises(OrphanedEditsError, match=r"2 accepted edits of two \(and of 1 more\)"):
        async with other.service():
            pass
    async with other.service(abandon=True):
        await other.clock.sleep(100.0)

    ends = {record.edit_id: record.error_code for record in harness.ledger.records}
    assert [ends[f"edit_{number}"] for number in range(3)] == ["upstream_unavailable"] * 3
    assert harness.promises.held == {}


async def test_an_open_submit_has_its_prompt_before_all_others() -> None:
    """
    After a restart an equal prompt waits until the submit that died is settled.

    It does so however long the disk takes to give back what was kept of the first.
    """
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 20.0)))
    harness.ledger.faults["accept"] = [AWAY] * 1000
    async with harness.service() as service:
        first = await accepted(service, harness)
        await harness.clock.sleep(1.0)
        second = await accepted(service, harness, picture=b"second")
        await harness.clock.sleep(1.0)
    harness.ledger.faults.clear()
    get = harness.promises.get

    async def slowly(edit_id: str) -> tuple[Edit, Spooled] | None:
        if edit_id == first:
            await harness.clock.sleep(3.0)
        return await get(edit_id)

    harness.promises.get = slowly  # type: ignore[assignment, method-assign]
    async with harness.service() as service:
        await harness.clock.sleep(10.0)
        submits = harness.dashscope.count("submit")
        answers = [await had(service, harness, edit_id) for edit_id in (first, second)]

    assert submits == 1
    assert [answer.delivered for answer in answers] == [1, 1]
    assert harness.dashscope.count("submit") == 2
    assert harness.promises.held == {}


@pytest.mark.parametrize("model", ["wan2.5-i2i-preview", "qwen-image-edit-plus"])
async def test_what_is_kept_goes_with_a_doubtful_end(model: str) -> None:
    """Of an edit of which nobody can tell whether it was made no bytes stay on the disk."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 500.0)))
    life = MortalProcess(0)
    async with harness.service(dashscope=MortalDashScope(harness.dashscope, life)) as service:
        edit_id = await accepted(service, harness, model=model)
        life.over.set()
        await harness.clock.sleep(5.0)
        life.bury()
    (record,) = harness.ledger.records
    harness.dashscope.stranger("later")
    harness.dashscope.stranger("later")
    async with harness.service() as service:
        await harness.clock.sleep(30.0)
        held = dict(harness.promises.held)
        async with look(service, harness, edit_id) as waiter:
            refused = await error_of(waiter.answer())

    assert record.tasks[0].state is TaskState.SUBMITTING
    assert refused.code in ("upstream_task_lost", "submit_uncertain")
    assert held == {}


async def test_a_tenant_that_moved_takes_its_waiting_edits_along() -> None:
    """An edit without a task is made, and recorded, in the region that its tenant has by then."""
    harness = EditHarness()
    harness.ledger.faults["intend"] = [AWAY] * 1000
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(1.0)
    harness.ledger.faults.clear()
    (tenant,) = harness.tenants
    (old,) = tenant.upstreams
    region, account = (replace(old.region, name="singapore"), Account("acct", "singapore"))
    moved = replace(old, region=region, account=account)
    harness.tenants = (replace(tenant, region="singapore", upstreams=(moved,)),)
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert answer.status.region == "singapore"
    assert [record.region for record in harness.ledger.records] == ["singapore"]


async def test_bytes_that_are_gone_are_told() -> None:
    """An edit whose file was lost with the machine's power ends as it would for a client."""
    harness = narrow_harness()
    edit_id = await one_in_line(harness)
    harness.promises.held.clear()
    async with harness.service() as service, look(service, harness, edit_id) as waiter:
        lost = await error_of(waiter.answer())

    assert (lost.code, lost.retry) == ("upstream_task_lost", True)


async def test_a_disk_that_fails_for_a_moment() -> None:
    """Bytes that cannot be read now are read later."""
    harness = narrow_harness()
    edit_id = await one_in_line(harness)
    harness.promises.faults["get"] = [AWAY, AWAY]
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert answer.delivered == 1


async def test_a_disk_that_fails_while_an_intent_is_settled() -> None:
    """The settlement goes on: what may be paid for comes first."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(takes=60.0))
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(2.0)
    harness.promises.faults["get"] = [AWAY]
    async with harness.service() as service:
        answer = await had(service, harness, edit_id)

    assert answer.delivered == 1
    assert len(harness.dashscope.ours) == 1


async def test_a_retry_brings_bytes_while_an_intent_is_settled() -> None:
    """The client's own bytes serve, and what was kept goes with the task."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(Throttled("slow"), makes=False, takes=60.0))
    async with harness.service() as service:
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(2.0)
    harness.promises.faults["get"] = [AWAY]
    async with harness.service() as service:
        await harness.clock.sleep(1.0)
        answer = await complete(service, harness.request("later", retry_count=1))

    assert answer.status.edit_id == edit_id
    assert harness.promises.held == {}


async def test_a_bug_is_told_and_not_tried_for_ever() -> None:
    """An accepted edit that cannot be carried ends as internal_error, for every later GET."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(UpstreamUnreachable("x"), makes=False))
    async with harness.service() as service:
        service._runner._wait_and_submit = _broken  # type: ignore[assignment, method-assign]
        edit_id = await accepted(service, harness)
        await harness.clock.sleep(10.0)
    async with harness.service() as service, look(service, harness, edit_id) as waiter:
        refused = await error_of(waiter.answer())

    assert refused.code == "internal_error"
    assert [record.state for record in harness.ledger.records] == [EditState.FAILED]
    assert harness.dashscope.count("submit") == 0


async def _broken(*_: object) -> None:
    raise ValueError


class _MortalPromises:
    """Promises of one life in a folder that outlives it."""

    def __init__(self, promises: PromisedEdits, life: MortalProcess) -> None:
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


async def _one_life(
    harness: EditHarness, last: int, **changes: Any
) -> tuple[MortalProcess, str | None]:
    """Let a process take a promised edit and die at step *last*; return the id if it was told."""
    life = MortalProcess(last)
    service = harness.service(
        dashscope=MortalDashScope(harness.dashscope, life),
        ledger=MortalLedger(harness.ledger, life),
        promises=_MortalPromises(harness.promises, life),
    )
    reported: list[str] = []

    async def come() -> None:
        reported.append(await accepted(service, harness, **changes))

    async with service, asyncio.TaskGroup() as group:
        client = group.create_task(come())
        with suppress(TimeoutError):
            async with asyncio.timeout(100.0):  # then the edit has ended
                await life.over.wait()
        life.over.set()
        client.cancel()
        life.bury()
    return life, reported[0] if reported else None


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
        harness = EditHarness()
        harness.dashscope.submits.extend(submits)
        life, edit_id = await _one_life(harness, steps, **changes)
        async with harness.service() as service:
            if edit_id is not None:
                answer = await had(service, harness, edit_id)
                assert answer.delivered == changes.get("n", 1), life.where
            await harness.clock.sleep(100.0)

        wanted = changes.get("n", 1)
        paid = sum(task.n for task in harness.dashscope.paid)
        assert paid == wanted if edit_id is not None else paid in (0, wanted), life.where
        assert harness.promises.held == {}, life.where
        assert harness.bugs == []
        if not life.where:
            break
    assert steps > 10
