"""Through the service: a request that another node has passed on before, by its edit's id."""

import asyncio

import pytest

from gateway.edits.request import EditRequest
from gateway.edits.service import EditService
from tests.edits.harness import EditHarness, complete, leave_after, narrow_harness, slot_taken
from tests.fakes import Run, Submit

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


async def test_repeats_keep_their_order() -> None:
    """Edits that waited at other nodes get the slots by arrival there, whichever comes first."""
    harness = narrow_harness()
    served: list[str] = []

    async def again(service: EditService, name: str, waited: float) -> None:
        request = harness.request(
            name, edit_id=f"edit_{name}", repeats=True, waited=waited, patience=900.0
        )
        await complete(service, request)
        served.append(name)

    arrivals = {"third": 10.0, "first": 30.0, "new": 0.0, "second": 20.0}
    async with (
        harness.service() as service,
        slot_taken(harness, service),
        asyncio.TaskGroup() as group,
    ):
        for name, waited in arrivals.items():
            group.create_task(again(service, name, waited))
            await harness.clock.sleep(0.1)

    assert served == ["first", "second", "third", "new"]


async def test_a_promised_edit_keeps_its_place() -> None:
    """The next process has it from the ledger; what waited for less long comes after it."""
    harness = narrow_harness()
    served: list[str] = []
    harness.dashscope.submits.append(Submit(run=Run(0.0, 60.0)))
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(leave_after(service, harness.request("the busy one"), 21.0))
        await harness.clock.sleep(0.5)
        promised = harness.request("promised", edit_id=EDIT_ID, promise=True)
        await leave_after(service, promised, 20.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:

        async def serve(name: str, request: EditRequest) -> None:
            await complete(service, request)
            served.append(name)

        for name, waited in (("younger", 10.0), ("older", 100.0)):
            request = harness.request(
                name, edit_id=f"edit_{name}", repeats=True, waited=waited, patience=900.0
            )
            group.create_task(serve(name, request))
        group.create_task(
            serve("promised", harness.request(edit_id=EDIT_ID, repeats=True, patience=900.0))
        )

    assert served == ["older", "promised", "younger"]


async def test_a_repeat_began_when_it_was_asked_for() -> None:
    """The time in its answer is that of its arrival at the node of its client."""
    harness = EditHarness()
    async with harness.service() as service:
        began = harness.clock.epoch()
        answer = await complete(service, harness.request(edit_id=EDIT_ID, waited=30.0))

    assert answer.status.created == int(began - 30.0)
