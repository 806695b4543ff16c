"""All ledgers implement gateway.edits.ports.Ledger alike: one suite, row by row."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import (
    ContentRefused,
    LedgerConflict,
    TaskFoundError,
    TaskLost,
    UpstreamFailed,
)
from gateway.domain.record import EditState, TaskState
from gateway.edits.ports import Ledger
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import DAY, EDIT, FIRST, NOW, SECOND, Calendar, edit
from tests.ledger.timed_postgres import TimedPostgresLedger

pytestmark = pytest.mark.anyio

AnyLedger = MemoryLedger | SqliteLedger | PostgresLedger


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, calendar: Calendar
) -> AsyncIterator[AnyLedger]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        async with TimedPostgresLedger(url, calendar) as ledger:
            yield ledger
        return
    made: AbstractAsyncContextManager[MemoryLedger | SqliteLedger] = (
        MemoryLedger(calendar)
        if request.param == "memory"
        else SqliteLedger(tmp_path / "gateway.db", sync="normal", epoch=calendar)
    )
    async with made as ledger:
        yield ledger


def test_all_implement_the_port(tmp_path: Path, calendar: Calendar) -> None:
    """The Protocol of gateway.edits is met, which mypy checks here."""
    ledgers: list[Ledger] = [
        MemoryLedger(calendar),
        SqliteLedger(tmp_path / "gateway.db", sync="full", epoch=calendar),
        TimedPostgresLedger("postgres://127.0.0.1/db", calendar),
    ]
    assert len(ledgers) == 3


async def test_an_intent_is_found_as_it_was_given(ledger: AnyLedger) -> None:
    """Every field of an edit and of its task comes back, in the type in which it went."""
    await ledger.intend(EDIT, FIRST)

    found = await ledger.find("edit_1")

    assert found == replace(EDIT, tasks=(FIRST,))
    assert type(found.delivered) is bool
    assert type(found.ignored) is tuple


async def test_what_is_not_there(ledger: AnyLedger) -> None:
    """An unknown edit, key or task is no error."""
    assert await ledger.find("edit_1") is None
    assert await ledger.find_key("acme", "key-1") is None
    assert await ledger.owed() == []
    assert await ledger.find_tasks(["t1"]) == set()
    assert await ledger.find_tasks([]) == set()


async def test_writes_about_an_unknown_edit_make_none(ledger: AnyLedger) -> None:
    """An edit that was purged meanwhile does not come back in pieces."""
    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.end_task("edit_1", 0, "succeeded")
    await ledger.void("edit_1", 0)
    await ledger.deliver("edit_1")
    await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    await ledger.end_edit("edit_1", EditState.DROPPED)

    assert await ledger.find("edit_1") is None
    assert await ledger.find_tasks(["t1"]) == set()


async def test_parts_come_in_order_of_part(ledger: AnyLedger) -> None:
    """Two tasks of one edit keep their order, whichever was submitted first."""
    await ledger.intend(EDIT, SECOND)
    await ledger.intend(EDIT, FIRST)

    found = await ledger.find("edit_1")

    assert found is not None
    assert found.tasks == (FIRST, SECOND)


async def test_a_second_intent_replaces_the_first_of_its_part(ledger: AnyLedger) -> None:
    """A part that is submitted again, elsewhere, has one task: the last."""
    again = replace(FIRST, upstream="beijing-two", intended_at=NOW + 9, attempt="again")
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(EDIT, again)

    found = await ledger.find("edit_1")

    assert found is not None
    assert found.tasks == (again,)


async def test_an_intent_twice_is_once(ledger: AnyLedger) -> None:
    """Written again after its task was accepted, it takes nothing back and tells of the task."""
    first = replace(FIRST, attempt="a1")
    await ledger.intend(EDIT, first)
    await ledger.intend(EDIT, first)
    assert await ledger.accept("edit_1", 0, "beijing-main", "t1", attempt="a1")

    for attempt in ("a1", "a2"):
        with pytest.raises(TaskFoundError) as caught:
            await ledger.intend(EDIT, replace(FIRST, attempt=attempt))
        assert (caught.value.task_id, caught.value.upstream) == ("t1", "beijing-main")

    found = await ledger.find("edit_1")
    assert found is not None
    assert found.tasks == (replace(first, state=TaskState.ACCEPTED, task_id="t1"),)


async def test_late_writes_of_an_earlier_attempt_change_nothing(ledger: AnyLedger) -> None:
    """A void, an end and a task of an attempt that was voided leave the present one as it is."""
    present = replace(FIRST, attempt="a2")
    await ledger.intend(EDIT, replace(FIRST, attempt="a1"))
    await ledger.void("edit_1", 0, attempt="a1")
    await ledger.intend(EDIT, present)

    await ledger.void("edit_1", 0, attempt="a1")
    await ledger.end_task("edit_1", 0, "lost", attempt="a1")
    accepted = [
        await ledger.accept("edit_1", 0, "beijing-main", "t1", attempt="a1") for _ in range(2)
    ]

    assert accepted == [False, False]
    assert await ledger.find("edit_1") == replace(EDIT, tasks=(present,))
    assert await ledger.find_tasks(["t1", "t2"]) == {"t1"}  # no other edit's either


async def test_a_task_that_was_told_too_late_is_taken(ledger: AnyLedger) -> None:
    """The next intent finds it, and one for the upstream that made it has it, with its account."""
    await ledger.intend(EDIT, replace(FIRST, attempt="a1"))
    await ledger.void("edit_1", 0, attempt="a1")
    await ledger.accept("edit_1", 0, "beijing-two", "t1", attempt="a1")
    await ledger.intend(EDIT, replace(SECOND, attempt="b1"))  # another part's

    with pytest.raises(TaskFoundError) as elsewhere:
        await ledger.intend(EDIT, replace(FIRST, attempt="a2"))
    before = await ledger.find("edit_1")
    two = replace(FIRST, attempt="a3", upstream="beijing-two", account="two", key_id="k2")
    with pytest.raises(TaskFoundError) as caught:
        await ledger.intend(EDIT, two)

    for error in (elsewhere.value, caught.value):
        assert (error.task_id, error.upstream) == ("t1", "beijing-two")
    assert before is not None
    assert [task.part for task in before.tasks] == [1]
    found = await ledger.find("edit_1")
    assert found is not None
    assert found.tasks[0] == replace(two, state=TaskState.ACCEPTED, task_id="t1")
    assert await ledger.find_tasks(["t1"]) == {"t1"}
    await ledger.end_task("edit_1", 0, "succeeded", attempt="a3")
    assert await ledger.accept("edit_1", 1, "beijing-main", "t2", attempt="b1")


async def test_an_accepted_task_has_its_id_and_upstream(ledger: AnyLedger) -> None:
    """Only the part that was accepted changes."""
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(EDIT, SECOND)
    await ledger.accept("edit_1", 1, "beijing-two", "t1")

    found = await ledger.find("edit_1")

    assert found is not None
    accepted = replace(SECOND, state=TaskState.ACCEPTED, upstream="beijing-two", task_id="t1")
    assert found.tasks == (FIRST, accepted)


async def test_a_void_intent_is_forgotten(ledger: AnyLedger) -> None:
    """A part that surely made no task has none, and the other stays."""
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(EDIT, SECOND)
    await ledger.void("edit_1", 0)

    found = await ledger.find("edit_1")

    assert found is not None
    assert found.tasks == (SECOND,)


async def test_an_ended_task_keeps_its_outcome(ledger: AnyLedger) -> None:
    """A task ends without forgetting its id."""
    await ledger.intend(EDIT, FIRST)
    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.end_task("edit_1", 0, "failed")

    found = await ledger.find("edit_1")

    assert found is not None
    assert found.tasks == (replace(FIRST, state=TaskState.ENDED, task_id="t1", outcome="failed"),)


async def test_a_failed_edit_remembers_what_was_told(ledger: AnyLedger) -> None:
    """Class, code, message and retry of the error are kept, for the replay."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_edit("edit_1", EditState.FAILED, ContentRefused("Not this picture."))

    found = await ledger.find("edit_1")

    assert found is not None
    assert (found.state, found.error_kind) == (EditState.FAILED, "ContentRefused")
    assert (found.error_code, found.error_message) == ("moderation_blocked", "Not this picture.")
    assert found.error_retry is False


