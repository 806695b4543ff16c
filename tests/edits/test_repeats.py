"""Through the service: a request that another node has passed on before, by its edit's id."""

import asyncio

import pytest

from tests.edits.harness import EditHarness, complete, leave_after

pytestmark = pytest.mark.anyio

EDIT_ID = "edit_" + "0" * 32


async def test_begins_by_the_name_that_was_chosen() -> None:
    """An edit is called what the node says that its client is connected to."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await complete(service, harness.request(edit_id=EDIT_ID))

    assert answer.status.edit_id == EDIT_ID


async def test_a_repeat_joins_its_own_edit() -> None:
    """It comes by its id, though an equal edit was left before it; nobody asked twice."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(leave_after(service, harness.request("a blue cat"), 60.0))
        first = group.create_task(complete(service, harness.request(edit_id=EDIT_ID)))
        await harness.clock.sleep(1.0)
        await leave_after(service, harness.request(), 1.0)
        again = await complete(service, harness.request(edit_id=EDIT_ID, repeats=True))

    assert again.pictures == first.result().pictures
    assert again.status.edit_id == EDIT_ID
    assert harness.dashscope.count("submit") == 3
    assert harness.observer.of("duplicate_prevented") == []


async def test_a_repeat_of_what_never_began() -> None:
    """Nothing is known of it: it begins now, by the same name, and is paid once."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await complete(service, harness.request(edit_id=EDIT_ID, repeats=True))

    assert answer.status.edit_id == EDIT_ID
    assert harness.dashscope.count("submit") == 1


async def test_a_repeat_to_the_next_process() -> None:
    """The next owner has the edit from the ledger: its client gets the picture that was paid."""
    harness = EditHarness()
    async with harness.service() as service:
        await leave_after(service, harness.request(edit_id=EDIT_ID), 5.0)
    async with harness.service() as service:
        answer = await complete(service, harness.request(edit_id=EDIT_ID, repeats=True))

    assert answer.status.edit_id == EDIT_ID
    assert harness.dashscope.count("submit") == 1
