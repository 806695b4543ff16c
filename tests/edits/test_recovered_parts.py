"""Through the service: an edit of several parts of which a restart found only some submitted."""

from dataclasses import replace

import pytest

from gateway.domain.record import EditState, TaskState
from tests.edits.house import House, buy, refusal, whole
from tests.edits.records import a_record, a_task
from tests.fakes import Run
from tests.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio


def half_an_edit(house: House) -> None:
    """Leave behind six pictures in two parts: the first runs, the second was never asked for."""
    task_id = house.world.stranger("a red cat", run=Run(0.0, 20.0))
    house.world.tasks_by_id[task_id].n = 4
    first = replace(a_task(house, TaskState.ACCEPTED, task_id=task_id), n=4)
    house.ledger.put(a_record(EditState.OPEN, first, n=6, digest=house.request(n=6).digest))


async def test_a_retry_brings_the_bytes() -> None:
    """Who comes back while the first part runs gets the rest too; nothing is paid twice."""
    house = House()
    half_an_edit(house)
    async with house.service() as service:
        await house.clock.sleep(5.0)
        answer = await buy(service, house.request(n=6, retry_count=1))

    assert answer.status.edit_id == "edit_1"
    assert [picture[-1:] for picture in whole(answer)] == [b"0", b"1", b"2", b"3", b"0", b"1"]
    assert house.world.count("submit") == 1


async def test_nobody_brings_them() -> None:
    """Once the first part has ended, its pictures are the answer: the rest was never paid."""
    house = House()
    half_an_edit(house)
    async with house.service() as service:
        await house.clock.sleep(60.0)
        answer = await buy(service, house.request(n=6, retry_count=1))

    assert (answer.delivered, answer.requested) == (4, 6)
    assert house.world.count("submit") == 0


def between_two_submits(house: House) -> None:
    """Leave six pictures in two parts behind: of the first nobody knows whether it was made."""
    task_id = house.world.stranger("a red cat", run=Run(0.0, 20.0))
    house.world.tasks_by_id[task_id].n = 4
    first = replace(a_task(house, TaskState.SUBMITTING), n=4)
    house.ledger.put(a_record(EditState.OPEN, first, n=6, digest=house.request(n=6).digest))


async def test_an_uncertain_part_is_waited_for_too() -> None:
    """While the list is asked what became of one part, a retry may bring the other's bytes."""
    house = House()
    between_two_submits(house)
    async with house.service() as service:
        await house.clock.sleep(2.0)
        answer = await buy(service, house.request(n=6, retry_count=1))

    assert [picture[-1:] for picture in whole(answer)] == [b"0", b"1", b"2", b"3", b"0", b"1"]
    assert house.world.count("submit") == 1


async def test_an_uncertain_part_and_nobody_came() -> None:
    """Without the bytes the answer is what was paid for."""
    house = House()
    between_two_submits(house)
    async with house.service() as service:
        await house.clock.sleep(60.0)
        answer = await buy(service, house.request(n=6, retry_count=1))

    assert (answer.delivered, answer.requested) == (4, 6)
    assert house.world.count("submit") == 0


async def test_an_uncertain_part_that_was_none_and_nobody_came() -> None:
    """Two parts without a task and without bytes do not wait for each other."""
    house = House()
    first = replace(a_task(house, TaskState.SUBMITTING), n=4)
    house.ledger.put(a_record(EditState.OPEN, first, n=6, digest=house.request(n=6).digest))
    async with house.service():
        await house.clock.sleep(60.0)

    assert house.ledger.records == []
    assert house.world.count("submit") == 0


class BreakingObserver(RecordingObserver):
    """Breaks the first time that a task of another process is followed."""

    def recovered(self, how: str) -> None:
        first = how == "task_followed" and not self.of("recovered")
        super().recovered(how)
        if first:
            raise KeyError("nobody foresaw this")


async def test_a_part_that_broke_is_not_waited_for() -> None:
    """A bug in one part, and no bytes for another that was never made: the edit still ends."""
    house = House()
    house.observer = BreakingObserver()
    task_id = house.world.stranger("a red cat", run=Run(0.0, 1.0))
    house.world.tasks_by_id[task_id].n = 4
    first = replace(a_task(house, TaskState.ACCEPTED, task_id=task_id), n=4)
    second = replace(a_task(house, TaskState.SUBMITTING), part=1, n=2)
    house.ledger.put(a_record(EditState.OPEN, first, second, n=6, digest=house.request(n=6).digest))
    async with house.service():
        await house.clock.sleep(60.0)

    assert house.ledger.records[0].state is EditState.SUCCEEDED
    assert (len(house.bugs), house.world.count("submit")) == (1, 0)


async def test_a_part_that_was_lost_is_lost_after_each_restart() -> None:
    """A process that finds it written as lost ends the edit in doubt for the next one, too."""
    house = House()
    lost = replace(a_task(house, TaskState.ENDED), outcome="lost")
    house.ledger.put(a_record(EditState.OPEN, lost))
    codes = []
    for _ in range(2):
        async with house.service() as service:
            await house.clock.sleep(10.0)
            codes.append((await refusal(buy(service, house.request()))).code)
            state = house.ledger.records[0].state

    assert codes == ["upstream_task_lost", "upstream_task_lost"]
    assert state is EditState.FAILED
    assert house.world.count("submit") == 0