async def test_a_delivered_edit_says_so(ledger: AnyLedger) -> None:
    """State and delivery are two facts."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    await ledger.deliver("edit_1")

    found = await ledger.find("edit_1")

    assert found == replace(EDIT, state=EditState.SUCCEEDED, delivered=True, tasks=(FIRST,))


async def test_a_dropped_edit_is_forgotten(ledger: AnyLedger) -> None:
    """What cost nothing leaves no trace: neither edit, nor key, nor task."""
    await ledger.intend(EDIT, FIRST)
    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.end_edit("edit_1", EditState.DROPPED)

    assert await ledger.find("edit_1") is None
    assert await ledger.find_key("acme", "key-1") is None
    assert await ledger.find_tasks(["t1"]) == set()


@pytest.mark.parametrize(
    ("state", "retry", "usable"),
    [
        pytest.param(None, None, True, id="open"),
        pytest.param(EditState.SUCCEEDED, None, True, id="succeeded"),
        pytest.param(EditState.FAILED, False, True, id="failed-for-good"),
        pytest.param(EditState.FAILED, True, False, id="failed-and-worth-a-retry"),
        pytest.param(EditState.DROPPED, None, False, id="dropped"),
    ],
)
async def test_which_edit_a_key_brings_back(
    ledger: AnyLedger, state: EditState | None, retry: bool | None, usable: bool
) -> None:
    """A key joins or replays its edit, unless that edit invites a new try."""
    await ledger.intend(EDIT, FIRST)
    if state is not None:
        error = None if retry is None else UpstreamFailed("It failed.", retry=retry)
        await ledger.end_edit("edit_1", state, error)

    found = await ledger.find_key("acme", "key-1")

    assert (found is not None) == usable


async def test_a_delivered_edit_is_replayed_by_its_key(ledger: AnyLedger) -> None:
    """Delivery does not end what a key stands for."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    await ledger.deliver("edit_1")

    found = await ledger.find_key("acme", "key-1")

    assert found is not None
    assert found.delivered


