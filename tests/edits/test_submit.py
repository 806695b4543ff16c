"""Where a submit goes, what it proves, and what the ledger knows of it before and after."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    IntentExpired,
    InvalidRequest,
    LedgerUnavailable,
    SubmitUncertain,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.record import EditRecord, EditState, TaskRecord
from tests.edits.harness import UNREACHABLE, EditHarness, complete, error_of
from tests.fakes import Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

EXPIRED = IntentExpired("The submit was left unfinished.")
REFUSED_KEY = UpstreamUnavailable("The key is refused.", upstream_code="InvalidApiKey")


def two_keys() -> EditHarness:
    """Return a harness with two keys of one account."""
    return EditHarness(a_tenant("acme", an_upstream("one"), an_upstream("two")))


def two_accounts() -> EditHarness:
    """Return a harness with two accounts."""
    second = an_upstream("second", an_account("acct2"))
    return EditHarness(a_tenant("acme", an_upstream("first"), second))


def submitted_to(harness: EditHarness) -> list[str]:
    return [call.upstream for call in harness.dashscope.calls if call.operation == "submit"]


@pytest.mark.parametrize("make", [two_keys, two_accounts])
@pytest.mark.parametrize("error", [UNREACHABLE, REFUSED_KEY], ids=["unreachable", "refused"])
async def test_next_upstream(make: Callable[[], EditHarness], error: GatewayError) -> None:
    """An upstream that took no task is passed over for the next, and rested for a while."""
    harness = make()
    first, second = (upstream.name for upstream in harness.tenants[0].upstreams)
    harness.dashscope.down[first] = error
    async with harness.service() as service:
        answer = await complete(service, harness.request())
        await complete(service, harness.request("another"))
        harness.dashscope.down.clear()
        await harness.clock.sleep(61.0)
        await complete(service, harness.request("a third"))

    assert answer.delivered == 1
    refused = error is REFUSED_KEY
    after = [first, second] if not refused else [second]  # 5 s are over, 60 s are not
    assert submitted_to(harness)[: 2 + len(after)] == [first, second, *after]
    assert submitted_to(harness)[-1] == first
    downs = [args for args in harness.observer.of("upstream_key") if not args[2]]
    assert downs == ([("beijing", first, False)] if refused else [])
    assert harness.observer.of("upstream_key")[-1] == ("beijing", first, True)
    assert harness.observer.states == {}


@pytest.mark.parametrize("make", [two_keys, two_accounts])
async def test_no_upstream_left(make: Callable[[], EditHarness]) -> None:
    """When none is reachable the client is told so, nothing is open, and a retry may work."""
    harness = make()
    harness.dashscope.down = {u.name: UNREACHABLE for u in harness.tenants[0].upstreams}
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))
        harness.dashscope.down.clear()
        answer = await complete(service, harness.request(retry_count=1))

    assert isinstance(refused, UpstreamUnreachable)
    assert refused.edit_id
    assert refused.edit_id != answer.status.edit_id
    assert [record.state for record in harness.ledger.records] == [EditState.SUCCEEDED]
    assert harness.observer.in_line == 0


async def test_a_tenant_without_upstreams() -> None:
    """A tenant that has no upstream is refused, not forgotten."""
    tenant = replace(a_tenant("poor"), upstreams=())
    harness = EditHarness(tenant, a_tenant())
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(tenant=tenant)))

    assert isinstance(refused, UpstreamUnavailable)


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("bad size"), ContentRefused("no"), GatewayError("other")],
    ids=lambda error: type(error).__name__,
)
async def test_refused_at_submit(error: GatewayError) -> None:
    """What DashScope refuses is refused, once, and leaves nothing open."""
    harness = two_keys()
    harness.dashscope.submits.append(Submit(error, makes=False))
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert (type(refused), refused.message) == (type(error), error.message)
    assert submitted_to(harness) == ["one"]
    assert harness.ledger.records == []
    assert harness.observer.states == {}
    assert [args[2] for args in harness.observer.of("task_failed")] == [error]


async def test_throttled() -> None:
    """A 429 at submit makes the edit wait and halves the account's rate."""
    harness = EditHarness()
    harness.dashscope.submits.extend([Submit(Throttled("slow"), makes=False)] * 5)
    async with harness.service() as service:
        answer = await complete(service, harness.request())
        account = next(iter(service._accounts.values()))

    at = [call.at for call in harness.dashscope.calls if call.operation == "submit"]
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert answer.status.task_ids == ("task-1",)
    assert len(at) == 6
    assert all(wait >= least for wait, least in zip(waits, (1, 2, 4, 8, 8), strict=True))
    assert account.submit_limiter("wan2.5-i2i-preview").factor < 1.0
    assert harness.observer.of("upstream_throttled") == [("beijing", "submit")] * 5


