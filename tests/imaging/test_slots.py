"""gateway.imaging.slots."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.domain.errors import Overloaded
from gateway.imaging.slots import SMALL, DecodeSlots, SlotClaim

pytestmark = pytest.mark.anyio

LARGE = 10 * SMALL
MEMORY = 15 * SMALL


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class QueueHarness:
    """Jobs that take a turn and keep it until they are told to end."""

    def __init__(self, turns: DecodeSlots, group: asyncio.TaskGroup) -> None:
        self._slots = turns
        self._group = group
        self._ends: dict[str, asyncio.Event] = {}
        self.began: list[str] = []

    def come(self, *names: str, cost: int = 0) -> None:
        """Each name's first letter is its tenant."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._group.create_task(self._job(name, cost))

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()

    async def _job(self, name: str, cost: int) -> None:
        await self._slots.take(SlotClaim(name[0]), cost)
        self.began.append(name)
        await self._ends[name].wait()
        self._slots.release(name[0], cost)


async def order(
    turns: DecodeSlots, first: Sequence[str], then: Sequence[str], end: Sequence[str]
) -> str:
    """Return who began in which order when *end* end one after another."""
    async with asyncio.TaskGroup() as group:
        line = QueueHarness(turns, group)
        line.come(*first)
        await settle()
        line.come(*then)
        await settle()
        await line.end(*end)
        began = " ".join(line.began)
        for name in (*first, *then):
            await line.end(name)
    return began


async def test_a_tenant_s_many_pictures_do_not_hold_up_another() -> None:
    """One that has nothing running gets a thread at once, beyond those that one tenant can fill."""
    turns = DecodeSlots(threads=2, memory=MEMORY)

    began = await order(turns, ["a1", "a2", "a3", "a4"], ["b1", "c1"], [])

    assert began == "a1 a2 b1"


async def test_turns_go_round() -> None:
    """The next turn goes to who has the least running, then to who has waited longest for one."""
    turns = DecodeSlots(threads=2, memory=MEMORY)

    began = await order(
        turns, ["a1", "a2"], ["a3", "a4", "b1", "b2", "c1"], ["a1", "a2", "b1", "c1", "a3"]
    )

    assert began == "a1 a2 b1 c1 a3 b2 a4"


async def test_one_tenant_alone_has_all_threads_but_the_spare() -> None:
    """It is never given the one that stands ready for others."""
    turns = DecodeSlots(threads=3, memory=MEMORY)

    assert await order(turns, ["a1", "a2", "a3", "a4"], [], []) == "a1 a2 a3"


async def test_large_pictures_share_the_memory() -> None:
    """Two that do not fit together come one after the other; a small one does not wait for them."""
    turns = DecodeSlots(threads=3, memory=MEMORY)

    async with asyncio.TaskGroup() as group:
        line = QueueHarness(turns, group)
        line.come("a1", "b1", cost=LARGE)
        await settle()
        line.come("c1", cost=2 * SMALL)
        line.come("b2", "d1", cost=SMALL)
        await settle()
        before = list(line.began)
        await line.end("a1")
        after = list(line.began)
        await line.end("b1", "c1", "b2", "d1")

    assert before == ["a1", "d1"]
    assert after == ["a1", "d1", "b1", "c1"]


async def test_the_pictures_of_one_request() -> None:
    """Its next picture goes before all requests of its tenant that came after it."""
    turns = DecodeSlots(threads=1, memory=MEMORY)
    began: list[str] = []

    async def decode(name: str, claim: SlotClaim) -> None:
        await turns.take(claim, 0)
        began.append(name)
        turns.release("a", 0)

    early = SlotClaim("a", since=1.0)
    await turns.take(SlotClaim("a", since=0.5), 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(decode("early, second", SlotClaim("a", since=2.0)))
        group.create_task(decode("late", SlotClaim("a", since=3.0)))
        group.create_task(decode("early", early))
        group.create_task(decode("paid", SlotClaim("a")))
        await settle()
        turns.release("a", 0)

    assert began == ["paid", "early", "early, second", "late"]


async def test_one_that_leaves_from_the_middle() -> None:
    """It takes no slot when those before it have had theirs."""
    turns = DecodeSlots(threads=1, memory=MEMORY)

    async with asyncio.TaskGroup() as group:
        line = QueueHarness(turns, group)
        line.come("a1")
        await settle()
        line.come("a2")
        await settle()
        leaving = group.create_task(turns.take(SlotClaim("a"), 0))
        await settle()
        line.come("a3")
        await settle()
        leaving.cancel()
        await line.end("a1", "a2", "a3")
        began = list(line.began)

    assert began == ["a1", "a2", "a3"]
    assert not turns.busy


async def test_patience_that_is_over() -> None:
    """Who waits no longer is refused, and the next turn goes to the one behind."""
    turns = DecodeSlots(threads=1, memory=MEMORY)
    await turns.take(SlotClaim("a"), 0)

    with pytest.raises(Overloaded) as caught:
        await turns.take(SlotClaim.of("a", 0.0), 0)
    turns.release("a", 0)
    await turns.take(SlotClaim("a"), 0)

    assert caught.value.retry_after == 5
    assert turns.busy


async def test_a_turn_given_while_leaving_goes_on() -> None:
    """Who leaves in the moment of its turn holds no thread, nor memory."""
    turns = DecodeSlots(threads=1, memory=MEMORY)
    await turns.take(SlotClaim("a"), LARGE)

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(turns.take(SlotClaim("a"), LARGE))
        behind = group.create_task(turns.take(SlotClaim("a"), LARGE))
        await settle()
        turns.release("a", LARGE)
        leaving.cancel()

    assert leaving.cancelled()
    assert not behind.cancelled()


async def test_a_large_one_that_leaves_lets_others_by() -> None:
    """What waited behind it for memory has its turn."""
    turns = DecodeSlots(threads=3, memory=MEMORY)
    await turns.take(SlotClaim("a"), LARGE)

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(turns.take(SlotClaim("b"), LARGE))
        behind = group.create_task(turns.take(SlotClaim("c"), 2 * SMALL))
        await settle()
        waited = not behind.done()
        leaving.cancel()

    assert waited


async def test_a_turn_that_comes_free_while_one_leaves() -> None:
    """Who has been cancelled, but has not run since, is given no turn that others wait for."""
    turns = DecodeSlots(threads=1, memory=MEMORY)
    await turns.take(SlotClaim("a"), LARGE)

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(turns.take(SlotClaim("a"), LARGE))
        behind = group.create_task(turns.take(SlotClaim("a"), LARGE))
        await settle()
        leaving.cancel()
        turns.release("a", LARGE)

    assert leaving.cancelled()
    assert not behind.cancelled()
    turns.release("a", LARGE)
    assert not turns.busy
