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
from tests.edits.house import House, buy, refusal, whole
from tests.edits.masked import LAID, MASKED, masked
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio


async def test_nothing_is_done_unasked() -> None:
    """DashScope's own bytes go on, the same object."""
    house = House()
    house.finisher.broken = 99
    async with house.service() as service:
        answer = await buy(service, house.request())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert house.mask_sources.calls == ["list_ids"]


@pytest.mark.parametrize("n", [1, 3, 6])
async def test_each_picture_is_finished(n: int) -> None:
    """All pictures of all parts get the form that was asked for, in order."""
    house = House()
    form = OutputOptions(output_format="webp", compression=40)
    async with house.service() as service:
        answer = await buy(service, house.request(n=n, output=form))

    assert len(answer.pictures) == n
    assert all(picture.endswith(b" as webp None") for picture in whole(answer))
    assert answer.form == form


@pytest.mark.parametrize("n", [1, 6])
async def test_a_masked_edit(n: int) -> None:
    """Original and mask are kept before the money is spent, and not held in memory after."""
    house = House()
    async with house.service() as service:
        request = masked(house, n=n)
        async with service.attend(request) as waiter:
            await house.clock.sleep(3.0)
            (active,) = list(service._index)
            held, kept = active.mask_source, await house.mask_sources.list_ids()
            answer = await waiter.answer()
            await waiter.delivered()

    assert (request.mask_source, held) == (None, None)
    assert kept == [answer.status.edit_id]
    assert all(picture.endswith(LAID) for picture in whole(answer))


async def test_what_cannot_be_kept_is_not_bought() -> None:
    """Without a place for original and mask nothing is submitted."""
    house = House()
    house.mask_sources.faults["put"] = [LedgerUnavailable("The disk is full.")] * 1000
    async with house.service() as service:
        refused = await refusal(buy(service, masked(house)))

    assert isinstance(refused, LedgerUnavailable)
    assert house.world.count("submit") == 0
    assert house.ledger.records == []


async def test_throttled_it_is_kept_once() -> None:
    """A submit that is made again needs no second copy."""
    house = House()
    house.world.submits.append(Submit(Throttled("slowly"), makes=False))
    async with house.service() as service:
        answer = await buy(service, masked(house))

    assert house.mask_sources.calls.count("put") == 1
    assert whole(answer)[0].endswith(LAID)


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
    house = House()
    house.world.submits.append(submit)
    async with house.service() as service:
        await refusal(buy(service, masked(house)))

        assert await house.mask_sources.list_ids() == []


async def test_another_process_goes_on() -> None:
    """After a restart the picture is laid into the original that the dead process kept."""
    house = House()
    async with house.service() as service, service.attend(masked(house)):
        await house.clock.sleep(3.0)
        (record,) = house.ledger.records
    async with house.service() as service:
        answer = await buy(service, masked(house, retry_count=1))

    assert record.composite
    assert (record.scale_to, record.state) == (Size(640, 480), EditState.OPEN)
    assert answer.form == MASKED
    assert whole(answer)[0].endswith(LAID)
    assert house.world.count("submit") == 1


async def test_what_was_done_is_told_after_a_restart() -> None:
    """The headers of an answer outlive the process that read the request."""
    house = House()
    request = house.request(output=OutputOptions(output_format="jpeg", compression=0))
    request.edit = replace(request.edit, ignored=("user",), adjusted=("1:rotated",))
    async with house.service() as service:
        edit_id = (await buy(service, request)).status.edit_id
    async with (
        house.service() as service,
        service.collect(
            house.tenants[0], edit_id, patience=60.0, phases=Phases(house.clock.now())
        ) as waiter,
    ):
        answer = await waiter.answer()

    assert answer.form == OutputOptions(output_format="jpeg", compression=0)
    assert (answer.ignored, answer.adjusted) == (("user",), ("1:rotated",))


async def test_a_delivered_edit_can_be_had_again() -> None:
    """By its key and by its id, for as long as the ledger knows it."""
    house = House()
    async with house.service() as service:
        first = await buy(service, masked(house, idempotency_key="k"))
        await house.clock.sleep(7200.0)
        second = await buy(service, masked(house, idempotency_key="k"))

    assert second.replayed
    assert second.pictures == first.pictures
    assert house.world.count("submit") == 1


async def test_a_result_that_cannot_be_read_is_fetched_again() -> None:
    """It was paid for: the download is tried again until it can be finished."""
    house = House()
    house.finisher.broken = 2
    async with house.service() as service:
        answer = await buy(service, masked(house))

    assert whole(answer)[0].endswith(LAID)
    assert house.world.count("download") == 3


async def test_a_mask_source_that_is_gone() -> None:
    """Without its original the picture cannot be answered truthfully, now or later."""
    house = House()
    async with house.service() as service, service.attend(masked(house)) as waiter:
        await house.clock.sleep(3.0)
        await house.mask_sources.drop(waiter.status.edit_id)
        refused = await refusal(waiter.answer())

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry


async def test_a_mask_source_that_cannot_be_read_now() -> None:
    """The disk fails for a moment: the retry joins and has the picture."""
    house = House()
    house.mask_sources.faults["get"] = [LedgerUnavailable("The disk hangs.")]
    async with house.service() as service:
        refused = await refusal(buy(service, masked(house)))
        answer = await buy(service, masked(house, retry_count=1))

    assert refused.retry
    assert whole(answer)[0].endswith(LAID)
    assert house.world.count("submit") == 1
