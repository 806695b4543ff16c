"""The account's calls (P7, P18): what is paid for is seen first, whatever else is asked."""

import asyncio

import pytest

from gateway.domain.clock import Phases
from gateway.domain.tenant import Tenant
from gateway.edits.service import EditService
from tests.edits.harness import CUT, EditHarness, complete, leave_after
from tests.fakes import Run, Submit, a_tenant

pytestmark = pytest.mark.anyio


async def collect(harness: EditHarness, service: EditService, tenant: Tenant, edit_id: str) -> None:
    """GET a known edit."""
    phases = Phases(harness.clock.now())
    async with service.collect(tenant, edit_id, patience=300.0, phases=phases) as waiter:
        await waiter.answer()


async def test_a_short_edit_beside_a_crowd_of_gets_and_cancels() -> None:
    """GETs of delivered edits and cancels, three hundred at once, do not delay an edit's end."""
    harness = EditHarness(a_tenant("busy", max_waiting=1000), a_tenant("other"))
    busy, other = harness.tenants
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service:
        edit_id = (await complete(service, harness.request("delivered"))).status.edit_id
        harness.dashscope.run = Run(0.0, 2.0)
        async with asyncio.TaskGroup() as group:
            gets = [group.create_task(collect(harness, service, busy, edit_id)) for _ in range(300)]
            await harness.clock.sleep(0.1)
            began = harness.clock.now()
            await complete(service, harness.request("short", tenant=other))
            took = harness.clock.now() - began
            for get in gets:
                get.cancel()

    assert took < 3.0


async def test_gets_are_fair_among_tenants() -> None:
    """Three hundred GETs of one tenant delay another tenant's GET by a turn."""
    harness = EditHarness(a_tenant("busy"), a_tenant("other"))
    busy, other = harness.tenants
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service:
        of_busy = (await complete(service, harness.request("one"))).status.edit_id
        of_other = (await complete(service, harness.request("two", tenant=other))).status.edit_id
        async with asyncio.TaskGroup() as group:
            gets = [group.create_task(collect(harness, service, busy, of_busy)) for _ in range(300)]
            await harness.clock.sleep(0.1)
            began = harness.clock.now()
            await collect(harness, service, other, of_other)
            took = harness.clock.now() - began
            for get in gets:
                get.cancel()

    assert took < 1.5


async def test_a_doubtful_submit_beside_a_crowd_of_gets() -> None:
    """An uncertain submit is looked for at once, though three hundred GETs wait."""
    harness = EditHarness(a_tenant("busy"), a_tenant("other"))
    busy, other = harness.tenants
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service:
        edit_id = (await complete(service, harness.request("delivered"))).status.edit_id
        async with asyncio.TaskGroup() as group:
            gets = [group.create_task(collect(harness, service, busy, edit_id)) for _ in range(300)]
            await harness.clock.sleep(0.1)
            began = harness.clock.now()
            harness.dashscope.submits.append(Submit(CUT))
            await complete(service, harness.request("doubtful", tenant=other))
            took = harness.clock.now() - began
            for get in gets:
                get.cancel()

    assert took < 10.0
    assert len(harness.dashscope.paid) == 2


async def test_cancels_are_not_urgent() -> None:
    """Three hundred DELETEs of an edit that waits upstream delay nobody else's end."""
    harness = EditHarness(a_tenant("busy"), a_tenant("other"))
    busy, other = harness.tenants
    async with harness.service() as service, asyncio.TaskGroup() as group:
        harness.dashscope.submits.append(Submit(run=Run(pending=60.0)))
        waiting = group.create_task(leave_after(service, harness.request("waits"), 1.0))
        await harness.clock.sleep(0.5)
        (active,) = service._index
        for _ in range(300):
            group.create_task(service.withdraw(busy, active.edit_id))
        await harness.clock.sleep(0.1)
        harness.dashscope.run = Run(0.0, 2.0)
        began = harness.clock.now()
        await complete(service, harness.request("short", tenant=other))
        took = harness.clock.now() - began

    assert waiting.done()
    assert len(harness.dashscope.paid) == 1
    assert took < 4.0