async def test_a_key_belongs_to_its_tenant(ledger: AnyLedger) -> None:
    """Another tenant's equal key is another key; an edit without one has none."""
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(edit("edit_2"), FIRST)

    assert await ledger.find_key("other", "key-1") is None
    assert await ledger.find_key("acme", "key-2") is None


@pytest.mark.parametrize(
    ("ages", "failed", "found"),
    [
        pytest.param((20, 10), None, "edit_2", id="youngest"),
        pytest.param((10, 20), None, "edit_1", id="youngest-by-age-not-by-arrival"),
        pytest.param((10, 10), None, "edit_2", id="same-moment-the-last"),
        pytest.param((20, 10), "edit_2", "edit_1", id="youngest-that-can-be-replayed"),
    ],
)
async def test_of_several_edits_of_a_key_the_youngest_counts(
    ledger: AnyLedger, ages: tuple[float, float], failed: str | None, found: str
) -> None:
    """A key whose first edit failed has two."""
    await ledger.intend(edit("edit_1", age=ages[0], key="k"), FIRST)
    await ledger.intend(edit("edit_2", age=ages[1], key="k"), FIRST)
    if failed:
        await ledger.end_edit(failed, EditState.FAILED, UpstreamFailed("It failed."))

    record = await ledger.find_key("acme", "k")

    assert record is not None
    assert record.edit_id == found


