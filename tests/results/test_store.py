"""What every store does, in a folder as in a bucket."""

import pytest

from gateway.results.store import CHUNK_BYTES, ResultStore
from tests.results.pictures import (
    NAME,
    OTHERS,
    PICTURE,
    SECOND,
    Failures,
    MovableCalendar,
    names_in,
    read,
)

pytestmark = pytest.mark.anyio


async def test_there_and_back(store: ResultStore) -> None:
    """What was put is found and read as it was, and known by the same tag."""
    put = await store.put(NAME, PICTURE)

    found = await store.find(NAME)
    async with store.open(NAME) as opened:
        assert opened is not None
        chunks = [chunk async for chunk in opened.chunks(0, len(PICTURE))]

    assert found is not None
    assert b"".join(chunks) == PICTURE
    assert max(map(len, chunks)) <= 2 * CHUNK_BYTES
    assert (put.name, put.size) == (NAME, len(PICTURE))
    assert (found.name, found.size, found.etag) == (NAME, len(PICTURE), put.etag)
    assert opened.stored == found
    assert put.etag.startswith('"')
    assert put.etag.endswith('"')


async def test_an_etag_of_other_bytes(store: ResultStore, calendar: MovableCalendar) -> None:
    """A picture that is written again is replaced, and has another tag."""
    before = await store.put(NAME, PICTURE)
    calendar.time += 1
    after = await store.put(NAME, b"another")

    assert await read(store, NAME) == b"another"
    assert before.etag != after.etag


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (5, 10),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (len(PICTURE) - 1, len(PICTURE)),
        (300_000, 900_000),
    ],
)
async def test_a_part(store: ResultStore, start: int, stop: int) -> None:
    """Any range of bytes can be read alone."""
    await store.put(NAME, PICTURE)

    assert await read(store, NAME, start, stop) == PICTURE[start:stop]


async def test_nothing_there(store: ResultStore, failures: Failures) -> None:
    """A picture that was never put is no failure: it is not found, not read, and deleted."""
    assert await store.find(NAME) is None
    assert await read(store, NAME) is None
    assert await names_in(store) == set()
    assert await names_in(store, NAME.owner) == set()
    await store.delete([NAME])
    await store.delete_remains(0.0)

    assert failures.errors == []


async def test_list_and_delete(store: ResultStore) -> None:
    """All pictures are listed, or one owner's; those that are deleted are gone, no other is."""
    for name in (NAME, SECOND, OTHERS):
        await store.put(name, b"picture")

    everybodys, own = await names_in(store), await names_in(store, NAME.owner)
    await store.delete([NAME, SECOND])

    assert everybodys == {NAME, SECOND, OTHERS}
    assert own == {NAME, SECOND}
    assert await names_in(store) == {OTHERS}
    assert await store.find(NAME) is None
