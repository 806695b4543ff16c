"""All keepers answer gateway.edits.ports.ResultUrls alike; what only files do comes after."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.edit import Size
from gateway.domain.task import ResultImage
from gateway.edits.ports import ResultUrls
from gateway.ledger.edit_files import DurableResultUrls, MemoryResultUrls
from gateway.ledger.open import open_stores
from tests.postgres.ledgers import OldRows, database_at

pytestmark = pytest.mark.anyio

ONE = (
    ResultImage("https://oss.test/1/0?Signature=a", Size(1024, 1536), extended=True),
    ResultImage("https://oss.test/1/1?Signature=b"),
)
TWO = (ResultImage("https://oss.test/2/0?Signature=c"),)


@pytest.fixture(params=["memory", "files", "postgres"])
async def result_urls(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ResultUrls]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        async with database_at(url) as database:
            yield DurableResultUrls(OldRows(url, database, "result_urls"))
        return
    path = "memory" if request.param == "memory" else str(tmp_path / "state" / "gateway.db")
    yield open_stores(path, "normal", SystemClock()).result_urls


async def test_what_was_put_is_had_again(result_urls: ResultUrls) -> None:
    """Part by part, in order, and as often as it is wanted; the last put counts."""
    await result_urls.put("edit_1", 0, TWO)
    await result_urls.put("edit_1", 0, ONE)
    await result_urls.put("edit_1", 1, TWO)
    await result_urls.put("edit_2", 0, ())

    assert [await result_urls.get("edit_1", part) for part in (0, 0, 1)] == [ONE, ONE, TWO]
    assert await result_urls.get("edit_2", 0) == ()
    assert sorted(await result_urls.list_ids()) == ["edit_1", "edit_2"]


async def test_what_is_not_there(result_urls: ResultUrls) -> None:
    """Nothing was kept yet: that is no error."""
    await result_urls.drop("edit_1")
    await result_urls.put("edit_1", 0, ONE)

    assert await result_urls.get("edit_1", 1) is None
    assert await result_urls.get("edit_2", 0) is None


async def test_what_was_dropped_is_gone(result_urls: ResultUrls) -> None:
    """All parts of it; another edit's stay."""
    for edit_id, part in (("edit_1", 0), ("edit_1", 1), ("edit_2", 0)):
        await result_urls.put(edit_id, part, ONE)

    await result_urls.drop("edit_1")

    assert [await result_urls.get("edit_1", part) for part in (0, 1)] == [None, None]
    assert await result_urls.list_ids() == ["edit_2"]


async def test_files_are_private_and_outlive_the_process(tmp_path: Path) -> None:
    """They lie beside the ledger, for its user alone: a signed URL is as good as a key."""
    ledger = str(tmp_path / "gateway.db")
    await open_stores(ledger, "full", SystemClock()).result_urls.put("edit_1", 0, ONE)

    folder = tmp_path / "gateway.db.receipts"
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (file.name, file.stat().st_mode & 0o777) == ("edit_1.0", 0o600)
    assert await open_stores(ledger, "full", SystemClock()).result_urls.get("edit_1", 0) == ONE


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(60), id="zeros"),
        pytest.param(b'["https://oss.test/1', id="half"),
    ],
)
async def test_a_file_whose_content_was_lost(tmp_path: Path, left: bytes) -> None:
    """A loss of power may leave no more than the name: nothing is known then, as without it."""
    result_urls = open_stores(str(tmp_path / "gateway.db"), "normal", SystemClock()).result_urls
    await result_urls.put("edit_1", 0, ONE)
    (tmp_path / "gateway.db.receipts" / "edit_1.0").write_bytes(left)

    assert await result_urls.get("edit_1", 0) is None


async def test_a_file_of_an_earlier_version(tmp_path: Path) -> None:
    """It holds URLs and no more, which are enough for an answer."""
    result_urls = open_stores(str(tmp_path / "gateway.db"), "normal", SystemClock()).result_urls
    await result_urls.put("edit_1", 0, ONE)
    (tmp_path / "gateway.db.receipts" / "edit_1.0").write_bytes(b'["https://oss.test/2/0"]')

    assert await result_urls.get("edit_1", 0) == (ResultImage("https://oss.test/2/0"),)


def test_memory_for_a_ledger_in_memory() -> None:
    """Without a file for the ledger nothing goes to the disk."""
    assert isinstance(open_stores("memory", "normal", SystemClock()).result_urls, MemoryResultUrls)
