from typing import Any

import pytest

from gateway.domain.errors import ResultStoreUnavailable
from gateway.edits.ports import ResultPlace
from gateway.results.folder import FolderStore
from gateway.results.keeper import ResultKeeper
from gateway.results.names import owner_of
from tests.results.pictures import NAME, PICTURE, MovableCalendar, names_in

pytestmark = pytest.mark.anyio

HOUR = 3600.0
PLACE = ResultPlace("acme", NAME.edit_id, 0, 0, "png")


class Counts:
    """A ResultObserver that remembers."""

    def __init__(self) -> None:
        self.actions: dict[str, int] = {}
        self.bytes = 0
        self.stored = (0, 0)

    def results_changed(self, action: str, n: int = 1) -> None:
        self.actions[action] = self.actions.get(action, 0) + n

    def result_written(self, size: int) -> None:
        self.bytes += size

    def results_stored(self, n: int, size: int) -> None:
        self.stored = (n, size)

    def result_store_failed(self, operation: str) -> None:
        raise AssertionError(operation)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def keeper(folder: FolderStore, calendar: MovableCalendar, counts: Counts) -> ResultKeeper:
    return ResultKeeper(folder, keep_seconds=24 * HOUR, clock=calendar, observer=counts)


async def test_what_is_known_of_a_picture(keeper: ResultKeeper) -> None:
    """A picture that is there is described and read; of another nothing is known."""
    before = await keeper.stat(NAME)
    await keeper.keep(PLACE, PICTURE)
    stored = await keeper.stat(NAME)
    async with keeper.open(NAME) as opened:
        assert opened is not None

    assert before is None
    assert stored == opened.stored


async def test_kept_and_found(
    keeper: ResultKeeper, calendar: MovableCalendar, counts: Counts
) -> None:
    """The same picture has the same name and the same end, whoever asks for it, and when."""
    before = await keeper.find(PLACE)
    kept = await keeper.keep(PLACE, PICTURE)
    calendar.time += HOUR
    found = await keeper.find(PLACE)

    assert before is None
    assert found == kept
    assert kept.name == str(NAME)
    assert kept.expires == int(calendar.time) + 23 * HOUR
    assert counts.actions == {"written": 1, "reused": 1}
    assert counts.bytes == len(PICTURE)


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "globex"},
        {"edit_id": "edit_1"},
        {"part": 1},
        {"index": 1},
        {"output_format": "webp"},
    ],
)
async def test_other_pictures(keeper: ResultKeeper, changes: dict[str, Any]) -> None:
    """Whatever makes it another picture makes another name."""
    values = {name: getattr(PLACE, name) for name in PLACE.__slots__}
    await keeper.keep(PLACE, PICTURE)

    assert await keeper.find(ResultPlace(**{**values, **changes})) is None


async def test_one_that_is_about_to_expire(keeper: ResultKeeper, calendar: MovableCalendar) -> None:
    """A picture that nobody could fetch in time is written again and kept as long again."""
    await keeper.keep(PLACE, PICTURE)
    calendar.time += 24 * HOUR - 59

    assert await keeper.find(PLACE) is None
    again = await keeper.keep(PLACE, PICTURE)
    assert again.expires == int(calendar.time + 24 * HOUR)


async def test_expired_twice(
    keeper: ResultKeeper, folder: FolderStore, calendar: MovableCalendar, counts: Counts
) -> None:
    """What two rounds found expired is deleted; what one found is left alone."""
    await keeper.keep(PLACE, PICTURE)
    await keeper.delete_expired()
    living = counts.stored
    calendar.time += 24 * HOUR + 1

    await keeper.delete_expired()
    once = await names_in(folder)
    await keeper.delete_expired()

    assert living == (1, len(PICTURE))
    assert once == {NAME}
    assert await names_in(folder) == set()
    assert counts.actions["expired"] == 1
    assert counts.stored == (0, 0)


async def test_a_calendar_that_was_wrong_for_a_round(
    keeper: ResultKeeper, folder: FolderStore, calendar: MovableCalendar
) -> None:
    """A step by days that is taken back deletes nothing."""
    await keeper.keep(PLACE, PICTURE)

    for step in (72 * HOUR, -72 * HOUR, 72 * HOUR):
        calendar.time += step
        await keeper.delete_expired()

    assert await names_in(folder) == {NAME}


async def test_delete(keeper: ResultKeeper, folder: FolderStore, counts: Counts) -> None:
    """One picture is deleted, once; or all of a tenant, and no other's."""
    for tenant, index in (("acme", 0), ("acme", 1), ("acme", 2), ("globex", 0)):
        await keeper.keep(ResultPlace(tenant, NAME.edit_id, 0, index, "png"), PICTURE)

    one = [await keeper.delete(NAME), await keeper.delete(NAME)]
    rest = [await keeper.delete_all("acme"), await keeper.delete_all("acme")]

    assert one == [True, False]
    assert rest == [2, 0]
    assert {name.owner for name in await names_in(folder)} == {owner_of("globex")}
    assert counts.actions["deleted"] == 3


class Away(FolderStore):
    """Cannot be listed at first."""

    away = 2
    calls = 0

    def list(self, owner: str | None = None) -> Any:
        self.calls += 1
        if self.calls <= self.away:
            raise ResultStoreUnavailable("away")
        if self.calls == self.away + 3:
            raise KeyboardInterrupt
        return super().list(owner)


async def test_every_hour(folder: FolderStore, calendar: MovableCalendar, counts: Counts) -> None:
    """A store that fails is tried again an hour later, and so on."""
    folder.__class__ = Away
    keeper = ResultKeeper(folder, keep_seconds=0.5 * HOUR, clock=calendar, observer=counts)
    await keeper.keep(PLACE, PICTURE)
    began = calendar.time

    with pytest.raises(KeyboardInterrupt):
        await keeper.run()

    assert calendar.time == began + 4 * HOUR
    assert counts.actions["expired"] == 1
