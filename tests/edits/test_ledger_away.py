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
from tests.edits.house import House, buy, insist, refusal, stay, whole
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The disk is full.")
CUT = SubmitUncertain("The connection was cut.")


async def test_an_edit_waits_for_the_ledger() -> None:
    """No byte goes out before the intent is written; the edit waits for that in its turn."""
    house = House()
    house.ledger.away = True
    async with house.service() as service, asyncio.TaskGroup() as group:
        buying = group.create_task(buy(service, house.request(patience=300.0)))
        await house.clock.sleep(120.0)
        submitted = house.world.count("submit")
        house.ledger.away = False

    assert submitted == 0
    assert buying.result().delivered == 1
    assert len(house.world.paid) == 1


@pytest.mark.parametrize("name", ["intend", "void"])
async def test_its_patience_ends(name: str) -> None:
    """At the end of its patience its client is told 503, and the retry joins it in line."""
    house = House()
    house.ledger.faults[name] = [AWAY] * 100
    house.ledger.faults.setdefault("intend", [AWAY])
    async with house.service() as service:
        began = house.clock.now()
        refused = await refusal(buy(service, house.request(patience=30.0)))
        waited = house.clock.now() - began
        house.ledger.faults.clear()
        answer = await buy(service, house.request(retry_count=1))

    assert isinstance(refused, LedgerUnavailable)
    assert refused.retry
    assert waited == pytest.approx(30.0)
    assert answer.status.edit_id == refused.edit_id
    assert len(house.world.paid) == 1


async def test_who_leaves_meanwhile_costs_nothing() -> None:
    """An edit whose client leaves while it waits for the ledger is dropped."""
    house = House()
    house.ledger.away = True
    async with house.service() as service:
        await stay(service, house.request(), 5.0)
        await house.clock.sleep(10.0)
        house.ledger.away = False
        await house.clock.sleep(60.0)
        left = list(service._index)

    assert left == []
    assert house.world.count("submit") == 0
    assert house.ledger.records == []


async def test_an_intend_that_was_written_all_the_same() -> None:
    """An intend that failed may be on the disk: it is voided before the next one is made."""
    house = House()
    ledger, written = house.ledger, list[str]()
    intend, void = ledger.intend, ledger.void

    async def written_and_failed(edit: EditRecord, task: TaskRecord) -> None:
        await intend(edit, task)
        written.append("intend")
        if len(written) == 1:
            raise AWAY

    async def voided(edit_id: str, part: int) -> None:
        await void(edit_id, part)
        written.append("void")

    ledger.intend = written_and_failed  # type: ignore[method-assign]
    ledger.void = voided  # type: ignore[method-assign]
    async with house.service() as service:
        await buy(service, house.request())

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
    house = House()
    first = Submit(ContentRefused("no"), makes=False) if away == "void" else Submit()
    house.world.submits.extend([first, second])
    house.ledger.faults = {name: [AWAY] * 10_000 for name in (away, "end_edit", "end_task")}
    answers: dict[bytes, EditResult] = {}

    async def come(service: EditService, source: bytes, count: int = 0) -> None:
        request = house.request(picture=source, retry_count=count, patience=20_000.0)
        answers[source] = await buy(service, request)

    async with house.service() as service, asyncio.TaskGroup() as group:
        firsts = group.create_task(_try(come(service, b"first")))
        await house.clock.sleep(2.0)
        seconds_ = group.create_task(_try(come(service, b"second")))
        await house.clock.sleep(seconds)
        submits = house.world.count("submit")
        firsts.cancel()
        seconds_.cancel()
    house.ledger.faults.clear()
    async with house.service() as service:
        for source in {b"first", b"second"} - answers.keys():
            if source == b"second" or away == "accept":
                await _try(come(service, source, 1))

    assert submits == 1
    assert len(house.world.paid) == (1 if away == "void" else 2)
    for source, answer in answers.items():
        assert whole(answer)[0].split(b"|")[2] == source


async def _try(work: Awaitable[None]) -> None:
    try:
        await work
    except (ContentRefused, asyncio.CancelledError):
        return


@pytest.mark.parametrize("away", ["void", "accept"])
async def test_it_is_written_when_the_ledger_is_back(away: str) -> None:
    """What was owed is written, then the equal prompt goes; the first client never waited."""
    house = House()
    first = (
        Submit(ContentRefused("no"), makes=False) if away == "void" else Submit(run=Run(0.0, 5.0))
    )
    house.world.submits.append(first)
    house.ledger.faults = {away: [AWAY] * 5}
    async with house.service() as service:
        if away == "void":
            assert isinstance(await refusal(buy(service, house.request())), ContentRefused)
        else:
            await buy(service, house.request())
        await buy(service, house.request(picture=b"second", patience=100.0))
        owed = len(service._runner.owed)

    assert owed == 0
    assert house.ledger.faults[away] == []
    assert house.world.count("submit") == 2
    assert [task.state for record in house.ledger.records for task in record.tasks] == [
        TaskState.ENDED
    ] * (1 if away == "void" else 2)


