"""Through the service: what a key or an id finds that no process carries."""

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import NotFound
from gateway.domain.record import EditRecord, TaskRecord, TaskState
from tests.edits.harness import EditHarness, complete
from tests.edits.records import a_record
from tests.fakes import a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


def void_record(harness: EditHarness) -> EditRecord:
    """Return what is left of a keyed edit whose process died between two submits."""
    return a_record(created=harness.clock.epoch(), idempotency_key="k")


async def test_a_void_edit_is_none() -> None:
    """An edit that was asked for and never submitted is neither found nor joined."""
    harness = EditHarness()
    harness.ledger.put(void_record(harness))
    async with harness.service() as service:
        with pytest.raises(NotFound):
            await service.withdraw(harness.tenants[0], "edit_1")
        answer = await complete(service, harness.request(idempotency_key="k"))

    assert answer.status.edit_id != "edit_1"
    assert harness.dashscope.count("submit") == 1


async def test_two_edits_of_one_key() -> None:
    """An edit that was given up ends after its key's next edit began, which keeps the key."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow)))
    async with harness.service() as service, service.attend(harness.request("the busy one")):
        await harness.clock.sleep(0.5)
        async with service.attend(harness.request(idempotency_key="k")) as waiting:
            await service.withdraw(harness.tenants[0], waiting.status.edit_id)
            async with service.attend(harness.request(idempotency_key="k")) as next_one:
                await harness.clock.sleep(1.0)
        again = await complete(service, harness.request(idempotency_key="k"))

    assert waiting.active.life.ended
    assert next_one.status.edit_id != waiting.status.edit_id
    assert again.status.edit_id == next_one.status.edit_id


async def test_delivered_when_it_was_forgotten_already() -> None:
    """A delivery that crosses the hour of forgetting ends well, and is booked as delivered."""
    harness = EditHarness()
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(5.0)
        await harness.clock.sleep(24 * 3600.0 - 60.0)
        async with service.attend(harness.request()) as waiter:
            answer = await waiter.answer()
            await harness.clock.sleep(180.0)
            kept = len(service._index)
            await waiter.delivered()

    assert answer.delivered == 1
    assert kept == 0
    assert harness.observer.of("pictures")[-1][3:] == ("delivered", 1)


async def test_two_who_ask_at_once_for_what_nobody_carries() -> None:
    """It is taken over once, and nothing of it stays when it is forgotten."""
    harness = EditHarness()
    find, task_id = harness.ledger.find, harness.dashscope.stranger("a red cat")
    task = TaskRecord(0, 1, "main", "acct", TaskState.ACCEPTED, intended_at=0.0, task_id=task_id)

    async def slowly(edit_id: str) -> EditRecord | None:
        record = await find(edit_id)
        await harness.clock.sleep(0.1)
        return record

    harness.ledger.find = slowly  # type: ignore[method-assign]  # a disk
    async with harness.service() as service:
        harness.ledger.put(replace(void_record(harness), tasks=(task,)))
        register = service._index
        one, two = await asyncio.gather(
            *(register.find(harness.tenants[0], "edit_1") for _ in "ab")
        )

    assert one is two
