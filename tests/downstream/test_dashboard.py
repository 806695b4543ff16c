import asyncio
import subprocess
import sys
from typing import Any

import httpx
import pytest
from starlette.types import Message

from gateway.app import Gateway
from gateway.app import build as build_gateway
from gateway.config.build import build as build_config
from gateway.domain.clock import SystemClock
from gateway.downstream.dashboard import COOKIE, Dashboard
from gateway.downstream.viewers import MOST_VIEWERS
from tests.harness import tables

pytestmark = pytest.mark.anyio

TOKEN = "canary-token-0123456789"
_PATHS = ("", "/events", "/snapshot", "/config", "/thumbnails/edit_1")
_ENVIRON = {"KEY": "sk-canary-upstream", "TOKEN": TOKEN}
_WITH_TOKEN = {"on": True, "token": "env:TOKEN"}


def gateway(dashboard: dict[str, Any], **more: Any) -> Gateway:
    values = tables({"beijing": "http://127.0.0.1:1"}, dashboard=dashboard, **more)
    return build_gateway(build_config("test", values, _ENVIRON), clock=SystemClock())


def dashboard_client(
    harness: Gateway, *, peer: str = "127.0.0.1", host: str = "127.0.0.1:8080", **headers: str
) -> httpx.AsyncClient:
    all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(harness.app, client=(peer, 1234))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=all_headers)


async def test_the_page() -> None:
    """The page and its files come with a policy that lets nothing else in."""
    async with dashboard_client(gateway({"on": True})) as http:
        page, slash = await http.get("/dashboard"), await http.get("/dashboard/")
        files = [await http.get(f"/dashboard/{name}") for name in ("dashboard.css", "icon.svg")]
        script, head = await http.get("/dashboard/dashboard.js"), await http.head("/dashboard")

    assert page.content == slash.content
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>wan-gateway" in page.text
    assert [it.headers["content-type"].partition(";")[0] for it in (*files, script)] == [
        "text/css",
        "image/svg+xml",
        "text/javascript",
    ]
    for answer in (page, *files, script, head):
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_the_page_asks_nobody_else() -> None:
    """No file of the page names another host, and none makes HTML of a text."""
    async with dashboard_client(gateway({"on": True})) as http:
        names = ("", "/dashboard.css", "/dashboard.js", "/elements.js", "/icon.svg")
        texts = [(await http.get(f"/dashboard{name}")).text for name in names]

    whole = "".join(texts).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "://" not in whole
    assert not [
        bad for bad in ("innerHTML", "outerHTML", "document.write", "eval(") if bad in whole
    ]
    assert len(whole) < 40_000


