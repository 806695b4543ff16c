"""How a client calls: by a client, or over a connection by hand; how its edit ends."""

from typing import Any

import httpx

from gateway.edits.request import EditResult
from tests.downstream.harness import FILES, FORM, KEY, FakeVisit, House, Wire, request_of

EDITS = "/v1/images/edits"


async def post(house: House, path: str = EDITS, **kwargs: Any) -> httpx.Response:
    async with house.client() as client:
        return await client.post(path, **{"data": FORM, "files": FILES, **kwargs})


def ending(house: House, outcome: EditResult | Exception) -> None:
    async def ends() -> EditResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    house.service.waiter = FakeVisit(ends)


async def by_hand(house: House, wire: Wire, **kwargs: Any) -> None:
    """Send an edit over *wire*, whose script comes before the body."""
    headers = {"authorization": f"Bearer {KEY}"}
    request = httpx.Request(
        "POST", f"http://gateway{EDITS}", data=FORM, files=FILES, headers=headers
    )
    scope, messages = request_of(request)
    wire.script += kwargs.get("script", messages)
    await house.app(scope, wire.receive, wire.send)
