"""What is too old, or belongs to nobody, goes; what may be wanted stays."""

import pytest

from gateway.domain.edit import MaskSource
from gateway.domain.errors import LedgerUnavailable, StillRunning
from gateway.domain.record import EditRecord, EditState
from tests.edits.harness import EditHarness, complete
from tests.edits.masked import masked
from tests.fakes import a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

KEPT = MaskSource(original=b"photo", mask=b"hole")


def a_record(harness: EditHarness, edit_id: str, state: EditState) -> EditRecord:
    return EditRecord(
        edit_id=edit_id,
        tenant="acme",
        region="beijing",
        digest="d",
        prompt_digest="p",
        model="wan2.5-i2i-preview",
        n=1,
        response_format="b64_json",
        output_format="png",
        created=harness.clock.epoch() - 60.0,
        state=state,
        composite=True,
        delivered=True,
    )


async def test_at_the_start_orphans_go() -> None:
    """What the ledger does not know, or knows to have failed, is dropped; the rest stays."""
    harness = EditHarness()
    harness.ledger.put(a_record(harness, "done", EditState.SUCCEEDED))
    harness.ledger.put(a_record(harness, "failed", EditState.FAILED))
    for name in ("done", "failed", "unknown"):
        await harness.mask_sources.put(name, KEPT)

    async with harness.service():
        await harness.clock.sleep(1.0)

    assert await harness.mask_sources.list_ids() == ["done"]


async def test_an_edit_in_line_is_no_orphan() -> None:
    """It has no row in the ledger yet, and is known here."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow)))
    async with harness.service() as service, service.attend(harness.request("first")):
        async with service.attend(masked(harness)) as waiter:
            edit_id = waiter.status.edit_id
            await harness.mask_sources.put(edit_id, KEPT)
            await service._expiry._drop_orphans()
            found = await harness.ledger.find(edit_id)

        assert found is None
        assert await harness.mask_sources.list_ids() == [edit_id]


async def test_after_a_day_everything_goes() -> None:
    """With the ledger's row goes what the edit kept."""
    harness = EditHarness()
    async with harness.service() as service:
        await complete(service, masked(harness))
        before = await harness.mask_sources.list_ids()
        await harness.clock.sleep(26 * 3600.0)

        assert len(before) == 1
        assert await harness.mask_sources.list_ids() == []


async def test_a_ledger_that_cannot_tell_drops_nothing() -> None:
    """The next hour tries again."""
    harness = EditHarness()
    await harness.mask_sources.put("unknown", KEPT)
    harness.mask_sources.faults["list_ids"] = [LedgerUnavailable("The disk hangs.")]
    async with harness.service():
        await harness.clock.sleep(60.0)
        first = await harness.mask_sources.list_ids()
        await harness.clock.sleep(3600.0)

        assert first == ["unknown"]
        assert await harness.mask_sources.list_ids() == []


@pytest.mark.parametrize("step", [-25 * 3600.0, 25 * 3600.0])
async def test_a_calendar_that_steps_by_a_day(step: float) -> None:
    """A picture that nobody fetched yet is still there: its retry gets it, and pays nothing."""
    harness = EditHarness()
    async with harness.service() as service:
        with pytest.raises(StillRunning):
            await complete(service, harness.request(patience=1.0))
        await harness.clock.sleep(100.0)
        harness.clock.jump = step
        await harness.clock.sleep(300.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert len(answer.pictures) == 1
    assert harness.dashscope.count("submit") == 1
    assert harness.observer.of("undelivered") == []


async def test_a_ledger_that_cannot_tell_forgets_nothing() -> None:
    """While the ledger is away, nobody knows whether an edit is too old."""
    harness = EditHarness()
    async with harness.service() as service:
        with pytest.raises(StillRunning):
            await complete(service, harness.request(patience=1.0))
        await harness.clock.sleep(100.0)
        harness.clock.jump = 25 * 3600.0
        harness.ledger.faults["find"] = [LedgerUnavailable("The disk hangs.")] * 3
        await harness.clock.sleep(200.0)
        answer = await complete(service, harness.request(retry_count=1))

    assert len(answer.pictures) == 1
