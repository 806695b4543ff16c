"""What tasks are charged for: told once for each, and with every answer of the edit."""

from dataclasses import replace

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import Picture, Size
from gateway.domain.price import Bill
from gateway.domain.task import TaskStatus
from tests.edits.harness import NARROW, EditHarness, complete, error_of
from tests.edits.without_tasks import a_harness, request
from tests.fakes import Run, a_tenant, an_upstream

pytestmark = pytest.mark.anyio
SIZE = Size(1024, 1024)


def billed(harness: EditHarness) -> list[Bill]:
    return [bill for *_, bill in harness.observer.of("task_billed")]


async def test_each_task() -> None:
    """Each task of an edit has its own bill, for its pictures and for all that were put in."""
    harness = EditHarness()
    request = replace(
        harness.request(n=6, size=SIZE, prompt_extend=True),
        pictures=(Picture(content=b"a"), Picture(content=b"b")),
    )
    async with harness.service() as service:
        answer = await complete(service, request)

    assert answer.bills == (
        Bill((SIZE,) * 4, inputs=2, extended=True),
        Bill((SIZE,) * 2, inputs=2, extended=True),
    )
    assert sorted(billed(harness), key=lambda bill: -len(bill.sizes)) == list(answer.bills)


async def test_what_the_task_tells() -> None:
    """The number of pictures put in by which DashScope bills outranks ours."""
    harness = EditHarness()
    harness.dashscope.inputs = 7
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.bills == (Bill((None,), inputs=7),)


async def test_without_a_client() -> None:
    """A task is billed when it ends, though its client left before and nobody comes back."""
    harness = EditHarness()
    async with harness.service() as service:
        async with service.attend(harness.request()):
            await harness.clock.sleep(5.0)
        await harness.clock.sleep(60.0)
        at_its_end = billed(harness)
        await harness.clock.sleep(25 * 3600.0)

    assert at_its_end == billed(harness) == [Bill((None,), inputs=1)]


async def test_once() -> None:
    """A second answer of the same edit is of the same bill, which is told once."""
    harness = EditHarness()
    harness.dashscope.inputs = 1
    async with harness.service() as service:
        first = await complete(service, harness.request())
        async with service.collect(
            harness.tenants[0],
            first.status.edit_id,
            patience=60.0,
            phases=Phases(harness.clock.now()),
        ) as waiter:
            second = await waiter.answer()

    assert first.bills == second.bills
    assert len(billed(harness)) == 1


@pytest.mark.parametrize(
    ("run", "bills"),
    [
        pytest.param(Run(failed=(1,)), [Bill((None,) * 2, inputs=1)], id="a picture failed"),
        pytest.param(Run(failed=(0, 1, 2)), [], id="all pictures failed"),
        pytest.param(Run(end=TaskStatus.FAILED), [], id="the task failed"),
    ],
)
async def test_only_what_was_made(run: Run, bills: list[Bill]) -> None:
    """Pictures that failed are not billed, and a task without any is not billed at all."""
    harness = EditHarness()
    harness.dashscope.run = run
    async with harness.service() as service:
        if bills:
            await complete(service, harness.request(n=3))
        else:
            await error_of(complete(service, harness.request(n=3)))

    assert billed(harness) == bills


async def test_after_a_restart() -> None:
    """The next process bills the task that it followed to its end; what it tells is enough."""
    harness = EditHarness()
    harness.dashscope.inputs = 2
    async with harness.service() as service, service.attend(harness.request()):
        await harness.clock.sleep(5.0)
    async with harness.service() as service:
        answer = await complete(service, harness.request(retry_count=1))

    assert billed(harness) == list(answer.bills) == [Bill((None,), inputs=2)]


async def test_a_retry_after_a_restart() -> None:
    """The pictures that a retry brings for a part that was not submitted are counted, too."""
    harness = EditHarness(a_tenant("acme", an_upstream(account=NARROW)))
    pictures = (Picture(content=b"in"), Picture(content=b"other"))
    async with harness.service() as service:
        async with service.attend(replace(harness.request(n=5), pictures=pictures)):
            await harness.clock.sleep(5.0)
        submitted = harness.dashscope.count("submit")
    async with harness.service() as service:
        await complete(service, replace(harness.request(n=5, retry_count=1), pictures=pictures))

    assert submitted == 1
    assert billed(harness) == [Bill((None,) * 4, inputs=2), Bill((None,), inputs=2)]


async def test_a_model_without_tasks_after_a_restart() -> None:
    """What its answer told, and that the prompt was rewritten, is kept with its pictures."""
    harness = a_harness()
    async with harness.service() as service:
        async with service.attend(request(harness, prompt_extend=True)):
            await harness.clock.sleep(20.0)
        kept = billed(harness)
    async with harness.service() as service:
        answer = await complete(service, request(harness, prompt_extend=True, retry_count=1))

    assert kept == [Bill((None,), inputs=1, extended=True)]
    assert [bill.extended for bill in answer.bills] == [True]
    assert billed(harness) == kept
