"""An answer whose last byte left us and did not arrive: the marked retry gets it again (P2)."""

import asyncio
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions
from gateway.domain.errors import LedgerUnavailable, TaskLost
from gateway.domain.task import TaskStatus
from gateway.domain.tenant import EqualEdits
from tests.edits.harness import EditHarness, complete, error_of, leave_after, picture_bytes
from tests.edits.without_tasks import QWEN
from tests.fakes import Run, a_tenant

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("later", "submits"), [(0.5, 1), (590.0, 1), (610.0, 2)])
async def test_a_marked_retry_gets_the_same_answer(later: float, submits: int) -> None:
    """Within 10 minutes after the last byte it is the same edit; afterwards a new one."""
    harness = EditHarness()
    async with harness.service() as service:
        first = await complete(service, harness.request())
        await harness.clock.sleep(later)
        again = await complete(service, harness.request(retry_count=1))

    assert harness.dashscope.count("submit") == submits
    assert (again.pictures == first.pictures) == (submits == 1)
    assert not again.replayed


async def test_each_answer_may_be_lost() -> None:
    """The ten minutes begin again with each answer, and every retry gets the same pictures."""
    harness = EditHarness()
    async with harness.service() as service:
        answers = [await complete(service, harness.request(n=3))]
        for count in (1, 2, 3):
            await harness.clock.sleep(400.0)
            answers.append(await complete(service, harness.request(n=3, retry_count=count)))

    assert harness.dashscope.count("submit") == 1
    assert len({answer.pictures for answer in answers}) == 1
    assert harness.observer.of("duplicate_prevented") == [("retry_joined",)] * 3
    assert harness.observer.of("pictures") == [
        ("acme", "beijing", "wan2.5-i2i-preview", "delivered", 3)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"n": 6}, id="several tasks"),
        pytest.param({"output": OutputOptions(stream=True)}, id="stream"),
        pytest.param({"model": QWEN}, id="without tasks"),
    ],
)
async def test_in_the_next_process(changes: dict[str, Any]) -> None:
    """A restart between the answer and its retry changes nothing."""
    harness = EditHarness()
    async with harness.service() as service:
        first = await complete(service, harness.request(**changes))
    submits = harness.dashscope.count("submit")
    async with harness.service() as service:
        again = await complete(service, harness.request(retry_count=1, **changes))

    assert picture_bytes(again) == picture_bytes(first)
    assert harness.dashscope.count("submit") == submits


async def test_one_that_was_collected() -> None:
    """What a GET delivered is known to a marked retry of the same content, too."""
    harness = EditHarness()
    async with harness.service() as service:
        waiter = await leave_after(service, harness.request(), 5.0)
        phases = Phases(harness.clock.now())
        edit_id = waiter.status.edit_id
        async with service.collect(
            harness.tenants[0], edit_id, patience=99.0, phases=phases
        ) as collected:
            await collected.answer()
            await collected.delivered()
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.edit_id == edit_id
    assert harness.dashscope.count("submit") == 1


async def test_an_end_that_may_be_billed() -> None:
    """A final error that did not arrive is told again to a marked retry, not paid for again."""
    harness = EditHarness()
    harness.dashscope.run = Run(end=TaskStatus.UNKNOWN, fault=TaskLost("It is lost."))
    async with harness.service() as service:
        first = await error_of(complete(service, harness.request()))
        await harness.clock.sleep(400.0)
        again = await error_of(complete(service, harness.request(retry_count=1)))
        await harness.clock.sleep(300.0)
        unmarked = await error_of(complete(service, harness.request()))

    assert isinstance(first, TaskLost)
    assert (again.code, again.edit_id) == (first.code, first.edit_id)
    assert unmarked.edit_id != first.edit_id
    assert harness.dashscope.count("submit") == 2


async def test_of_two_delivered_the_last() -> None:
    """The retry is most likely that of the answer which left last."""
    harness = EditHarness()
    async with harness.service() as service:
        await complete(service, harness.request())
        second = await complete(service, harness.request())
        again = await complete(service, harness.request(retry_count=1))

    assert again.pictures == second.pictures


async def test_one_that_is_not_delivered_comes_first() -> None:
    """A marked retry of an edit that runs joins that, whatever was delivered before."""
    harness = EditHarness()
    async with harness.service() as service:
        await complete(service, harness.request())
        left = await leave_after(service, harness.request(), 5.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert answer.status.edit_id == left.status.edit_id
    assert harness.dashscope.count("submit") == 2


async def test_two_marked_retries_at_once() -> None:
    """While the ledger is asked for the one the other may begin: they are one edit."""
    harness = EditHarness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        one = group.create_task(complete(service, harness.request(retry_count=1)))
        two = group.create_task(complete(service, harness.request(retry_count=1)))

    assert one.result().status.edit_id == two.result().status.edit_id
    assert harness.dashscope.count("submit") == 1


async def test_never_another_tenants() -> None:
    """Equal content of another tenant is another edit, delivered or not."""
    harness = EditHarness(a_tenant(), a_tenant("other"))
    async with harness.service() as service:
        await complete(service, harness.request())
        await complete(service, harness.request(tenant=harness.tenants[1], retry_count=1))

    assert harness.dashscope.count("submit") == 2


async def test_a_delivery_that_was_not_written() -> None:
    """Where the ledger was away at the last byte, the retry still finds its edit."""
    harness = EditHarness()
    harness.ledger.faults["deliver"] = [LedgerUnavailable("away")]
    async with harness.service() as service:
        first = await complete(service, harness.request())
        again = await complete(service, harness.request(retry_count=1))

    assert again.pictures == first.pictures
    assert harness.dashscope.count("submit") == 1


JOIN = a_tenant(equal_edits=EqualEdits.JOIN)


async def test_behind_a_proxy_that_holds_on() -> None:
    """With equal_edits = "join" unmarked tries are one edit though the first stays connected."""
    harness = EditHarness(JOIN)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        tries = []
        for _ in range(3):
            tries.append(group.create_task(complete(service, harness.request())))
            await harness.clock.sleep(3.0)

    assert harness.dashscope.count("submit") == 1
    assert len({one.result().pictures for one in tries}) == 1
    assert harness.observer.of("duplicate_prevented") == [("in_flight_joined",)] * 2


async def test_join_is_for_what_is_in_flight() -> None:
    """Once the first was served, an equal ask is a new edit: somebody wants another picture."""
    harness = EditHarness(JOIN)
    async with harness.service() as service:
        first = await complete(service, harness.request())
        second = await complete(service, harness.request())

    assert first.pictures != second.pictures


async def test_join_keeps_keys_and_content_apart() -> None:
    """Other content, and another key, is another edit."""
    harness = EditHarness(JOIN)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request()))
        group.create_task(complete(service, harness.request(picture=b"other")))
        group.create_task(complete(service, harness.request(idempotency_key="one")))
        group.create_task(complete(service, harness.request(idempotency_key="two")))

    assert harness.dashscope.count("submit") == 4
