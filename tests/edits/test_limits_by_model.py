"""Submits and running tasks, counted by account and model (D113)."""

import asyncio
from itertools import pairwise

import pytest

from gateway.domain.errors import Throttled
from gateway.domain.models import ModelLimits
from gateway.domain.tenant import Account
from tests.edits.accounts import account_state, tickets_queued
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

WAN, OTHER, SLOW, SYNC = "wan2.6-image", "wan2.7-image", "qwen-image-3.0", "qwen-image-edit-plus"
LIMITS = {
    WAN: ModelLimits(5, 5),
    OTHER: ModelLimits(5, 5),
    SLOW: ModelLimits(20 / 60, 10),
    SYNC: ModelLimits(2, 0),
}


def an_account_by_model() -> Account:
    return an_account(by_model=LIMITS, pending_ahead=0)


def a_harness(*names: str) -> EditHarness:
    upstream = an_upstream(account=an_account_by_model())
    return EditHarness(*(a_tenant(name, upstream) for name in names or ("acme",)))


def submits_of(harness: EditHarness, prompts: str) -> list[float]:
    """Return when each task whose prompt begins with *prompts* was made."""
    tasks = harness.dashscope.tasks_by_id.values()
    return sorted(task.made_at for task in tasks if task.prompt.startswith(prompts))


async def test_one_model_may_not_run_what_the_account_may() -> None:
    """The sixth edit of a model waits for a slot of it, though another model has five free."""
    harness = a_harness()
    harness.dashscope.run = Run(0.0, 20.0)
    async with harness.service() as service:
        await asyncio.gather(
            *(complete(service, harness.request(f"cat {n}", model=WAN)) for n in range(6)),
            *(complete(service, harness.request(f"dog {n}", model=OTHER)) for n in range(2)),
        )

    assert submits_of(harness, "cat")[-1] - submits_of(harness, "cat")[0] > 20.0
    assert submits_of(harness, "dog")[-1] - submits_of(harness, "cat")[0] < 5.0


async def test_a_throttled_model_slows_down_alone() -> None:
    """After a 429 for one model the submits of another leave as before."""
    harness = a_harness()
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        harness.dashscope.submits.extend(Submit(Throttled("429")) for _ in range(3))
        group.create_task(complete(service, harness.request("throttled", model=WAN)))
        await harness.clock.sleep(4.0)
        (account,) = service._accounts.values()
        factors = [account.submit_limiter(model).factor for model in (WAN, OTHER)]
        began = harness.clock.now()
        await asyncio.gather(
            *(complete(service, harness.request(f"free {n}", model=OTHER)) for n in range(5))
        )
        took = harness.clock.now() - began

    assert factors[0] < 0.5
    assert factors[1] == 1.0
    assert took < 4.0


async def test_a_limit_by_the_minute_is_kept_without_bursts() -> None:
    """20 per minute is one submit each three seconds, from the first on."""
    harness = a_harness()
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service:
        await asyncio.gather(
            *(complete(service, harness.request(f"cat {n}", model=SLOW)) for n in range(6))
        )

    made = submits_of(harness, "cat")
    assert all(later - earlier >= 3.0 for earlier, later in pairwise(made))
    assert made[-1] - made[0] < 20.0


async def test_tenants_take_turns_for_a_slow_rate() -> None:
    """Twenty edits that wait for a model's submits delay another tenant's by a few submits."""
    harness = a_harness("crowd", "other")
    crowd, other = harness.tenants
    harness.dashscope.run = Run(0.0, 1.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        for n in range(20):
            request = harness.request(f"crowd {n}", model=SLOW, tenant=crowd)
            group.create_task(complete(service, request))
        await harness.clock.sleep(1.0)
        await complete(service, harness.request("other", model=SLOW, tenant=other))

    (own,) = submits_of(harness, "other")
    before = [at for at in submits_of(harness, "crowd") if at < own]
    assert len(before) <= 6


async def test_models_without_tasks_run_without_a_limit() -> None:
    """Their submits are limited by rate alone, though each takes as long as the model works."""
    harness = a_harness()
    harness.dashscope.run = Run(0.0, 30.0)
    async with harness.service() as service:
        began = harness.clock.now()
        await asyncio.gather(
            *(complete(service, harness.request(f"cat {n}", model=SYNC)) for n in range(12))
        )
        took = harness.clock.now() - began

    assert 30.0 < took < 45.0


async def test_an_account_of_several_models_in_a_snapshot() -> None:
    """The slots in use are of all models; the limits are of those that have any."""
    harness = a_harness()
    harness.dashscope.run = Run(0.0, 20.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        for model in (WAN, OTHER, SYNC):
            group.create_task(complete(service, harness.request(model, model=model)))
            await harness.clock.sleep(0.4)
        (seen,) = service.snapshot().accounts.rows

    assert (seen.taken, seen.running_tasks, seen.pending_ahead) == (3, 5 + 5 + 1, 0)
    assert (seen.submits.per_second, seen.submits.factor) == (2, 1.0)


async def test_the_announced_wait_is_that_of_the_model() -> None:
    """A crowd for one model makes nobody wait for another; a slow rate counts as slots do."""
    tenant = a_tenant("acme")
    account = account_state(by_model={**LIMITS, SLOW: ModelLimits(20 / 60, 40)})
    issue = account.queue.issue_ticket
    crowd = [issue(tenant, 1, model=model) for model in (WAN, SLOW) for _ in range(6 + 20)]
    async with tickets_queued(account, *crowd):
        waits = {model: account.expected_wait(tenant, model) for model in (WAN, OTHER, SLOW)}
        loads = {model: account.load(model) for model in (WAN, OTHER, SLOW, SYNC)}

    assert waits[WAN] == 21 * 45.0 / 5
    assert waits[OTHER] == 1.0
    assert waits[SLOW] == pytest.approx((26 - 4 + 1) * 3.0)
    assert loads == {WAN: 20 / 5, OTHER: 0, SLOW: 22 / 40, SYNC: 0}
