"""Whoever asks again, marked, by key or by chance: which edit they get, who pays twice (P2)."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import GatewayError, TaskLost
from gateway.domain.task import TaskStatus
from tests.edits.harness import EditHarness, complete, error_of, leave_after
from tests.fakes import Run, Submit, a_tenant

pytestmark = pytest.mark.anyio


async def test_marked_retry_joins_while_the_first_is_connected() -> None:
    """A retry that says so joins, though the first try's connection seems open."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(5.0)
        second = group.create_task(complete(service, harness.request(retry_count=1)))

    assert harness.dashscope.count("submit") == 1
    assert first.result().pictures == second.result().pictures
    assert harness.observer.of("duplicate_prevented") == [("retry_joined",)]


async def test_unmarked_repeat_is_a_second_edit_while_the_first_is_connected() -> None:
    """Two equal asks of connected clients are two edits with two pictures."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(1.0)
        second = group.create_task(complete(service, harness.request()))

    assert harness.dashscope.count("submit") == 2
    assert first.result().pictures != second.result().pictures


async def test_unmarked_repeat_joins_when_nobody_is_connected() -> None:
    """A person who presses the button again gets the edit that they left."""
    harness = EditHarness()
    async with harness.service() as service:
        await leave_after(service, harness.request(), 5.0)
        answer = await complete(service, harness.request())

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)
    assert harness.observer.of("duplicate_prevented") == [("in_flight_joined",)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"prompt": "a blue cat"}, id="prompt"),
        pytest.param({"picture": b"other"}, id="picture"),
        pytest.param({"n": 2}, id="n"),
        pytest.param({"tenant": a_tenant("other")}, id="tenant"),
        pytest.param({"idempotency_key": "k"}, id="key"),
    ],
)
async def test_other_content_is_another_edit(changes: dict[str, Any]) -> None:
    """A retry joins only an edit of its own tenant and content."""
    harness = EditHarness(a_tenant(), a_tenant("other"))
    async with harness.service() as service:
        await leave_after(service, harness.request(), 5.0)
        await complete(service, harness.request(retry_count=1, **changes))

    assert harness.dashscope.count("submit") == 2


async def test_delivered_is_not_joined() -> None:
    """Once it was delivered, an equal ask without a mark is a new edit."""
    harness = EditHarness()
    async with harness.service() as service:
        await complete(service, harness.request())
        await complete(service, harness.request())

    assert harness.dashscope.count("submit") == 2


async def test_each_retry_finds_its_own_edit() -> None:
    """Of two equal edits that were left, two retries get one each."""
    harness = EditHarness()
    async with harness.service() as service:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave_after(service, harness.request(), 5.0))
            group.create_task(leave_after(service, harness.request(), 5.0))
        async with asyncio.TaskGroup() as group:
            one = group.create_task(complete(service, harness.request(retry_count=1)))
            two = group.create_task(complete(service, harness.request(retry_count=1)))

    assert harness.dashscope.count("submit") == 2
    assert one.result().status.edit_id != two.result().status.edit_id


async def test_ended_while_nobody_was_there() -> None:
    """A picture that came while nobody was connected waits for its client."""
    harness = EditHarness()
    async with harness.service() as service:
        await leave_after(service, harness.request(), 5.0)
        await harness.clock.sleep(3600.0)
        answer = await complete(service, harness.request())

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


async def test_key_joins_replays_and_conflicts() -> None:
    """The same key joins, then replays for 24 h; with other content it is refused."""
    harness = EditHarness()
    async with harness.service() as service:
        await leave_after(service, harness.request(idempotency_key="k"), 5.0)
        joined = await complete(service, harness.request(idempotency_key="k"))
        await harness.clock.sleep(3600.0)
        replayed = await complete(service, harness.request(idempotency_key="k"))
        refused = await error_of(complete(service, harness.request("other", idempotency_key="k")))

    assert harness.dashscope.count("submit") == 1
    assert not joined.replayed
    assert replayed.replayed
    assert replayed.pictures == joined.pictures
    assert refused.status == 422
    assert refused.code == "idempotency_key_reused"
    results = [result for (result,) in harness.observer.of("idempotency")]
    assert results == ["new", "joined", "replayed", "conflict"]


async def test_key_belongs_to_its_tenant() -> None:
    """Another tenant's equal key is another key."""
    harness = EditHarness(a_tenant(), a_tenant("other"))
    async with harness.service() as service:
        await complete(service, harness.request(idempotency_key="k"))
        await complete(
            service, harness.request("other", tenant=a_tenant("other"), idempotency_key="k")
        )

    assert harness.dashscope.count("submit") == 2


async def test_failure_that_may_pass_is_not_replayed() -> None:
    """The key of an edit that failed for their reason may be used again."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(run=Run(end=TaskStatus.FAILED)))
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request(idempotency_key="k")))
        answer = await complete(service, harness.request(idempotency_key="k"))

    assert refused.code == "upstream_failed"
    assert answer.status.task_ids == ("task-2",)
    assert not answer.replayed


async def test_failure_that_stays_is_replayed() -> None:
    """A loss that cannot be told apart stays one: its key never submits again."""
    harness = EditHarness()
    lost = Run(end=TaskStatus.CANCELED, fault=TaskLost("Gone for good."))
    harness.dashscope.submits.append(Submit(run=lost))
    async with harness.service() as service:
        first = await error_of(complete(service, harness.request(idempotency_key="k")))
        second = await error_of(complete(service, harness.request(idempotency_key="k")))

    assert harness.dashscope.count("submit") == 1
    assert (type(first), first.message) == (type(second), second.message)
    assert first.edit_id == second.edit_id


async def test_refused_before_a_submit_is_not_kept() -> None:
    """A refusal by DashScope at submit made no task: the same key may try again."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(GatewayError("no"), makes=False))
    async with harness.service() as service:
        await error_of(complete(service, harness.request(idempotency_key="k")))
        answer = await complete(service, harness.request(idempotency_key="k"))

    assert answer.status.task_ids == ("task-1",)
    assert len(harness.ledger.records) == 1
