"""Through the service: finished pictures are made once for all who read them, within a budget."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions
from gateway.edits.request import EditResult
from gateway.edits.service import EditService
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.edits.masked import masked

pytestmark = pytest.mark.anyio

WEBP = OutputOptions(output_format="webp")


@dataclass
class FakeRoom:
    free: bool = True
    attempts: int = 0
    held: list[int] = field(default_factory=list)

    def begin(self) -> bool:
        self.attempts += 1
        return self.free

    def hold(self, n: int) -> None:
        self.held.append(n)

    def release(self) -> None:
        self.held.append(0)


@dataclass
class Rooms:
    created: list[FakeRoom] = field(default_factory=list)
    free: bool = True

    def of(self, tenant: str) -> FakeRoom:
        assert tenant == "acme"
        self.created.append(FakeRoom(self.free))
        return self.created[-1]


async def read(
    harness: EditHarness,
    service: EditService,
    edit_id: str,
    stack: AsyncExitStack,
    patience: float = 60.0,
) -> EditResult:
    phases = Phases(started=harness.clock.now())
    found = service.collect(harness.tenants[0], edit_id, patience=patience, phases=phases)
    waiter = await stack.enter_async_context(found)
    return await waiter.answer()


@pytest.mark.parametrize("mask", [True, False], ids=["masked", "webp"])
@pytest.mark.parametrize("n", [1, 6])
async def test_twelve_readers(n: int, mask: bool) -> None:
    """Twelve who read an edit at once share its pictures, its original and its room."""
    harness, rooms = EditHarness(), Rooms()
    async with harness.service(memory_of=rooms.of) as service, AsyncExitStack() as stack:
        request = masked(harness, n=n) if mask else harness.request(n=n, output=WEBP)
        edit_id = (await complete(service, request)).status.edit_id
        harness.mask_sources.calls.clear()
        before = harness.dashscope.count("download")
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read(harness, service, edit_id, stack)) for _ in range(12)]
        answers = [reader.result() for reader in readers]
        downloads = harness.dashscope.count("download") - before
        held = list(rooms.created[-1].held)

    assert downloads == n
    assert harness.mask_sources.calls.count("get") == mask
    assert all(
        a is b for one in answers for a, b in zip(one.pictures, answers[0].pictures, strict=True)
    )
    assert held[-1] == sum(map(len, picture_bytes(answers[0])))
    assert len(rooms.created) == 2
    assert rooms.created[-1].held[-1] == 0


async def test_one_after_another() -> None:
    """What nobody reads any more is not held: the next reader has it made again."""
    harness, rooms = EditHarness(), Rooms()
    async with harness.service(memory_of=rooms.of) as service:
        edit_id = (await complete(service, harness.request(output=WEBP))).status.edit_id
        async with AsyncExitStack() as stack:
            await read(harness, service, edit_id, stack)

    assert harness.dashscope.count("download") == 2
    assert [room.held[-1] for room in rooms.created] == [0, 0]


async def test_no_room() -> None:
    """A client waits for room as long as it waits at all, and then may come again."""
    harness, rooms = EditHarness(), Rooms(free=False)
    async with harness.service(memory_of=rooms.of) as service:
        async with service.attend(harness.request(output=WEBP, patience=30.0)) as waiter:
            refused = await error_of(waiter.answer())
        rooms.free = True
        answer = await complete(service, harness.request(output=WEBP, retry_count=1))

    assert (refused.code, refused.retry) == ("result_unavailable", True)
    assert answer.delivered == 1
    assert rooms.created[0].attempts > 10
    assert harness.dashscope.count("submit") == 1


async def test_untouched_pictures_take_no_room() -> None:
    """Pictures that go back as they were made are handed on as they come, and held nowhere."""
    harness, rooms = EditHarness(), Rooms()
    async with harness.service(memory_of=rooms.of) as service:
        await complete(service, harness.request())

    assert rooms.created == []
