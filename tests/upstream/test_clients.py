import ssl
from typing import Any

import httpx
import pytest

from gateway import __version__
from gateway.upstream.clients import Client, Clients, Purpose
from tests.upstream.wire import upstream

pytestmark = pytest.mark.anyio

_KEY = "sk-canary-0123456789"


def _echo(_: Purpose) -> httpx.AsyncBaseTransport:
    return httpx.MockTransport(
        lambda request: httpx.Response(
            200, json=dict(request.headers), headers={"set-cookie": "a=b"}
        )
    )


async def _get(client: Client, url: str = "/tasks") -> Any:
    """Return the headers that *client* sends."""
    return (await client.send(client.build_request("GET", url))).json()


async def test_only_calls_and_submits_carry_the_key() -> None:
    """The download client has no key to lose; the others send theirs."""
    async with Clients(_echo) as clients:
        fields = {
            purpose: await _get(clients.of(upstream(), purpose), "http://x.test")
            for purpose in Purpose
        }

    assert fields[Purpose.CALL]["authorization"] == f"Bearer {_KEY}"
    assert fields[Purpose.SUBMIT]["authorization"] == f"Bearer {_KEY}"
    assert "authorization" not in fields[Purpose.DOWNLOAD]
    assert fields[Purpose.DOWNLOAD]["accept-encoding"] == "identity"
    assert {headers["user-agent"] for headers in fields.values()} == {f"wan-gateway/{__version__}"}


async def test_cookies_are_not_kept() -> None:
    """What upstream sets as cookie does not come back to it."""
    async with Clients(_echo) as clients:
        client = clients.of(upstream(), Purpose.CALL)
        await _get(client)

        assert "cookie" not in await _get(client)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(upstream(region="singapore"), id="region"),
        pytest.param(upstream(key="sk-other-0123456789"), id="key"),
        pytest.param(upstream("http://else.test"), id="base-url"),
    ],
)
async def test_no_key_meets_anothers_connection(other: object) -> None:
    """Region, base URL and key each have clients of their own, made once."""
    async with Clients(_echo) as clients:
        mine = clients.of(upstream(), Purpose.CALL)

        assert clients.of(upstream(), Purpose.CALL) is mine
        assert clients.of(other, Purpose.CALL) is not mine  # type: ignore[arg-type]  # rows are objects
        assert clients.of(upstream(), Purpose.SUBMIT) is not mine


async def test_closed_together() -> None:
    """Leaving the block closes every client and what carries it."""
    async with Clients(_echo) as clients:
        client = clients.of(upstream(), Purpose.CALL)

    assert client.is_closed


async def test_key_is_in_no_repr() -> None:
    """Neither the clients nor their requests show the key."""
    async with Clients(_echo) as clients:
        client = clients.of(upstream(), Purpose.CALL)

        assert "canary" not in f"{clients!r} {client!r} {client.build_request('GET', '/tasks')!r}"


async def test_tls_context_is_made_once() -> None:
    """All connections share one context: each would cost 20 ms."""
    async with Clients() as clients:
        assert isinstance(clients._ssl_context, ssl.SSLContext)
        assert clients._ssl_context is clients._ssl_context