async def test_owed_are_the_open_and_the_undelivered(ledger: AnyLedger) -> None:
    """The oldest comes first, with its tasks; what is over is not owed."""
    for name, age in (("delivered", 5), ("undelivered", 4), ("failed", 3), ("open", 2)):
        await ledger.intend(edit(name, age=age), FIRST)
    for name in ("delivered", "undelivered"):
        await ledger.end_edit(name, EditState.SUCCEEDED)
    await ledger.deliver("delivered")
    await ledger.end_edit("failed", EditState.FAILED, UpstreamFailed("It failed."))

    owed = await ledger.owed()

    assert [record.edit_id for record in owed] == ["undelivered", "open"]
    assert [record.tasks for record in owed] == [(FIRST,), (FIRST,)]


async def test_an_open_edit_without_a_task_is_not_owed(ledger: AnyLedger) -> None:
    """Its submit was refused: nothing was paid, and its bytes are gone."""
    await ledger.intend(EDIT, FIRST)
    await ledger.void("edit_1", 0)

    assert await ledger.owed() == []


async def test_known_tells_our_tasks_from_others(ledger: AnyLedger) -> None:
    """However many are asked after at once."""
    task_ids = [f"t{number}" for number in range(1200)]
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(EDIT, SECOND)
    await ledger.accept("edit_1", 0, "beijing-main", "t3")
    await ledger.accept("edit_1", 1, "beijing-main", "t1100")

    known = await ledger.find_tasks(task_ids)

    assert known == {"t3", "t1100"}


@pytest.mark.parametrize(
    ("age", "there"),
    [
        pytest.param(DAY - 1, True, id="younger"),
        pytest.param(DAY, False, id="24-hours"),
    ],
)
async def test_a_day_later_an_edit_is_gone(
    ledger: AnyLedger, calendar: Calendar, age: float, there: bool
) -> None:
    """An edit that has ended is kept for 24 hours, for whatever is asked."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    calendar.epoch = NOW + age

    assert (await ledger.find("edit_1") is not None) == there
    assert (await ledger.find_key("acme", "key-1") is not None) == there
    assert (len(await ledger.owed()) == 1) == there
    assert (sum((await ledger.counts()).values()) == 1) == there


async def test_an_open_edit_is_never_too_old(ledger: AnyLedger, calendar: Calendar) -> None:
    """Its task may be paid for: whatever the calendar says, it is found, and owed."""
    await ledger.intend(EDIT, FIRST)
    for epoch in (NOW + DAY, NOW + 400 * DAY, NOW - DAY):
        calendar.epoch = epoch

        assert await ledger.find("edit_1") is not None
        assert await ledger.find_key("acme", "key-1") is not None
        assert [record.edit_id for record in await ledger.owed()] == ["edit_1"]
        assert (await ledger.counts())["open"] == 1


async def test_counts_by_state(ledger: AnyLedger) -> None:
    """Every state that can be kept has a number, also 0."""
    await ledger.intend(edit("edit_1"), FIRST)
    await ledger.intend(edit("edit_2"), FIRST)
    await ledger.end_edit("edit_2", EditState.SUCCEEDED)

    assert await ledger.counts() == {"open": 1, "succeeded": 1, "failed": 0}


@pytest.mark.parametrize("state", [EditState.SUCCEEDED, EditState.FAILED])
async def test_an_ended_edit_is_not_reopened(ledger: AnyLedger, state: EditState) -> None:
    """A late intend changes nothing of an edit that has ended, and says so."""
    await ledger.intend(EDIT, FIRST)
    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.end_edit("edit_1", state, UpstreamFailed("It failed."))
    before = await ledger.find("edit_1")

    with pytest.raises(LedgerConflict):
        await ledger.intend(EDIT, SECOND)

    assert await ledger.find("edit_1") == before


async def test_a_late_void_changes_nothing(ledger: AnyLedger) -> None:
    """Only an open intent is forgotten: what was accepted may be paid for."""
    await ledger.intend(EDIT, FIRST)
    await ledger.accept("edit_1", 0, "beijing-main", "t1")

    await ledger.void("edit_1", 0)

    assert await ledger.find_tasks(["t1"]) == {"t1"}


async def test_a_late_accept_ends_nothing_again(ledger: AnyLedger) -> None:
    """A task that was accepted late is known, and stays ended."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_task("edit_1", 0, "succeeded")

    await ledger.accept("edit_1", 0, "beijing-main", "t1")

    found = await ledger.find("edit_1")
    assert found is not None
    assert (found.tasks[0].state, found.tasks[0].task_id) == (TaskState.ENDED, "t1")
    assert await ledger.find_tasks(["t1"]) == {"t1"}


