"""Through the desk: finished pictures are made once for all who read them, within a budget."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from gateway.domain.edit import AnswerForm
from gateway.domain.phases import Phases
from gateway.journey.ask import Answer
from gateway.journey.desk import Desk
from tests.journey.house import House, buy, refusal, whole
from tests.journey.masked import masked

pytestmark = pytest.mark.anyio

WEBP = AnswerForm(output_format="webp")


@dataclass
class FakeRoom:
    free: bool = True
    asked: int = 0
    held: list[int] = field(default_factory=list)

    def begin(self) -> bool:
        self.asked += 1
        return self.free

    def hold(self, n: int) -> None:
        self.held.append(n)

    def release(self) -> None:
        self.held.append(0)


@dataclass
class Rooms:
    made: list[FakeRoom] = field(default_factory=list)
    free: bool = True

    def of(self, tenant: str) -> FakeRoom:
        assert tenant == "acme"
        self.made.append(FakeRoom(self.free))
        return self.made[-1]


async def read(
    house: House, desk: Desk, edit_id: str, stack: AsyncExitStack, patience: float = 60.0
) -> Answer:
    phases = Phases(started=house.clock.now())
    known = desk.collect(house.tenants[0], edit_id, patience=patience, phases=phases)
    visit = await stack.enter_async_context(known)
    return await visit.answer()


@pytest.mark.parametrize("mask", [True, False], ids=["masked", "webp"])
@pytest.mark.parametrize("n", [1, 6])
async def test_twelve_readers(n: int, mask: bool) -> None:
    """Twelve who read an edit at once share its pictures, its original and its room."""
    house, rooms = House(), Rooms()
    async with house.desk(room_of=rooms.of) as desk, AsyncExitStack() as stack:
        ask = masked(house, n=n) if mask else house.ask(n=n, answer=WEBP)
        edit_id = (await buy(desk, ask)).told.edit_id
        house.keepsakes.calls.clear()
        before = house.world.count("download")
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read(house, desk, edit_id, stack)) for _ in range(12)]
        answers = [reader.result() for reader in readers]
        downloads = house.world.count("download") - before
        held = list(rooms.made[-1].held)

    assert downloads == n
    assert house.keepsakes.calls.count("get") == mask
    assert all(
        a is b for one in answers for a, b in zip(one.pictures, answers[0].pictures, strict=True)
    )
    assert held[-1] == sum(map(len, whole(answers[0])))
    assert len(rooms.made) == 2
    assert rooms.made[-1].held[-1] == 0


async def test_one_after_another() -> None:
    """What nobody reads any more is not held: the next reader has it made again."""
    house, rooms = House(), Rooms()
    async with house.desk(room_of=rooms.of) as desk:
        edit_id = (await buy(desk, house.ask(answer=WEBP))).told.edit_id
        async with AsyncExitStack() as stack:
            await read(house, desk, edit_id, stack)

    assert house.world.count("download") == 2
    assert [room.held[-1] for room in rooms.made] == [0, 0]


async def test_no_room() -> None:
    """A customer waits for room as long as it waits at all, and then may come again."""
    house, rooms = House(), Rooms(free=False)
    async with house.desk(room_of=rooms.of) as desk:
        async with desk.attend(house.ask(answer=WEBP, patience=30.0)) as visit:
            refused = await refusal(visit.answer())
        rooms.free = True
        answer = await buy(desk, house.ask(answer=WEBP, retry_count=1))

    assert (refused.code, refused.retry) == ("result_unavailable", True)
    assert answer.delivered == 1
    assert rooms.made[0].asked > 10
    assert house.world.count("submit") == 1


async def test_untouched_pictures_take_no_room() -> None:
    """Pictures that go back as they were made are handed on as they come, and held nowhere."""
    house, rooms = House(), Rooms()
    async with house.desk(room_of=rooms.of) as desk:
        await buy(desk, house.ask())

    assert rooms.made == []
