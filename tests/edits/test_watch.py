"""The order in which upstream runs what is watched."""

import asyncio

import pytest

from gateway.edits.watch import Watch, Watches
from gateway.polling.schedule import Kind
from tests.fakes import an_upstream

pytestmark = pytest.mark.anyio


def some(count: int) -> list[Watch]:
    return [
        Watch(
            upstream=an_upstream(),
            task_id=str(number),
            kind=Kind("wan2.5-i2i-preview", 1, -1),
            since=0.0,
            ended=asyncio.get_running_loop().create_future(),
        )
        for number in range(count)
    ]


async def test_first_come_first_run() -> None:
    """As many as there are slots may run; the rest wait behind, in order."""
    watches = Watches(2)
    for watch in some(4):
        watches.add(watch)

    assert list(watches.running) == ["0", "1"]
    assert list(watches.behind) == ["2", "3"]
    assert [watch.task_id for watch in watches] == ["0", "1", "2", "3"]


async def test_an_end_moves_the_next_one_up() -> None:
    """The first of those behind takes the place of one that ended."""
    watches, tasks = Watches(2), some(4)
    for watch in tasks:
        watches.add(watch)

    successor = watches.remove(tasks[0])

    assert successor is tasks[2]
    assert list(watches.running) == ["1", "2"]


async def test_one_behind_that_ends_moves_nobody() -> None:
    """One that was cancelled while it waited leaves no slot."""
    watches, tasks = Watches(2), some(4)
    for watch in tasks:
        watches.add(watch)

    assert watches.remove(tasks[2]) is None
    assert list(watches.running) == ["0", "1"]
    assert list(watches.behind) == ["3"]


async def test_one_seen_running_takes_no_place_twice() -> None:
    """One that ran out of turn fills a slot: the next end moves nobody up for it."""
    watches, tasks = Watches(2), some(4)
    for watch in tasks:
        watches.add(watch)
    watches.promote(tasks[3])
    watches.promote(tasks[3])

    assert list(watches.running) == ["0", "1", "3"]
    assert watches.remove(tasks[0]) is None
    assert watches.remove(tasks[1]) is tasks[2]