@pytest.mark.parametrize("path", _PATHS)
async def test_off(path: str) -> None:
    """Switched off, which is the default, there is no such path."""
    async with dashboard_client(gateway({})) as http:
        answer = await http.get(f"/dashboard{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("path", [*_PATHS, "/dashboard.js", "/elements.js"])
async def test_another_machine(path: str) -> None:
    """Without a token, who comes from elsewhere or by another name is refused in the envelope."""
    harness = gateway({"on": True})
    for who in ({"peer": "192.0.2.7"}, {"host": "rebound.example"}, {"via": "1.1 proxy"}):
        async with dashboard_client(harness, **who) as http:
            answer = await http.get(f"/dashboard{path}")

        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_off_it_costs_no_import() -> None:
    """Whoever does not switch it on does not wait for its code when the process starts."""
    code = "import sys, gateway.app; print('gateway.downstream.dashboard' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


async def test_cors_does_not_open_it() -> None:
    """Where any page's script may call the API, none may look at the dashboard."""
    harness = gateway({"on": True}, server={"cors_origins": ["*"]})
    async with dashboard_client(harness, origin="https://evil.example") as http:
        answer = await http.get("/dashboard/snapshot")

    assert answer.status_code == 403
    assert "acme" not in answer.text


@pytest.mark.parametrize("path", _PATHS)
async def test_without_the_token(path: str) -> None:
    """With a token set, whoever lacks it sees a form on the page, and nothing anywhere else."""
    async with dashboard_client(gateway(_WITH_TOKEN)) as http:
        answer = await http.get(f"/dashboard{path}")

    assert answer.status_code == 401
    if path:
        assert answer.json()["error"]["code"] == "invalid_api_key"
    else:
        assert '<form method="post" action="/dashboard">' in answer.text
    assert "acme" not in answer.text


async def test_signing_in() -> None:
    """The right token is changed for a cookie that no script reads and no other site sends."""
    harness = gateway(_WITH_TOKEN)
    async with dashboard_client(harness, peer="192.0.2.7", host="ops.example") as http:
        wrong = await http.post("/dashboard", data={"token": f"{TOKEN}x"})
        none = await http.post("/dashboard")
        right = await http.post("/dashboard", data={"token": f" {TOKEN} "})
        page, state = await http.get("/dashboard"), await http.get("/dashboard/snapshot")

    assert (wrong.status_code, none.status_code) == (401, 401)
    assert "That is not the token." in wrong.text
    assert TOKEN not in wrong.text
    assert (right.status_code, right.headers["location"]) == (303, "/dashboard")
    cookie = right.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.endswith("; Path=/dashboard; Max-Age=43200; HttpOnly; SameSite=Strict")
    assert TOKEN not in cookie
    assert (page.status_code, state.status_code) == (200, 200)


async def test_signing_in_behind_tls() -> None:
    """Behind a proxy that speaks TLS the cookie goes over nothing else."""
    async with dashboard_client(gateway(_WITH_TOKEN), x_forwarded_proto="https") as http:
        answer = await http.post("/dashboard", data={"token": TOKEN})

    assert answer.headers["set-cookie"].endswith("; Secure")


async def test_signing_in_for_another_site() -> None:
    """Another site's page cannot send the form."""
    async with dashboard_client(gateway(_WITH_TOKEN), sec_fetch_site="cross-site") as http:
        answer = await http.post("/dashboard", data={"token": TOKEN})
        page = await http.get("/dashboard")

    assert answer.status_code == 403
    assert page.status_code == 401


async def test_a_long_form() -> None:
    """No token is longer than a few thousand bytes, so nothing longer is read."""
    async with dashboard_client(gateway(_WITH_TOKEN)) as http:
        answer = await http.post("/dashboard", data={"token": "x" * 10_000})

    assert answer.status_code == 413


async def test_the_token_as_bearer() -> None:
    """Programs send the token as a bearer; a client's key does not open it."""
    harness = gateway(_WITH_TOKEN)
    async with dashboard_client(harness, authorization=f"Bearer {TOKEN}") as http:
        state = await http.get("/dashboard/snapshot")
    async with dashboard_client(harness, authorization="Bearer wk-acme") as http:
        client = await http.get("/dashboard/snapshot")

    assert state.json()["edits"]["tenants"]["rows"][0]["name"] == "acme"
    assert client.status_code == 401


async def test_the_state() -> None:
    """One state tells the version, the bytes, the service and what was answered, and no secret."""
    harness = gateway({"on": True})
    async with dashboard_client(harness) as http:
        state = await http.get("/dashboard/snapshot")
        config = await http.get("/dashboard/config")
        head = await http.head("/dashboard/events")
        unknown = await http.get("/dashboard/other.js")
        picture = await http.get("/dashboard/thumbnails/edit_1")

    answer = state.json()
    assert list(answer) == [
        "now",
        "version",
        "draining",
        "bytes",
        "edits",
        "answered",
        "thumbnails",
    ]
    assert answer["bytes"] == {"held": 0, "limit": 512 * 1024 * 1024}
    assert config.text.startswith("test is good.")
    assert "sk-canary" not in config.text + state.text
    assert head.headers["content-type"] == "application/json"
    assert (unknown.status_code, picture.status_code) == (404, 404)


async def test_a_thumbnail() -> None:
    """Switched on, the small picture of an edit is an answer of its own."""
    harness = gateway({"on": True, "thumbnails": True})
    assert isinstance(harness.dashboard, Dashboard)
    assert harness.dashboard.thumbnails is not None
    harness.dashboard.thumbnails._by_id["edit_1"] = b"small"
    async with dashboard_client(harness) as http:
        picture = await http.get("/dashboard/thumbnails/edit_1")
        state = await http.get("/dashboard/snapshot")

    assert (picture.content, picture.headers["content-type"]) == (b"small", "image/webp")
    assert state.json()["thumbnails"] == ["edit_1"]


async def test_too_many_watch() -> None:
    """The seventeenth viewer is told so, and to come again."""
    harness = gateway({"on": True})
    assert isinstance(harness.dashboard, Dashboard)
    loop = asyncio.get_running_loop()
    harness.dashboard.viewers._endings = {loop.create_future() for _ in range(MOST_VIEWERS)}
    async with dashboard_client(harness) as http:
        answer = await http.get("/dashboard/events")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "16 are watching already" in answer.json()["error"]["message"]


async def test_the_stream_of_the_app() -> None:
    """The stream begins with a state, and ends whole when the process sends everybody home."""
    harness, sent = gateway({"on": True}), list[Message]()
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if b'data: {"now"' in message.get("body", b""):
            harness.drain(60.0)
            harness.turn_away()

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/dashboard/events",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    await harness.app(scope, receive, send)

    assert dict(sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert sent[-2]["body"] == b"event: end\ndata: {}\n\n"
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
