"""A calendar that is wrong, or steps by days, neither hides nor deletes what may be wanted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.domain.record import EditState
from gateway.ledger.sqlite import SqliteLedger, boot_id
from tests.ledger.records import DAY, EDIT, FIRST, Calendar, edit

pytestmark = pytest.mark.anyio


class Elapsed:
    """A clock that only goes on."""

    def __init__(self) -> None:
        self.seconds = 5_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


def opened(path: Path, calendar: Calendar, elapsed: Elapsed, boot: str = "boot-1") -> SqliteLedger:
    return SqliteLedger(path, sync="normal", epoch=calendar, elapsed=elapsed, boot=boot)


async def begun(ledger: SqliteLedger) -> None:
    """Have an edit that is open, and one that succeeded and was delivered."""
    await ledger.intend(edit("open"), FIRST)
    await ledger.intend(edit("done", key="key-1"), FIRST)
    await ledger.end_edit("done", EditState.SUCCEEDED)
    await ledger.deliver("done")


async def there(ledger: SqliteLedger) -> tuple[bool, bool, bool]:
    """Say whether the open one is owed, and the other is found by id and by key."""
    owed = [record.edit_id for record in await ledger.owed()]
    by_key = await ledger.find_key("acme", "key-1")
    return owed == ["open"], await ledger.find("done") is not None, by_key is not None


@pytest.mark.parametrize("step", [-400 * DAY, -DAY, DAY, 400 * DAY])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_step_of_days(
    path: Path, calendar: Calendar, elapsed: Elapsed, step: float, restart: bool
) -> None:
    """Minutes after its beginning an edit is there, whatever the calendar says by then."""
    async with opened(path, calendar, elapsed) as ledger:
        await begun(ledger)
        calendar.epoch += step
        elapsed.seconds += 600
        if not restart:
            await ledger.intend(edit("next", age=-step), FIRST)
            await ledger.end_edit("next", EditState.DROPPED)
            assert await there(ledger) == (True, True, True)
    async with opened(path, calendar, elapsed) as ledger:
        assert await there(ledger) == (True, True, True)


async def test_a_day_in_all_its_processes(path: Path, calendar: Calendar, elapsed: Elapsed) -> None:
    """The hours of all processes of a boot add up, and so do those that lie between them."""
    async with opened(path, calendar, elapsed) as ledger:
        await begun(ledger)
    for _ in range(4):
        elapsed.seconds += DAY / 4 - 1
        calendar.epoch += DAY / 4 - 1
        async with opened(path, calendar, elapsed) as ledger:
            assert await there(ledger) == (True, True, True)
    elapsed.seconds += 4
    calendar.epoch += 4
    async with opened(path, calendar, elapsed) as ledger:
        assert await there(ledger) == (True, False, False)


async def test_a_machine_that_was_off(path: Path, calendar: Calendar, elapsed: Elapsed) -> None:
    """Between two boots only the calendar tells the time; what is open stays all the same."""
    async with opened(path, calendar, elapsed) as ledger:
        await begun(ledger)
    elapsed.seconds = 10.0
    calendar.epoch += DAY + 1
    async with opened(path, calendar, elapsed, boot="boot-2") as ledger:
        assert await there(ledger) == (True, False, False)


async def test_a_row_from_the_future_goes_after_a_day(
    path: Path, calendar: Calendar, elapsed: Elapsed
) -> None:
    """An edit of a calendar that was ahead is kept for a day of real time, not for ever."""
    async with opened(path, calendar, elapsed) as ledger:
        await ledger.intend(edit("ahead", age=-400 * DAY), FIRST)
        await ledger.end_edit("ahead", EditState.SUCCEEDED)
        elapsed.seconds += DAY - 1
        calendar.epoch += DAY - 1
        before = await ledger.find("ahead")
        elapsed.seconds += 2
        calendar.epoch += 2

        assert before is not None
        assert await ledger.find("ahead") is None


async def test_open_rows_stay_on_the_disk(path: Path, calendar: Calendar, elapsed: Elapsed) -> None:
    """No purge takes an open edit, however long it is open."""
    async with opened(path, calendar, elapsed) as ledger:
        await ledger.intend(EDIT, FIRST)
    for _ in range(3):
        elapsed.seconds += 10 * DAY
        calendar.epoch += 10 * DAY
        async with opened(path, calendar, elapsed):
            pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (1,)


def test_a_machine_that_does_not_name_its_boots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system does not tell, no process is taken to be of the boot of another."""

    assert boot_id(tmp_path / "none") == ""