async def test_a_promised_edit_is_kept_before_its_first_task(ledger: AnyLedger) -> None:
    """It is found by id and key and owed to the next process, though nothing was submitted."""
    await ledger.promise(EDIT)

    promised = replace(EDIT, promised=True)
    assert await ledger.find("edit_1") == promised
    assert await ledger.find_key("acme", "key-1") == promised
    assert await ledger.owed() == [promised]


async def test_a_promise_that_is_taken_back_is_owed_to_nobody(ledger: AnyLedger) -> None:
    """Without a task nothing is left to do; an edit that has one is owed as any other."""
    await ledger.promise(EDIT)
    await ledger.promise(edit("edit_2"))
    await ledger.intend(replace(edit("edit_2"), promised=True), FIRST)

    for edit_id in ("edit_1", "edit_2", "edit_3"):
        await ledger.unpromise(edit_id)

    assert await ledger.owed() == [replace(edit("edit_2"), tasks=(FIRST,))]
    assert await ledger.find("edit_3") is None


async def test_a_promise_whose_caller_has_left_is_taken_back(ledger: AnyLedger) -> None:
    """Written or not, what is taken back afterwards is not owed."""
    promising = asyncio.ensure_future(ledger.promise(EDIT))  # noqa: TID251 - cancelled in the test
    await asyncio.sleep(0)
    promising.cancel()
    await ledger.unpromise("edit_1")

    assert await ledger.owed() == []


async def test_a_promise_of_a_known_edit_only_marks_it(ledger: AnyLedger) -> None:
    """Neither its end nor its tasks are touched."""
    await ledger.intend(EDIT, FIRST)
    await ledger.end_edit("edit_1", EditState.SUCCEEDED)
    await ledger.promise(EDIT)

    ended = replace(EDIT, state=EditState.SUCCEEDED, promised=True)
    assert await ledger.find("edit_1") == replace(ended, tasks=(FIRST,))


async def test_a_promised_edit_that_was_refused_is_told_by_id_alone(ledger: AnyLedger) -> None:
    """Its key begins a new try, since no task was ever made."""
    await ledger.promise(EDIT)
    await ledger.end_edit("edit_1", EditState.FAILED, ContentRefused("No."))

    found = await ledger.find("edit_1")
    assert found is not None
    assert found.state is EditState.FAILED
    assert await ledger.find_key("acme", "key-1") is None
    assert await ledger.owed() == []


async def _ended(ledger: AnyLedger, edit_id: str = "edit_1", **changes: Any) -> None:
    await ledger.intend(replace(edit(edit_id), **changes), FIRST)
    await ledger.end_edit(edit_id, EditState.SUCCEEDED)


@pytest.mark.parametrize(
    ("ago", "found"), [(601.0, False), (599.0, True), (None, True)], ids=["old", "late", "not"]
)
async def test_which_delivered_edit_a_marked_retry_finds(
    ledger: AnyLedger, ago: float | None, found: bool
) -> None:
    """One whose answer left since then, or never did."""
    await _ended(ledger)
    if ago is not None:
        await ledger.deliver("edit_1", ago=ago)

    known = await ledger.find_delivered("acme", [EDIT.digest], 600.0)

    assert (known is not None) == found