async def test_what_is_owed_is_tried_once_more_at_the_end() -> None:
    """A process that ends writes what the ledger takes by then."""
    house = House()
    house.world.submits.append(Submit(run=Run(0.0, 500.0)))
    house.ledger.faults = {"accept": [AWAY] * 1000}
    async with house.service() as service, asyncio.TaskGroup() as group:
        task = group.create_task(_try(_forget(buy(service, house.request()))))
        await house.clock.sleep(9.0)
        house.ledger.faults.clear()
        task.cancel()

    (record,) = house.ledger.records
    assert record.tasks[0].state is TaskState.ACCEPTED


async def _forget(work: Awaitable[object]) -> None:
    await work


async def test_an_end_in_doubt_stays_in_doubt() -> None:
    """What nobody could tell is told again after a restart, if only the part's end is written."""
    house = House()
    house.world.submits.append(Submit(CUT))
    house.world.silent = True
    house.ledger.faults["end_edit"] = [AWAY] * 100
    async with house.service() as service:
        first = await refusal(buy(service, house.request()))
    looked = house.world.count("tasks")
    house.ledger.faults.clear()
    async with house.service() as service:
        again = await refusal(buy(service, house.request(retry_count=1)))

    assert isinstance(first, TaskLost)
    assert isinstance(again, TaskLost)
    assert house.world.count("tasks") == looked
    assert house.world.count("submit") == 1


async def test_an_ended_edit_is_not_intended_again() -> None:
    """When the ledger says that the edit has ended, no byte is sent and its record stays."""
    house = House()
    intend = house.ledger.intend

    async def ended_meanwhile(edit: EditRecord, task: TaskRecord) -> None:
        await intend(edit, task)
        await house.ledger.end_edit(edit.edit_id, EditState.SUCCEEDED)
        await intend(edit, task)

    house.ledger.intend = ended_meanwhile  # type: ignore[method-assign]
    async with house.service() as service:
        refused = await refusal(buy(service, house.request()))

    assert isinstance(refused, LedgerConflict)
    assert house.world.count("submit") == 0


async def test_the_receipt_is_owed_as_well() -> None:
    """Where the pictures of a model without tasks lie is written as soon as it can be."""
    house = House()
    house.result_urls.faults["put"] = [AWAY] * 3
    async with house.service() as service:
        answer = await buy(service, house.request(model="qwen-image-edit-plus"))
        await house.clock.sleep(30.0)

    assert answer.delivered == 1
    assert await house.result_urls.get(answer.status.edit_id, 0)


async def test_keyed_edits_are_not_paid_again() -> None:
    """A retry with the same key joins while the ledger is away, and after it."""
    house = House()
    async with house.service() as service:
        answer = await insist(
            service,
            lambda count: house.request(retry_count=count, patience=20.0, idempotency_key="k"),
            house.clock,
        )

    assert answer.delivered == 1


async def test_an_end_never_overtakes_its_task() -> None:
    """
    A process that dies before it could write a task down has not written that it ended either.

    The next one finds the task by the list. Of an edit that has ended, nobody would look.
    """
    house = House()
    house.ledger.faults = {"accept": [AWAY] * 10_000}
    async with house.service() as service:
        async with service.attend(house.request()) as waiter:
            await waiter.answer()  # the line breaks before it is delivered
        await house.clock.sleep(30.0)
    house.ledger.faults.clear()
    async with house.service() as service:
        answer = await buy(service, house.request(retry_count=1))

    assert answer.delivered == 1
    assert len(house.world.paid) == 1


async def test_what_was_delivered_meanwhile_is_given_again() -> None:
    """A marked retry after such a death gets the picture again, and none is made again."""
    house = House()
    house.ledger.faults = {"accept": [AWAY] * 10_000}
    async with house.service() as service:
        await buy(service, house.request())
        await house.clock.sleep(30.0)
    house.ledger.faults.clear()
    async with house.service() as service:
        answer = await buy(service, house.request(retry_count=1))

    assert answer.delivered == 1
    assert len(house.world.paid) == 1


async def test_the_end_is_owed_as_well() -> None:
    """The end of an edit and its delivery are written once the ledger takes them."""
    house = House()
    house.ledger.faults = {name: [AWAY] * 3 for name in ("end_task", "end_edit", "deliver")}
    async with house.service() as service:
        await buy(service, house.request())
        await house.clock.sleep(60.0)
        owed = len(service._runner.owed)

    (record,) = house.ledger.records
    assert owed == 0
    assert (record.state, record.delivered) == (EditState.SUCCEEDED, True)
    assert record.tasks[0].state is TaskState.ENDED
