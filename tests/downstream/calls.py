"""How a client calls: by a client, or over a connection by hand; how its edit ends."""

from typing import Any

import httpx

from gateway.edits.request import EditResult
from tests.downstream.harness import (
    FILES,
    FORM,
    KEY,
    EdgeHarness,
    FakeConnection,
    FakeWaiter,
    request_of,
)

EDITS = "/v1/images/edits"


async def post(harness: EdgeHarness, path: str = EDITS, **kwargs: Any) -> httpx.Response:
    async with harness.client() as client:
        return await client.post(path, **{"data": FORM, "files": FILES, **kwargs})


def end_with(harness: EdgeHarness, outcome: EditResult | Exception) -> None:
    async def ends() -> EditResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    harness.service.waiter = FakeWaiter(ends)


async def send_raw(harness: EdgeHarness, wire: FakeConnection, **kwargs: Any) -> None:
    """Send an edit over *wire*, whose script comes before the body."""
    headers = {"authorization": f"Bearer {KEY}"}
    request = httpx.Request(
        "POST", f"http://gateway{EDITS}", data=FORM, files=FILES, headers=headers
    )
    scope, messages = request_of(request)
    wire.script += kwargs.get("script", messages)
    await harness.app(scope, wire.receive, wire.send)