async def test_a_later_answer_counts(ledger: AnyLedger, calendar: Calendar) -> None:
    """The time goes by from the last time that an edit was delivered."""
    await _ended(ledger)
    for _ in range(3):
        calendar.epoch += 500
        assert await ledger.find_delivered("acme", [EDIT.digest], 600.0)
        await ledger.deliver("edit_1")
    calendar.epoch += 601

    assert await ledger.find_delivered("acme", [EDIT.digest], 600.0) is None


async def test_the_last_delivered_is_found(ledger: AnyLedger) -> None:
    """Of several equal ones, by this digest or an earlier one, that whose answer left last."""
    for edit_id, digest, ago in (("one", "d", 9.0), ("two", "e", 7.0), ("three", "d", 8.0)):
        await _ended(ledger, edit_id, digest=digest * 64)
        await ledger.deliver(edit_id, ago=ago)

    found = await ledger.find_delivered("acme", ["d" * 64, "e" * 64], 600.0)

    assert found is not None
    assert found.edit_id == "two"


@pytest.mark.parametrize(
    "changes",
    [{"tenant": "other"}, {"digest": "e" * 64}, {"idempotency_key": "k"}],
    ids=["tenant", "content", "key"],
)
async def test_delivered_to_others(ledger: AnyLedger, changes: dict[str, Any]) -> None:
    """Another tenant's, another content, or one that is found by its key alone."""
    await _ended(ledger, **changes)

    assert await ledger.find_delivered("acme", [EDIT.digest], 600.0) is None


@pytest.mark.parametrize(("retry", "found"), [(False, True), (True, False)])
async def test_a_doubtful_end_is_an_answer_too(ledger: AnyLedger, retry: bool, found: bool) -> None:
    """One that may be billed is told again; one that cost nothing is tried again."""
    await ledger.intend(edit("edit_1"), FIRST)
    await ledger.end_edit("edit_1", EditState.FAILED, TaskLost("It is lost.", retry=retry))
    await ledger.deliver("edit_1")

    known = await ledger.find_delivered("acme", [EDIT.digest], 600.0)

    assert (known is not None) == found


async def test_a_task_is_of_one_part(ledger: AnyLedger) -> None:
    """A task that another edit, or another part, has is not accepted; its own may be again."""
    other = replace(EDIT, edit_id="edit_2")
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(EDIT, SECOND)
    await ledger.intend(other, FIRST)
    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.accept("edit_1", 0, "beijing-main", "t1")

    for edit_id, part in (("edit_2", 0), ("edit_1", 1)):
        with pytest.raises(LedgerConflict):
            await ledger.accept(edit_id, part, "beijing-main", "t1")

    found = await ledger.find("edit_2")
    assert found is not None
    assert found.tasks == (FIRST,)


async def test_what_stands_for_a_task_may_be_told_twice(ledger: AnyLedger) -> None:
    """Models without tasks have no ids that could be mixed up."""
    other = replace(EDIT, edit_id="edit_2")
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(other, FIRST)

    await ledger.accept("edit_1", 0, "beijing-main", "request-unknown")
    await ledger.accept("edit_2", 0, "beijing-main", "request-unknown")

    assert await ledger.find_tasks(["request-unknown"]) == {"request-unknown"}


async def test_accounts_have_their_own_tasks(ledger: AnyLedger) -> None:
    """The same id on two accounts is two tasks."""
    await ledger.intend(EDIT, FIRST)
    await ledger.intend(replace(EDIT, edit_id="edit_2"), replace(FIRST, account="other"))

    await ledger.accept("edit_1", 0, "beijing-main", "t1")
    await ledger.accept("edit_2", 0, "beijing-main", "t1")

    assert await ledger.find_tasks(["t1"]) == {"t1"}
