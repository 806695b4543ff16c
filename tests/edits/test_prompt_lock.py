"""The prompt is let go only when the ledger says what memory says, whatever it refuses (I6, D4)."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    IntentExpired,
    LedgerUnavailable,
    SubmitUncertain,
    Throttled,
)
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from gateway.domain.task import Accepted
from gateway.domain.tenant import Upstream
from tests.edits.harness import EditHarness, complete, error_of
from tests.fake_stores import FakeLedger
from tests.fakes import FakeDashScope, Run, Submit

pytestmark = pytest.mark.anyio

AWAY = LedgerUnavailable("The disk is full.")
_WAYS = (
    Submit(run=Run(0.0, 3.0)),
    Submit(SubmitUncertain("The connection was cut.")),
    Submit(SubmitUncertain("The connection was cut."), makes=False),
    Submit(Throttled("Slowly."), makes=False),
    Submit(IntentExpired("It was left unfinished."), makes=False),
    Submit(ContentRefused("No."), makes=False),
)


class WrittenAndFailed(FakeLedger):
    """Some intents are on the disk though the ledger said that it could not write them."""

    def __init__(self, harness: EditHarness, dice: Random) -> None:
        super().__init__(harness.clock.now)
        self.dice = dice

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        await super().intend(edit, task)
        if self.dice.random() < 0.2:
            raise AWAY


class Watched(FakeDashScope):
    """Notes how many submits are open in the ledger when one is sent."""

    ledger: FakeLedger

    def __init__(self, harness: EditHarness) -> None:
        super().__init__(harness.clock)
        self.rows: list[int] = []

    async def submit(self, upstream: Upstream, *given: Any, **named: Any) -> Accepted:
        tasks = [task for record in self.ledger.records for task in record.tasks]
        self.rows.append(sum(task.state is TaskState.SUBMITTING for task in tasks))
        return await super().submit(upstream, *given, **named)


@pytest.mark.parametrize("seed", range(25))
async def test_one_open_submit_of_a_prompt_in_the_ledger(seed: int) -> None:
    """When one is sent the ledger names no other of that prompt as open, and each is paid once."""
    dice = Random(seed)
    harness = EditHarness()
    harness.ledger = ledger = WrittenAndFailed(harness, dice)
    harness.dashscope = dashscope = Watched(harness)
    dashscope.ledger = ledger
    dashscope.submits.extend(dice.choices(_WAYS, k=8))
    ledger.faults = {
        name: [dice.choice((AWAY, AWAY, None)) for _ in range(dice.randrange(12))]
        for name in ("intend", "accept", "void", "end_task", "end_edit", "find_tasks")
    }

    async with harness.service() as service, asyncio.TaskGroup() as group:

        async def come(source: bytes) -> None:
            await harness.clock.sleep(dice.uniform(0.0, 5.0))
            with suppress(GatewayError):
                await complete(service, harness.request(picture=source, patience=300.0))

        for source in (b"first", b"second", b"third"):
            group.create_task(come(source))

    assert dashscope.rows
    assert set(dashscope.rows) == {1}
    assert len(dashscope.paid) <= 3


BUG = KeyError("nobody foresaw this")
_BUGS = [
    pytest.param({}, [Submit(BUG)], [], id="in the submit"),
    pytest.param({}, [Submit(BUG, makes=False)], [], id="before it made anything"),
    pytest.param({}, [Submit(BUG, after=4.0)], [BUG], id="while it is settled, too"),
    pytest.param({"accept": [BUG]}, [], [], id="in the write of its task"),
    pytest.param({"intend": [BUG]}, [], [], id="in its intent"),
]


def _watched() -> tuple[EditHarness, Watched]:
    harness = EditHarness()
    harness.dashscope = dashscope = Watched(harness)
    dashscope.ledger = harness.ledger
    return harness, dashscope


@pytest.mark.parametrize(("faults", "submits", "lists"), _BUGS)
async def test_a_bug_lets_no_equal_prompt_pass(
    faults: dict[str, list[Exception | None]], submits: list[Submit], lists: list[Exception]
) -> None:
    """What broke goes on a second later (D70); until its submit is known, an equal one waits."""
    harness, dashscope = _watched()
    harness.ledger.faults = faults
    dashscope.submits.extend(submits)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request(picture=b"first")))
        await harness.clock.sleep(0.01)
        dashscope.fail("tasks", *lists)
        second = group.create_task(complete(service, harness.request(picture=b"second")))

    assert set(dashscope.rows) == {1}
    made = {task.source: task.task_id for task in dashscope.paid}
    for source, buyer in ((b"first", first), (b"second", second)):
        assert buyer.result().pictures == (b"%s|a red cat|%s|0" % (made[source].encode(), source),)
    assert len(dashscope.paid) == 2
    assert len(harness.bugs) == 1 + len(lists)
    rows = [task for record in harness.ledger.records for task in record.tasks]
    assert {it.state for it in rows} == {TaskState.ENDED}
    assert {it.task_id for it in rows} == set(made.values())


async def test_a_bug_that_stays_does_not_lock_its_prompt_for_ever() -> None:
    """After the third the edit ends, and others of its prompt go on."""
    harness, dashscope = _watched()
    dashscope.submits.append(Submit(BUG))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(error_of(complete(service, harness.request(picture=b"first"))))
        await harness.clock.sleep(0.01)
        dashscope.fail("tasks", BUG, BUG)
        second = group.create_task(complete(service, harness.request(picture=b"second")))

    assert first.result().code == "internal_error"
    assert second.result().delivered == 1
    assert len(harness.bugs) == 3
