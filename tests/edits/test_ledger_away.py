"""While the ledger cannot be written: what waits, what goes on, and what a death then costs."""

import asyncio
from collections.abc import Awaitable

import pytest

from gateway.domain.errors import (
    ContentRefused,
    LedgerConflict,
    LedgerUnavailable,
    SubmitUncertain,
    TaskLost,
)
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.edits.request import EditResult
from gateway.edits.service import EditService
from tests.edits.harness import (
    EditHarness,
    complete,
    error_of,
    leave_after,
    picture_bytes,
    retry_until_done,
)
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The disk is full.")
CUT = SubmitUncertain("The connection was cut.")


async def test_an_edit_waits_for_the_ledger() -> None:
    """No byte goes out before the intent is written; the edit waits for that in its turn."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        harness.ledger.away = True
        buying = group.create_task(complete(service, harness.request(patience=300.0)))
        await harness.clock.sleep(120.0)
        submitted = harness.dashscope.count("submit")
        harness.ledger.away = False

    assert submitted == 0
    assert buying.result().delivered == 1
    assert len(harness.dashscope.paid) == 1


async def test_an_edit_waits_for_the_lease() -> None:
    """A process whose lease is not renewed writes no intent, and submits once it is."""
    harness = EditHarness()
    leased = False
    async with (
        harness.service(may_submit=lambda: leased) as service,
        asyncio.TaskGroup() as group,
    ):
        buying = group.create_task(complete(service, harness.request(patience=300.0)))
        await harness.clock.sleep(120.0)
        intended = list(harness.ledger.records)
        leased = True

    assert intended == []
    assert buying.result().delivered == 1
    assert len(harness.dashscope.paid) == 1


async def test_who_leaves_while_the_lease_is_over() -> None:
    """An edit that could not be submitted meanwhile is dropped, at no cost."""
    harness = EditHarness()
    async with harness.service(may_submit=lambda: False) as service:
        await leave_after(service, harness.request(), 5.0)
        await harness.clock.sleep(10.0)
        assert list(service) == []

    assert harness.dashscope.paid == []


async def test_a_lease_that_ends_between_intent_and_submit() -> None:
    """The intent is void; the submit goes out once the lease is renewed, and is paid once."""
    harness = EditHarness()
    answers = iter([True, False, False])
    async with harness.service(may_submit=lambda: next(answers, True)) as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1
    assert len(harness.dashscope.paid) == 1
    assert len(harness.observer.of("intent_expired")) == 1


@pytest.mark.parametrize("name", ["intend", "void"])
async def test_its_patience_ends(name: str) -> None:
    """At the end of its patience its client is told 503, and the retry joins it in the queue."""
    harness = EditHarness()
    harness.ledger.faults[name] = [AWAY] * 100
    harness.ledger.faults.setdefault("intend", [AWAY])
    async with harness.service() as service:
        began = harness.clock.now()
        refused = await error_of(complete(service, harness.request(patience=30.0)))
        waited = harness.clock.now() - began
        harness.ledger.faults.clear()
        answer = await complete(service, harness.request(retry_count=1))

    assert isinstance(refused, LedgerUnavailable)
    assert refused.retry
    assert waited == pytest.approx(30.0)
    assert answer.status.edit_id == refused.edit_id
    assert len(harness.dashscope.paid) == 1


async def test_who_leaves_meanwhile_costs_nothing() -> None:
    """An edit whose client leaves while it waits for the ledger is dropped."""
    harness = EditHarness()
    async with harness.service() as service:
        harness.ledger.away = True
        await leave_after(service, harness.request(), 5.0)
        await harness.clock.sleep(10.0)
        harness.ledger.away = False
        await harness.clock.sleep(60.0)
        left = list(service._index)

    assert left == []
    assert harness.dashscope.count("submit") == 0
    assert harness.ledger.records == []


async def test_an_intend_that_was_written_all_the_same() -> None:
    """An intend that failed may be on the disk: it is voided before the next one is made."""
    harness = EditHarness()
    ledger, written = harness.ledger, list[str]()
    intend, void = ledger.intend, ledger.void

    async def written_and_failed(edit: EditRecord, task: TaskRecord) -> None:
        await intend(edit, task)
        written.append("intend")
        if len(written) == 1:
            raise AWAY

    async def voided(edit_id: str, part: int, *, attempt: str = "") -> None:
        await void(edit_id, part, attempt=attempt)
        written.append("void")

    ledger.intend = written_and_failed  # type: ignore[method-assign]
    ledger.void = voided  # type: ignore[method-assign]
    async with harness.service() as service:
        await complete(service, harness.request())

    assert written == ["intend", "void", "intend"]


@pytest.mark.parametrize("seconds", [3.0, 30.0, 5000.0])
@pytest.mark.parametrize("second", [Submit(), Submit(CUT)], ids=["smooth", "answer lost"])
@pytest.mark.parametrize("away", ["void", "accept"])
async def test_an_equal_prompt_waits_until_it_is_written(
    away: str, second: Submit, seconds: float
) -> None:
    """
    Whenever the process dies, no task is taken for another edit's, and none is made twice.

    The first edit's end cannot be written, so the ledger goes on to say that its submit is
    open: an equal one beside it could be taken for it by the next process.
    """
    harness = EditHarness()
    first = Submit(ContentRefused("no"), makes=False) if away == "void" else Submit()
    harness.dashscope.submits.extend([first, second])
    harness.ledger.faults = {name: [AWAY] * 10_000 for name in (away, "end_edit", "end_task")}
    answers: dict[bytes, EditResult] = {}

    async def come(service: EditService, source: bytes, count: int = 0) -> None:
        request = harness.request(picture=source, retry_count=count, patience=20_000.0)
        answers[source] = await complete(service, request)

    async with harness.service() as service, asyncio.TaskGroup() as group:
        firsts = group.create_task(_try(come(service, b"first")))
        await harness.clock.sleep(2.0)
        seconds_ = group.create_task(_try(come(service, b"second")))
        await harness.clock.sleep(seconds)
        submits = harness.dashscope.count("submit")
        firsts.cancel()
        seconds_.cancel()
    harness.ledger.faults.clear()
    async with harness.service() as service:
        for source in {b"first", b"second"} - answers.keys():
            if source == b"second" or away == "accept":
                await _try(come(service, source, 1))

    assert submits == 1
    assert len(harness.dashscope.paid) == (1 if away == "void" else 2)
    for source, answer in answers.items():
        assert picture_bytes(answer)[0].split(b"|")[2] == source


async def _try(work: Awaitable[None]) -> None:
    try:
        await work
    except (ContentRefused, asyncio.CancelledError):
        return


@pytest.mark.parametrize("away", ["void", "accept"])
async def test_it_is_written_when_the_ledger_is_back(away: str) -> None:
    """What was owed is written, then the equal prompt goes; the first client never waited."""
    harness = EditHarness()
    first = (
        Submit(ContentRefused("no"), makes=False) if away == "void" else Submit(run=Run(0.0, 5.0))
    )
    harness.dashscope.submits.append(first)
    harness.ledger.faults = {away: [AWAY] * 5}
    async with harness.service() as service:
        if away == "void":
            assert isinstance(await error_of(complete(service, harness.request())), ContentRefused)
        else:
            await complete(service, harness.request())
        await complete(service, harness.request(picture=b"second", patience=100.0))
        owed = len(service._owed)

    assert owed == 0
    assert harness.ledger.faults[away] == []
    assert harness.dashscope.count("submit") == 2
    assert [task.state for record in harness.ledger.records for task in record.tasks] == [
        TaskState.ENDED
    ] * (1 if away == "void" else 2)


async def test_what_is_owed_is_tried_once_more_at_the_end() -> None:
    """A process that ends writes what the ledger takes by then."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 500.0)))
    harness.ledger.faults = {"accept": [AWAY] * 1000}
    async with harness.service() as service, asyncio.TaskGroup() as group:
        task = group.create_task(_try(_forget(complete(service, harness.request()))))
        await harness.clock.sleep(9.0)
        harness.ledger.faults.clear()
        task.cancel()

    (record,) = harness.ledger.records
    assert record.tasks[0].state is TaskState.ACCEPTED


