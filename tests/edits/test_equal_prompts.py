"""Edits of one prompt wait for each other and take nothing from others meanwhile (P5, P8)."""

import asyncio

import pytest

from gateway.domain.errors import SubmitUncertain, UpstreamUnreachable
from gateway.edits.fair_queue import FairQueue
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit, a_tenant
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

QUICK = Run(0.0, 2.0)
CUT = SubmitUncertain("The connection was cut.")
TEMPLATE, OTHER = a_tenant("template"), a_tenant("other")


@pytest.mark.parametrize("list_away", [False, True])
async def test_a_lost_answer_holds_one_slot(*, list_away: bool) -> None:
    """While a submit is in doubt, others of its prompt take no slot: other prompts run at once."""
    harness = EditHarness(TEMPLATE, OTHER)
    harness.dashscope.run = QUICK
    harness.dashscope.submits.append(Submit(CUT, makes=False))
    if list_away:
        harness.dashscope.fail("tasks", *[UpstreamUnreachable("away")] * 40)

    async with harness.service() as service, asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(complete(service, harness.request("the same")))
        await harness.clock.sleep(0.5)
        began = harness.clock.now()
        others = [
            group.create_task(complete(service, harness.request(f"another {i}", tenant=OTHER)))
            for i in range(5)
        ]
        await asyncio.gather(*others)
        took = harness.clock.now() - began

    assert took < 5.0
    assert len(harness.dashscope.paid) == 12 + 5
    assert len({task.task_id for task in harness.dashscope.paid}) == 12 + 5


async def test_at_most_one_submit_of_a_prompt_is_open() -> None:
    """Equal prompts of two tenants and of parts of one edit are submitted one after another."""
    harness, open_now, most = EditHarness(TEMPLATE, OTHER), list[str](), 0
    submit = harness.dashscope.submit

    async def counted(*args: object) -> object:
        nonlocal most
        open_now.append("")
        most = max(most, len(open_now))
        try:
            return await submit(*args)  # type: ignore[arg-type]
        finally:
            open_now.pop()

    harness.dashscope.submit = counted  # type: ignore[assignment,method-assign]
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("the same", n=10)))
        group.create_task(complete(service, harness.request("the same", tenant=OTHER)))

    assert most == 1
    assert len(harness.dashscope.paid) == 4


async def test_who_was_held_back_has_saved_nothing_up() -> None:
    """A tenant whose places were all held back does not get all the turns that it missed."""
    queue, clock, order = FairQueue(1), WarpClock(), list[str]()

    async def one(tenant: str, prompt: str | None) -> None:
        ticket = queue.issue_ticket(TEMPLATE if tenant == "template" else OTHER, 1, prompt)
        async with queue.slot(ticket):
            order.append(tenant)
            queue.release_prompt(ticket)
            await clock.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        queue.prompts.take("the same")
        for _ in range(10):
            group.create_task(one("template", "the same"))
        for _ in range(40):
            group.create_task(one("other", None))
        await clock.sleep(19.5)
        queue.prompts.release("the same")

    assert order[:20] == ["other"] * 20
    assert order[20:30].count("template") == 5


async def test_who_was_held_back_comes_before_its_tenants_later_edits() -> None:
    """An edit whose prompt is free again goes in the order in which it came."""
    queue, order = FairQueue(1), list[str]()
    queue.prompts.take("the same")

    async def one(name: str, prompt: str | None, *, until: asyncio.Event | None = None) -> None:
        ticket = queue.issue_ticket(TEMPLATE, 1, prompt)
        async with queue.slot(ticket):
            order.append(name)
            queue.release_prompt(ticket)
            if until is not None:
                await until.wait()

    async with asyncio.TaskGroup() as group:
        ended = asyncio.Event()
        group.create_task(one("first", None, until=ended))
        group.create_task(one("held back", "the same"))
        group.create_task(one("later", None))
        for _ in range(3):
            await asyncio.sleep(0)
        queue.prompts.release("the same")
        ended.set()

    assert order == ["first", "held back", "later"]


async def test_its_place_counts_those_that_are_held_back() -> None:
    """The wait that is told to an edit counts the turns of earlier ones of its prompt."""
    queue = FairQueue(1)
    queue.prompts.take("the same")
    places = [queue.issue_ticket(TEMPLATE, 1, "the same") for _ in range(3)]

    async def wait(index: int) -> None:
        async with queue.slot(places[index]):
            pass

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(index)) for index in range(3)]
        await asyncio.sleep(0)
        turns = [queue.slots_until(TEMPLATE, ticket)[1] for ticket in places]
        waiting[0].cancel()
        await asyncio.sleep(0)
        queue.prompts.release("the same")

    assert turns == [0, 1, 2]
    assert queue.free() == 1
    assert not queue.prompts.held("the same")
