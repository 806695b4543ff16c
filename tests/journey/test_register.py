"""Through the desk: what a key or an id finds that no process carries."""

from dataclasses import replace

import pytest

from gateway.domain.errors import NotFound
from gateway.domain.record import EditRecord, EditState
from gateway.journey.digest import prompt_digest
from tests.journey.house import House, buy

pytestmark = pytest.mark.anyio


def void_record(house: House) -> EditRecord:
    """Return what is left of a keyed edit whose process died between two submits."""
    ask = house.ask()
    return EditRecord(
        edit_id="edit_1",
        tenant="acme",
        region="beijing",
        digest=ask.digest,
        prompt_digest=prompt_digest(ask.edit.prompt),
        model=ask.edit.model,
        n=1,
        response_format="b64_json",
        output_format="png",
        created=house.clock.epoch(),
        idempotency_key="k",
    )


async def test_a_void_edit_is_none() -> None:
    """An edit that was asked for and never submitted is neither found nor joined."""
    house = House()
    house.ledger.put(void_record(house))
    async with house.desk() as desk:
        with pytest.raises(NotFound):
            await desk.withdraw(house.tenants[0], "edit_1")
        answer = await buy(desk, house.ask(idempotency_key="k"))

    assert answer.told.edit_id != "edit_1"
    assert house.world.count("submit") == 1


async def test_two_edits_of_one_key() -> None:
    """When the older edit of a key ends, the younger one keeps its place."""
    house = House()
    house.ledger.put(replace(void_record(house), state=EditState.OPEN))
    async with house.desk() as desk:
        await buy(desk, house.ask(idempotency_key="k"))
        again = await buy(desk, house.ask(idempotency_key="k"))

    assert again.replayed
    assert len(desk._register) == 0