async def _forget(work: Awaitable[object]) -> None:
    await work


async def test_an_end_in_doubt_stays_in_doubt() -> None:
    """What nobody could tell is told again after a restart, if only the part's end is written."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT))
    harness.dashscope.silent = True
    harness.ledger.faults["end_edit"] = [AWAY] * 100
    async with harness.service() as service:
        first = await error_of(complete(service, harness.request()))
    looked = harness.dashscope.count("tasks")
    harness.ledger.faults.clear()
    async with harness.service() as service:
        again = await error_of(complete(service, harness.request(retry_count=1)))

    assert isinstance(first, TaskLost)
    assert isinstance(again, TaskLost)
    assert harness.dashscope.count("tasks") == looked
    assert harness.dashscope.count("submit") == 1


async def test_an_ended_edit_is_not_intended_again() -> None:
    """When the ledger says that the edit has ended, no byte is sent and its record stays."""
    harness = EditHarness()
    intend = harness.ledger.intend

    async def ended_meanwhile(edit: EditRecord, task: TaskRecord) -> None:
        await intend(edit, task)
        await harness.ledger.end_edit(edit.edit_id, EditState.SUCCEEDED)
        await intend(edit, task)

    harness.ledger.intend = ended_meanwhile  # type: ignore[method-assign]
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert isinstance(refused, LedgerConflict)
    assert harness.dashscope.count("submit") == 0


async def test_the_receipt_is_owed_as_well() -> None:
    """Where the pictures of a model without tasks lie is written as soon as it can be."""
    harness = EditHarness()
    harness.result_urls.faults["put"] = [AWAY] * 3
    async with harness.service() as service:
        answer = await complete(service, harness.request(model="qwen-image-edit-plus"))
        await harness.clock.sleep(30.0)

    assert answer.delivered == 1
    assert await harness.result_urls.get(answer.status.edit_id, 0)


async def test_keyed_edits_are_not_paid_again() -> None:
    """A retry with the same key joins while the ledger is away, and after it."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await retry_until_done(
            service,
            lambda count: harness.request(retry_count=count, patience=20.0, idempotency_key="k"),
            harness.clock,
        )

    assert answer.delivered == 1