async def test_an_expired_intent_is_void() -> None:
    """A submit that was left unfinished made nothing: it is submitted again, and counted."""
    harness = EditHarness()
    harness.dashscope.submits.extend([Submit(EXPIRED, makes=False)] * 2)
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.status.task_ids == ("task-1",)
    assert harness.dashscope.count("submit") == 3
    assert harness.dashscope.count("tasks") == 0
    assert harness.observer.of("intent_expired") == [("beijing",)] * 2
    assert harness.observer.states == {}


@pytest.mark.parametrize("make", [two_keys, two_accounts])
async def test_a_connection_that_is_too_slow(make: Callable[[], EditHarness]) -> None:
    """After three intents that expired the next upstream is tried, and then it is given up."""
    harness = make()
    first, second = (upstream.name for upstream in harness.tenants[0].upstreams)
    harness.dashscope.submits.extend([Submit(EXPIRED, makes=False)] * 6)
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))

    assert isinstance(refused, UpstreamUnreachable)
    assert refused.retry
    assert not refused.maybe_billed
    assert submitted_to(harness) == [first] * 3 + [second] * 3
    assert harness.ledger.records == []


async def test_an_intent_begins_before_it_is_written() -> None:
    """While the ledger takes longer than an intent lasts, nothing is sent (D103)."""
    harness = EditHarness()
    intend = harness.ledger.intend

    async def slow(edit: EditRecord, task: TaskRecord) -> None:
        await intend(edit, task)
        await harness.clock.sleep(slowness.pop())

    slowness = [1.0, 31.0]
    harness.ledger.intend = slow  # type: ignore[method-assign]
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1
    assert len(harness.observer.of("intent_expired")) == 1
    assert len(harness.dashscope.paid) == 1


async def test_ledger_refuses_later() -> None:
    """Once money is spent the edit goes on though the ledger cannot follow."""
    harness = EditHarness()
    harness.ledger.faults |= {
        name: [LedgerUnavailable("full")] for name in ("accept", "end_task", "end_edit", "deliver")
    }
    async with harness.service() as service:
        answer = await complete(service, harness.request())
        claimed = list(service._runner._with_tasks._resolver._claimed)

    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 1
    assert claimed == []
    assert len(harness.ledger.faults["accept"]) == 0


async def test_no_claim_outlives_its_use() -> None:
    """Once the ledger knows a task nothing else has to remember it."""
    harness = EditHarness()
    async with harness.service() as service:
        await complete(service, harness.request(n=10))

        assert not service._runner._with_tasks._resolver._claimed


@pytest.mark.parametrize("n", [1, 8])
async def test_a_bug_in_a_submit_is_an_uncertain_submit(n: int) -> None:
    """A bug between the intent and the task is settled by the list, and ends no other edit."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        other = group.create_task(complete(service, harness.request("other")))
        await harness.clock.sleep(1.0)
        harness.dashscope.submits.append(Submit(RuntimeError("bug"), makes=False))
        answer = await complete(service, harness.request(n=n))

    assert answer.delivered == n
    assert other.result().delivered == 1
    assert len(harness.dashscope.paid) == 1 + (n + 3) // 4
    assert len(harness.bugs) == 1


async def test_uncertain_part_of_many() -> None:
    """One uncertain part holds up its equals, and no picture is made twice."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(SubmitUncertain("cut")))
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=8))

    assert harness.dashscope.count("submit") == 2
    assert len(set(answer.pictures)) == 8
