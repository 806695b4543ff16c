"""What was promised by a 202 is in the database, whole, until its task exists."""

import pytest

from gateway.domain.errors import LedgerUnavailable
from gateway.edits.ports import PromisedEdits
from gateway.ledger.edit_files import DurablePromisedEdits
from gateway.ledger.postgres_files import EditRows
from tests.ledger.test_promised_edits import EDIT, PICTURES
from tests.postgres.ledgers import database_at
from tests.postgres.server import fetch

pytestmark = pytest.mark.anyio


async def test_what_was_put_is_had_again(postgres_url: str) -> None:
    """The edit and its pictures, also by another process, until they are dropped."""
    async with database_at(postgres_url) as database:
        spooled = await DurablePromisedEdits(EditRows(database.reader, "promised_edits")).put(
            "edit_1", EDIT, PICTURES
        )
        assert await spooled.pictures() == PICTURES
        spooled.close()
    async with database_at(postgres_url, "b") as database:
        promises: PromisedEdits = DurablePromisedEdits(EditRows(database.reader, "promised_edits"))

        found = await promises.get("edit_1")
        assert found is not None
        edit, spooled_there = found
        assert edit == EDIT
        assert await spooled_there.pictures() == PICTURES
        assert await promises.list_ids() == []  # its edit may be about to be written
        sql = "UPDATE wan_gateway.promised_edits SET stored = stored - interval '2 hours'"
        await fetch(postgres_url, sql)
        assert await promises.list_ids() == ["edit_1"]
        assert await promises.get("edit_2") is None

        await promises.drop("edit_1")
        assert await promises.list_ids() == []
        with pytest.raises(LedgerUnavailable) as caught:
            await spooled_there.pictures()
        assert not caught.value.retry
