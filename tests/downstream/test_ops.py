import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.middleware import Middleware

from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.ops import Ops, Readiness
from gateway.downstream.responses import exception_handlers
from gateway.downstream.routes import metrics_routes
from tests.downstream.harness import EdgeHarness

pytestmark = pytest.mark.anyio

_TOKEN = "canary-of-the-scraper"


def _scraper(harness: EdgeHarness, token: str | None) -> httpx.AsyncClient:
    """A client of the metrics' own port."""
    registry = CollectorRegistry()
    Counter("cats", "Seen.", registry=registry).inc()
    log = Middleware(
        AccessLogMiddleware, clock=harness.clock, observer=harness.seen, log=harness.seen.write
    )
    app = Starlette(
        routes=metrics_routes(Ops(Readiness(), registry, token), harness.seen),
        middleware=[log],
        exception_handlers=exception_handlers(),
    )
    app.router.redirect_slashes = False
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway:9464")


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({}, id="none"),
        pytest.param({"authorization": "Bearer wrong"}, id="wrong"),
        pytest.param({"authorization": f"Basic {_TOKEN}"}, id="another scheme"),
        pytest.param({"authorization": f"Bearer {_TOKEN} x"}, id="and more"),
        pytest.param({"authorization": b"Bearer \xff\xfe"}, id="no ASCII"),
        pytest.param({"api-key": _TOKEN}, id="as a customer's key"),
    ],
)
async def test_without_the_token(expected: dict[str, str]) -> None:
    """Who does not present the token gets 401 in the envelope, which does not tell the token."""
    async with _scraper(EdgeHarness(), _TOKEN) as scraper:
        reply = await scraper.get("/metrics", headers=expected)

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "operator's token" in reply.json()["error"]["message"]
    assert _TOKEN not in reply.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_token(scheme: str) -> None:
    """The token opens the page, with and without a slash at its end."""
    async with _scraper(EdgeHarness(), _TOKEN) as scraper:
        scraper.headers["authorization"] = f"{scheme} {_TOKEN}"
        replies = [await scraper.get("/metrics"), await scraper.get("/metrics/")]

    assert [(reply.status_code, "cats_total 1.0" in reply.text) for reply in replies] == [
        (200, True),
        (200, True),
    ]


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=x", "text/plain;version=1.y"]
)
async def test_an_odd_wish(accept: str) -> None:
    """A version that is not a number is the scraper's mistake, not a bug of ours."""
    async with _scraper(EdgeHarness(), None) as scraper:
        reply = await scraper.get("/metrics", headers={"accept": accept})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")


async def test_nothing_else_is_there() -> None:
    """On the metrics' own port an edit, a model and the readiness are unknown paths."""
    async with _scraper(EdgeHarness(), None) as scraper:
        replies = [
            await scraper.get("/metrics"),
            await scraper.head("/metrics"),
            await scraper.post("/metrics"),
            await scraper.post("/v1/images/edits"),
            await scraper.get("/readyz"),
            await scraper.get("/v1/models"),
        ]

    assert [reply.status_code for reply in replies] == [200, 200, 405, 404, 404, 404]
    assert all("x-request-id" in reply.headers for reply in replies)


def test_the_token_is_in_no_repr() -> None:
    """Whoever prints the page's object does not see the token."""
    assert _TOKEN not in repr(Ops(Readiness(), CollectorRegistry(), _TOKEN))
