from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from gateway.commands.top import Update, updates
from gateway.config import ConfigError
from tests.downstream.harness import FakeClock

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8080"
EVENTS = (
    b"retry: 2000\n\n",
    b'data: {"now":1.000,"number":',
    b'1}\n\nevent: beat\ndata: {}\n\ndata: {"now":2.000,"number":2}\n\n',
    b"event: end\ndata: {}\n\n",
)


class ScriptedGateway(httpx.AsyncBaseTransport):
    """Answers each request as the script says: events, a status, or a broken line."""

    def __init__(self, *script: int | Exception | tuple[bytes, ...], body: str = "") -> None:
        self._script = list(script)
        self._body = body
        self.args: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.args.append(request)
        what = self._script.pop(0)
        if isinstance(what, Exception):
            raise what
        if isinstance(what, int):
            return httpx.Response(what, text=self._body)
        return httpx.Response(200, content=_pieces(what))


async def _pieces(events: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for event in events:
        yield event


async def first(n: int, transport: ScriptedGateway, token: str | None = None) -> list[Update]:
    """Return the first *n* looks."""
    seen: list[Update] = []
    async with aclosing(updates(URL, token, FakeClock(), transport)) as stream:
        async for update in stream:
            seen.append(update)
            if len(seen) == n:
                break
    return seen


async def test_states() -> None:
    """Each state is a look; beats are none; after the end it asks again."""
    transport = ScriptedGateway(EVENTS, EVENTS)

    seen = await first(4, transport, "a-token")

    assert [update.state["number"] for update in seen] == [1, 2, 2, 1]
    assert [update.error for update in seen] == ["", "", "the gateway stops", ""]
    assert str(transport.args[0].url) == f"{URL}/dashboard/events"
    assert transport.args[0].headers["authorization"] == "Bearer a-token"


async def test_trouble() -> None:
    """What is out of reach is told, with what was last known, and tried again."""
    transport = ScriptedGateway(
        httpx.ConnectError("refused"), EVENTS, httpx.ReadTimeout(""), 503, EVENTS
    )

    seen = await first(7, transport)

    assert (seen[0].state, seen[0].error) == ({}, "refused")
    assert [update.state["number"] for update in seen[1:]] == [1, 2, 2, 2, 2, 1]
    assert seen[4].error == "ReadTimeout"
    assert "503" in seen[5].error
    assert "authorization" not in transport.args[0].headers


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        pytest.param(401, "", "its token is missing or wrong; give --token", id="token"),
        pytest.param(404, "", "set \\[dashboard\\] on = true", id="off"),
        pytest.param(403, '{"error": {"message": "Only here."}}', "Only here.", id="elsewhere"),
        pytest.param(403, "<html>", "it answers 403; give the --url of a gateway", id="no gateway"),
        pytest.param(403, "[]", "it answers 403; give the --url of a gateway", id="odd JSON"),
    ],
)
async def test_refused(status: int, body: str, says: str) -> None:
    """What will not get better by itself ends it with what to do."""
    with pytest.raises(ConfigError, match=says):
        await first(1, ScriptedGateway(status, body=body))
