"""Pictures of edits that wait in the queue leave the memory and come back for the submit."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.domain.edit import MaskSource, Picture
from gateway.domain.errors import LedgerUnavailable, SubmitUncertain, UpstreamUnreachable
from gateway.edits.active_edit import ActiveEdit
from tests.edits.harness import EditHarness, complete, error_of
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream
from tests.models import EDITOR

pytestmark = pytest.mark.anyio

NARROW = an_account(running_tasks=1, pending_ahead=0)


@dataclass
class FakeSpooled:
    kept: tuple[Picture, ...]
    broken: bool = False
    reads: int = 0
    closed: int = 0

    async def pictures(self) -> tuple[Picture, ...]:
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.broken:
            raise LedgerUnavailable("The waiting pictures cannot be read back.")
        return self.kept

    def close(self) -> None:
        self.closed += 1


@dataclass
class FakeSpool:
    broken: bool = False
    full: bool = False
    taken: list[FakeSpooled] = field(default_factory=list)

    async def put(self, pictures: tuple[Picture, ...]) -> FakeSpooled | None:
        await asyncio.sleep(0.01)
        if self.full:
            return None
        self.taken.append(FakeSpooled(pictures, self.broken))
        return self.taken[-1]


def a_harness() -> EditHarness:
    return EditHarness(a_tenant("acme", an_upstream("one", NARROW)))


async def test_one_that_waits_is_spooled() -> None:
    """The first has its turn at once and is not touched; the second waits on the disk."""
    harness, spool = a_harness(), FakeSpool()

    async with harness.service(spool=spool) as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request("first")))
        await harness.clock.sleep(1.0)
        second = group.create_task(complete(service, harness.request("second")))

    assert first.result().delivered == second.result().delivered == 1
    (spooled,) = spool.taken
    assert (spooled.reads, spooled.closed) == (1, 1)


async def test_every_part_reads_for_itself() -> None:
    """An edit of several tasks is spooled once, and read for each submit."""
    harness, spool = a_harness(), FakeSpool()

    async with harness.service(spool=spool) as service:
        answer = await complete(service, harness.request(n=10))

    assert answer.delivered == 10
    assert sum(spooled.reads for spooled in spool.taken) == 2
    assert [spooled.closed for spooled in spool.taken] == [1] * len(spool.taken)


async def test_a_full_disk_changes_nothing() -> None:
    """What the spool does not take stays in memory."""
    harness, spool = a_harness(), FakeSpool(full=True)

    async with harness.service(spool=spool) as service:
        answer = await complete(service, harness.request(n=8))

    assert answer.delivered == 8


async def test_pictures_that_do_not_come_back() -> None:
    """The edit is refused before anything was submitted, and nothing of it stays open."""
    harness, spool = a_harness(), FakeSpool(broken=True)

    async with harness.service(spool=spool) as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("first")))
        await harness.clock.sleep(1.0)
        refused = await error_of(complete(service, harness.request("second")))

    assert refused.code == "ledger_unavailable"
    assert harness.dashscope.count("submit") == 1
    assert spool.taken[0].closed == 1


async def test_it_waits_twice_and_is_spooled_once() -> None:
    """Who waits for another account after the first could not be reached lies on the disk still."""
    other = an_upstream("two", an_account("acct2", running_tasks=1, pending_ahead=0))
    harness, spool = EditHarness(a_tenant("acme", an_upstream("one", NARROW), other)), FakeSpool()
    harness.dashscope.submits.extend([Submit(run=Run(0.0, 30.0)), Submit(run=Run(0.0, 60.0))])

    async with harness.service(spool=spool) as service, asyncio.TaskGroup() as group:
        for prompt in ("holds the one", "holds the two"):
            group.create_task(complete(service, harness.request(prompt)))
            await harness.clock.sleep(1.0)
        harness.dashscope.down["one"] = UpstreamUnreachable("No connection.")
        answer = await complete(service, harness.request("waits for both"))

    (spooled,) = spool.taken
    assert answer.delivered == 1
    assert [c.upstream for c in harness.dashscope.calls if c.operation == "submit"][2:] == [
        "one",
        "two",
    ]
    assert (spooled.reads, spooled.closed) == (2, 1)


@pytest.mark.parametrize(
    ("mask_source", "stays"),
    [
        pytest.param(None, 0, id="unmasked"),
        pytest.param(MaskSource(original=b"123", mask=b"45"), 5, id="masked"),
    ],
)
async def test_what_is_spooled_is_no_memory(mask_source: MaskSource | None, stays: int) -> None:
    """Bytes on the disk leave the budget; original and mask of a masked edit stay in it."""
    kept: list[int] = []
    request = a_harness().request(mask_source=mask_source, keep_only=kept.append)

    await ActiveEdit.begin("edit_1", request, EDITOR, created=0.0).spool(FakeSpool())

    assert kept == [stays]


async def test_spooled_once() -> None:
    """What is on the disk already is not written again, and is read from there."""
    harness, spool = a_harness(), FakeSpool()
    request = harness.request()
    active = ActiveEdit.begin("edit_1", request, EDITOR, created=0.0)

    await active.spool(spool)
    await active.spool(spool)

    assert len(spool.taken) == 1
    assert active.pictures is None
    assert await active.bytes() == request.pictures


async def test_one_that_waits_for_an_equal_prompt_is_spooled() -> None:
    """While the answer of an equal prompt's submit is looked for, the next one lies on the disk."""
    harness, spool = EditHarness(), FakeSpool()
    harness.dashscope.submits.append(Submit(SubmitUncertain("cut"), makes=False))
    async with harness.service(spool=spool) as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(1.0)
        second = group.create_task(complete(service, harness.request(picture=b"second")))

    assert second.result().delivered == 1
    (spooled,) = spool.taken
    assert [picture.content for picture in spooled.kept] == [b"second"]


async def test_promised_while_spooled() -> None:
    """What a 202 keeps takes the place of what the spool held: nothing lies on the disk twice."""
    harness, spool = a_harness(), FakeSpool()

    async with harness.service(spool=spool) as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request("first")))
        await harness.clock.sleep(1.0)
        second = group.create_task(complete(service, harness.request("second")))
        await harness.clock.sleep(1.0)
        async with service.attend(harness.request("second", retry_count=1, promise=True)):
            kept = list(harness.promises.held)
        closed = spool.taken[0].closed

    assert (len(kept), closed, spool.taken[0].reads) == (1, 1, 1)
    assert first.result().delivered == second.result().delivered == 1
    assert harness.promises.held == {}
