"""Pictures are finished as asked for, whoever comes for them and whatever died meanwhile."""

from dataclasses import replace

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions, Size
from gateway.domain.errors import (
    ContentRefused,
    LedgerUnavailable,
    ResultUnavailable,
    Throttled,
    UpstreamUnreachable,
)
from gateway.domain.record import EditState
from gateway.domain.task import TaskStatus
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.edits.masked import LAID, MASKED, masked
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio


async def test_nothing_is_done_unasked() -> None:
    """DashScope's own bytes go on, the same object."""
    harness = EditHarness()
    harness.finisher.broken = 99
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert harness.mask_sources.calls == ["list_ids"]


@pytest.mark.parametrize("n", [1, 3, 6])
async def test_each_picture_is_finished(n: int) -> None:
    """All pictures of all parts get the form that was asked for, in order."""
    harness = EditHarness()
    form = OutputOptions(output_format="webp", compression=40)
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=n, output=form))

    assert len(answer.pictures) == n
    assert all(picture.endswith(b" as webp None") for picture in picture_bytes(answer))
    assert answer.form == form


@pytest.mark.parametrize("n", [1, 6])
async def test_a_masked_edit(n: int) -> None:
    """Original and mask are kept before the money is spent, and not held in memory after."""
    harness = EditHarness()
    async with harness.service() as service:
        request = masked(harness, n=n)
        async with service.attend(request) as waiter:
            await harness.clock.sleep(3.0)
            (active,) = list(service._index)
            held, kept = active.mask_source, await harness.mask_sources.list_ids()
            answer = await waiter.answer()
            await waiter.delivered()

    assert (request.mask_source, held) == (None, None)
    assert kept == [answer.status.edit_id]
    assert all(picture.endswith(LAID) for picture in picture_bytes(answer))


async def test_what_cannot_be_kept_is_not_bought() -> None:
    """Without a place for original and mask nothing is submitted."""
    harness = EditHarness()
    harness.mask_sources.faults["put"] = [LedgerUnavailable("The disk is full.")] * 1000
    async with harness.service() as service:
        refused = await error_of(complete(service, masked(harness)))

    assert isinstance(refused, LedgerUnavailable)
    assert harness.dashscope.count("submit") == 0
    assert harness.ledger.records == []


async def test_what_cannot_be_dropped_ends_well_all_the_same() -> None:
    """Its client gets the edit's own error; the next process drops the original and the mask."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(ContentRefused("no"), takes=5.0, makes=False))
    async with harness.service() as service, service.attend(masked(harness)) as waiter:
        await harness.clock.sleep(1.0)  # the original is kept, the submit is out
        harness.mask_sources.faults["drop"] = [LedgerUnavailable("The disk hangs.")]
        refused = await error_of(waiter.answer())
    left = len(await harness.mask_sources.list_ids())
    async with harness.service():
        await harness.clock.sleep(1.0)

    assert isinstance(refused, ContentRefused)
    assert harness.bugs == []
    assert (left, await harness.mask_sources.list_ids()) == (1, [])


async def test_throttled_it_is_kept_once() -> None:
    """A submit that is made again needs no second copy."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(Throttled("slowly"), makes=False))
    async with harness.service() as service:
        answer = await complete(service, masked(harness))

    assert harness.mask_sources.calls.count("put") == 1
    assert picture_bytes(answer)[0].endswith(LAID)


@pytest.mark.parametrize(
    "submit",
    [
        pytest.param(Submit(ContentRefused("no"), makes=False), id="refused"),
        pytest.param(Submit(UpstreamUnreachable("no"), makes=False), id="unreachable"),
        pytest.param(
            Submit(run=Run(fault=ContentRefused("no"), end=TaskStatus.FAILED)), id="failed"
        ),
    ],
)
async def test_an_edit_without_a_picture_keeps_nothing(submit: Submit) -> None:
    """What ended badly needs neither original nor mask."""
    harness = EditHarness()
    harness.dashscope.submits.append(submit)
    async with harness.service() as service:
        await error_of(complete(service, masked(harness)))

        assert await harness.mask_sources.list_ids() == []


async def test_another_process_goes_on() -> None:
    """After a restart the picture is laid into the original that the dead process kept."""
    harness = EditHarness()
    async with harness.service() as service, service.attend(masked(harness)):
        await harness.clock.sleep(3.0)
        (record,) = harness.ledger.records
    async with harness.service() as service:
        answer = await complete(service, masked(harness, retry_count=1))

    assert record.composite
    assert (record.scale_to, record.state) == (Size(640, 480), EditState.OPEN)
    assert answer.form == MASKED
    assert picture_bytes(answer)[0].endswith(LAID)
    assert harness.dashscope.count("submit") == 1


async def test_what_was_done_is_told_after_a_restart() -> None:
    """The headers of an answer outlive the process that read the request."""
    harness = EditHarness()
    request = harness.request(output=OutputOptions(output_format="jpeg", compression=0))
    request.edit = replace(request.edit, ignored=("user",), adjusted=("1:rotated",))
    async with harness.service() as service:
        edit_id = (await complete(service, request)).status.edit_id
    async with (
        harness.service() as service,
        service.collect(
            harness.tenants[0], edit_id, patience=60.0, phases=Phases(harness.clock.now())
        ) as waiter,
    ):
        answer = await waiter.answer()

    assert answer.form == OutputOptions(output_format="jpeg", compression=0)
    assert (answer.ignored, answer.adjusted) == (("user",), ("1:rotated",))


async def test_a_delivered_edit_can_be_had_again() -> None:
    """By its key and by its id, for as long as the ledger knows it."""
    harness = EditHarness()
    async with harness.service() as service:
        first = await complete(service, masked(harness, idempotency_key="k"))
        await harness.clock.sleep(7200.0)
        second = await complete(service, masked(harness, idempotency_key="k"))

    assert second.replayed
    assert second.pictures == first.pictures
    assert harness.dashscope.count("submit") == 1


async def test_a_result_that_cannot_be_read_is_fetched_again() -> None:
    """It was paid for: the download is tried again until it can be finished."""
    harness = EditHarness()
    harness.finisher.broken = 2
    async with harness.service() as service:
        answer = await complete(service, masked(harness))

    assert picture_bytes(answer)[0].endswith(LAID)
    assert harness.dashscope.count("download") == 3


async def test_a_mask_source_that_is_gone() -> None:
    """Without its original the picture cannot be answered truthfully, now or later."""
    harness = EditHarness()
    async with harness.service() as service, service.attend(masked(harness)) as waiter:
        await harness.clock.sleep(3.0)
        await harness.mask_sources.drop(waiter.status.edit_id)
        refused = await error_of(waiter.answer())

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry


async def test_a_mask_source_that_cannot_be_read_now() -> None:
    """The disk fails for a moment: the retry joins and has the picture."""
    harness = EditHarness()
    harness.mask_sources.faults["get"] = [LedgerUnavailable("The disk hangs.")]
    async with harness.service() as service:
        refused = await error_of(complete(service, masked(harness)))
        answer = await complete(service, masked(harness, retry_count=1))

    assert refused.retry
    assert picture_bytes(answer)[0].endswith(LAID)
    assert harness.dashscope.count("submit") == 1
