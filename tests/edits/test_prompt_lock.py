"""The prompt is let go only when the ledger says what memory says, whatever it refuses (I6, D4)."""

import asyncio
from contextlib import suppress
from random import Random

import pytest

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    IntentExpired,
    LedgerUnavailable,
    SubmitUncertain,
    Throttled,
)
from gateway.domain.intent import Intent
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from gateway.domain.task import Accepted
from gateway.domain.tenant import Upstream
from tests.edits.harness import EditHarness, complete
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

    async def submit(
        self,
        upstream: Upstream,
        edit: Edit,
        part: Part,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted:
        tasks = [task for record in self.ledger.records for task in record.tasks]
        self.rows.append(sum(task.state is TaskState.SUBMITTING for task in tasks))
        return await super().submit(upstream, edit, part, pictures, intent)


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