async def test_an_end_never_overtakes_its_task() -> None:
    """
    A process that dies before it could write a task down has not written that it ended either.

    The next one finds the task by the list. Of an edit that has ended, nobody would look.
    """
    harness = EditHarness()
    harness.ledger.faults = {"accept": [AWAY] * 10_000}
    async with harness.service() as service:
        async with service.attend(harness.request()) as waiter:
            await waiter.answer()  # the line breaks before it is delivered
        await harness.clock.sleep(30.0)
    harness.ledger.faults.clear()
    async with harness.service() as service:
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.delivered == 1
    assert len(harness.dashscope.paid) == 1


async def test_what_was_delivered_meanwhile_is_given_again() -> None:
    """A marked retry after such a death gets the picture again, and none is made again."""
    harness = EditHarness()
    harness.ledger.faults = {"accept": [AWAY] * 10_000}
    async with harness.service() as service:
        await complete(service, harness.request())
        await harness.clock.sleep(30.0)
    harness.ledger.faults.clear()
    async with harness.service() as service:
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.delivered == 1
    assert len(harness.dashscope.paid) == 1


async def test_the_end_is_owed_as_well() -> None:
    """The end of an edit and its delivery are written once the ledger takes them."""
    harness = EditHarness()
    harness.ledger.faults = {name: [AWAY] * 3 for name in ("end_task", "end_edit", "deliver")}
    async with harness.service() as service:
        await complete(service, harness.request())
        await harness.clock.sleep(60.0)
        owed = len(service._owed)

    (record,) = harness.ledger.records
    assert owed == 0
    assert (record.state, record.delivered) == (EditState.SUCCEEDED, True)
    assert record.tasks[0].state is TaskState.ENDED
