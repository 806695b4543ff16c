from typing import Any

import httpx
import pytest

from gateway.downstream.cors import Cors
from tests.downstream.harness import FILES, FORM, EdgeHarness

pytestmark = pytest.mark.anyio

EDITS = "/v1/images/edits"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,x-stainless-lang",
}


async def edit_request(
    harness: EdgeHarness, method: str, origin: str | None, **more: Any
) -> httpx.Response:
    headers = {**more.pop("headers", {}), **({} if origin is None else {"origin": origin})}
    async with harness.client(key=more.pop("key", None)) as client:
        return await client.request(method, EDITS, headers=headers, **more)


def cors(reply: httpx.Response) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in reply.headers.items()
        if name.startswith("access-control-")
    }


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "vary"),
    [
        pytest.param(
            ("https://a.example",), "https://a.example", "https://a.example", True, id="one"
        ),
        pytest.param(("*",), "https://b.example", "*", False, id="any"),
    ],
)
async def test_preflight(origins: tuple[str, ...], origin: str, allowed: str, vary: bool) -> None:
    """A browser of an allowed origin is told, without a key, that it may send what it means to."""
    harness = EdgeHarness(origins=origins)

    reply = await edit_request(harness, "OPTIONS", origin, headers=PREFLIGHT)

    assert (reply.status_code, reply.content) == (204, b"")
    headers = cors(reply)
    assert "x-wan-edit-id" in headers.pop("expose-headers")
    assert headers == {
        "allow-origin": allowed,
        "allow-methods": "DELETE, GET, HEAD, OPTIONS, POST",
        "allow-headers": "authorization,x-stainless-lang",
        "max-age": "7200",
    }
    assert (reply.headers.get("vary") == "Origin") is vary
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        pytest.param("https://evil.example", PREFLIGHT, id="another-origin"),
        pytest.param("https://a.example.evil.example", PREFLIGHT, id="a-longer-origin"),
        pytest.param("null", PREFLIGHT, id="null"),
        pytest.param(None, PREFLIGHT, id="no-origin"),
    ],
)
async def test_other_origins(origin: str | None, headers: dict[str, str]) -> None:
    """Other origins get nothing, and no cache takes that answer for an allowed one's."""
    harness = EdgeHarness(origins=("https://a.example",))

    reply = await edit_request(harness, "OPTIONS", origin, headers=headers)

    assert cors(reply) == {}
    assert reply.headers["vary"] == "Origin"


async def test_an_edit_and_a_refusal() -> None:
    """A script may read every answer with its headers, refusals and bugs included."""
    harness = EdgeHarness(origins=("https://a.example",))

    refused = await edit_request(harness, "POST", "https://a.example", data=FORM, files=FILES)
    async with harness.client() as client:
        taken = await client.post(
            EDITS, data=FORM, files=FILES, headers={"origin": "https://a.example"}
        )
        harness.service.refusal = ValueError("a bug")
        broken = await client.post(
            EDITS, data=FORM, files=FILES, headers={"origin": "https://a.example"}
        )

    assert [refused.status_code, taken.status_code, broken.status_code] == [401, 200, 500]
    for reply in (refused, taken, broken):
        headers = cors(reply)
        assert headers["allow-origin"] == "https://a.example"
        exposed = set(headers["expose-headers"].split(", "))
        assert {"x-request-id", "server-timing", "retry-after", "x-should-retry"} <= exposed
        ours = {name for name in reply.headers if name.startswith("x-wan-")}
        assert ours <= exposed
        assert "max-age" not in headers
        assert "allow-credentials" not in headers


async def test_other_scopes() -> None:
    """What is no request passes as it is."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    await Cors(app, origins=("*",))({"type": "lifespan"}, receive := object(), send := object())  # type: ignore[arg-type]  # nobody calls them

    assert seen == [({"type": "lifespan"}, receive, send)]
