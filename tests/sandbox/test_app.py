"""The app around the operations."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.sandbox import Constant, SandboxConfig, create_sandbox
from tests.sandbox.region_client import SUBMIT, RegionClient, SkippingClock, region

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        pytest.param("GET", "/api/v1/dance", 404, "NotFound", "Not found!", id="path"),
        pytest.param(
            "GET",
            SUBMIT,
            400,
            "InvalidParameter",
            "Request method 'GET' is not supported.",
            id="method",
        ),
    ],
)
async def test_no_such_call(method: str, path: str, status: int, code: str, message: str) -> None:
    """An unknown path and a wrong method have the flat shape too."""
    async with region() as client:
        answer = await client.http.request(method, path)

        assert answer.status_code == status
        assert (answer.json()["code"], answer.json()["message"]) == (code, message)


async def test_without_a_config() -> None:
    """A region without a config takes the key sk-sandbox and runs on the real clock."""
    transport = httpx.ASGITransport(create_sandbox())
    async with httpx.AsyncClient(transport=transport, base_url="http://region") as http:
        client = RegionClient(http, SkippingClock(), "sk-sandbox")

        assert await client.status(await client.submit()) == "RUNNING"


async def test_two_regions_mounted_in_one_app() -> None:
    """Regions can be mounted: keys are good in one of them, and result URLs lead back to it."""
    clock = SkippingClock()
    regions = {
        name: create_sandbox(
            SandboxConfig(region=name, accounts={name: (f"sk-{name}",)}, latency=Constant(1)),
            clock=clock,
        )
        for name in ("beijing", "singapore")
    }
    app = Starlette(routes=[Mount(f"/{name}", each) for name, each in regions.items()])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x/singapore/") as http:
        client = RegionClient(http, clock, "sk-singapore")
        task_id = await client.submit()
        clock.advance(1)
        (result,) = (await client.query(task_id))["output"]["results"]

        assert result["url"].startswith("http://x/singapore/results/")
        assert (await http.get(result["url"])).status_code == 200
        other = await http.get("http://x/beijing/api/v1/tasks", headers=client.headers)
        assert (other.status_code, other.json()["message"]) == (401, "Invalid API-key provided.")
