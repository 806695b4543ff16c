from typing import Any

import pytest
from prometheus_client import Counter

from gateway.domain.models import Catalog, Operation
from tests.downstream.harness import FILES, FORM, KEY, EdgeHarness
from tests.models import EDITOR

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/edits",
        "/images/edits",
        "/v1/images/edits/",
        "/openai/images/edits?api-version=2025-04-01-preview",
        "/openai/v1/images/edits?api-version=preview",
        "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview",
        "/openai/deployments/gpt-image-1/images/edits/?api-version=2025-04-01-preview",
    ],
)
async def test_edits_are_served_without_redirects(path: str) -> None:
    """A base URL without /v1, Azure's, and a slash at the end lead to the same page at once."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post(path, data=FORM, files=FILES)

    assert reply.status_code == 200
    assert harness.seen.of("started") == [("started", "/v1/images/edits")]


@pytest.mark.parametrize(
    ("method", "path", "status", "says", "allow"),
    [
        pytest.param("POST", "/v1/foo", 404, "Invalid URL (POST /v1/foo)", None, id="unknown-path"),
        pytest.param("GET", "/", 404, "Invalid URL (GET /)", None, id="root"),
        pytest.param(
            "GET",
            "/v1/images/edits",
            405,
            "Not allowed to GET on /v1/images/edits. "
            "(HINT: Perhaps you meant to use a different HTTP method?)",
            "OPTIONS, POST",
            id="get",
        ),
        pytest.param("HEAD", "/v1/images/edits", 405, None, "OPTIONS, POST", id="head"),
        pytest.param(
            "BREW", "/v1/images/edits/1", 405, None, "DELETE, GET, HEAD, OPTIONS", id="made-up"
        ),
        pytest.param("POST", "/healthz", 405, None, "GET, HEAD, OPTIONS", id="ops"),
    ],
)
async def test_nothing_here(
    method: str, path: str, status: int, says: str | None, allow: str | None
) -> None:
    """Unknown paths and wrong methods are refused in OpenAI's envelope, and name no new label."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.request(method, path)

    assert reply.status_code == status
    assert reply.headers.get("allow") == allow
    assert reply.headers["x-should-retry"] == "false"
    if says:
        assert reply.json()["error"]["message"] == says
        assert reply.json()["error"]["type"] == "invalid_request_error"
    (ended,) = harness.seen.of("ended")
    assert ended[1] in {"_other", "/v1/images/edits", "/v1/images/edits/{edit_id}", "/healthz"}
    assert ended[2] in {"GET", "POST", "HEAD", "_OTHER"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/edits/images/edits",
        "/v1/images/edits/images/edits/",
        "/v1/v1/images/edits",
        "/api/images/edits",
        "/v1/images/generations/images/generations",
    ],
)
async def test_a_base_url_set_wrong(path: str) -> None:
    """Who set the whole endpoint as the base URL is told what to set."""
    async with EdgeHarness().client() as client:
        reply = await client.post(path, data=FORM, files=FILES)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "unknown_url")
    assert "set the base_url of your client to this server's address with /v1" in error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses",
        "/v1/responses/resp_1",
        "/responses/",
        "/openai/v1/responses?api-version=preview",
        "/v1/chat/completions",
    ],
)
async def test_another_api_of_openais(path: str) -> None:
    """The Responses API's image tool is not served, and the 404 says what is."""
    async with EdgeHarness().client() as client:
        reply = await client.post(path, json={"model": "gpt-5", "input": "a hat"})

    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "unknown_url")
    assert error["type"] == "invalid_request_error"
    assert "/v1/images/edits" in error["message"]
    assert "/v1/images/generations" in error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/variations",
        "/images/variations/",
        "/openai/deployments/dep1/images/variations?api-version=1",
    ],
)
async def test_variations(path: str) -> None:
    """What OpenAI retired is gone here too, in the envelope and for good."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post(path, data=FORM, files=FILES)

    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "gone")
    assert reply.headers["x-should-retry"] == "false"
    assert harness.seen.of("ended")[0][1] == "/v1/images/variations"


@pytest.mark.parametrize(
    ("deployment", "model", "taken"),
    [
        pytest.param("gpt-image-1", None, True, id="deployment"),
        pytest.param("gpt-image-1", "dep1", True, id="deployment-before-an-unknown-model"),
        pytest.param("dep1", "gpt-image-1", True, id="model-before-an-unknown-deployment"),
        pytest.param("dep1", None, False, id="unknown-deployment"),
        pytest.param("dep1", "dep2", False, id="both-unknown"),
    ],
)
async def test_azure_deployment(deployment: str, model: str | None, taken: bool) -> None:
    """The form's model goes first where there is such; then what the path names; else 400."""
    harness = EdgeHarness()
    form = {"prompt": "a hat"} | ({"model": model} if model else {})

    async with harness.client(key=None) as client:
        reply = await client.post(
            f"/openai/deployments/{deployment}/images/edits?api-version=2025-04-01-preview",
            data=form,
            files=FILES,
            headers={"api-key": KEY},
        )

    if taken:
        assert reply.status_code == 200
        assert harness.service.edit_requests[0].edit.model == "wan2.5-i2i-preview"
    else:
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
        assert f"'{model or deployment}' does not exist" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        pytest.param("/v1/images/edits", "OPTIONS, POST", id="edits"),
        pytest.param("/v1/images/edits/edit_1", "DELETE, GET, HEAD, OPTIONS", id="edit"),
        pytest.param("/openai/models", "GET, HEAD, OPTIONS", id="models"),
    ],
)
async def test_options(path: str, allow: str) -> None:
    """OPTIONS tells what a path takes, without a key."""
    async with EdgeHarness().client(key=None) as client:
        reply = await client.options(path)

    assert (reply.status_code, reply.headers["allow"], reply.content) == (204, allow, b"")
    assert not [name for name in reply.headers if name.startswith("access-control-")]


async def test_options_of_nothing() -> None:
    """An unknown path takes nothing."""
    async with EdgeHarness().client() as client:
        reply = await client.options("/v1/foo")

    assert reply.status_code == 404


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-image-1", "/healthz", "/readyz"])
async def test_head(path: str) -> None:
    """HEAD is answered wherever GET is, with its headers."""
    async with EdgeHarness().client() as client:
        head = await client.head(path)
        get = await client.get(path)

    assert (head.status_code, head.headers["content-length"]) == (200, str(len(get.content)))


def model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_758_585_600, "owned_by": "wan-gateway"}


@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "/v1/models/", "/openai/models", "/openai/v1/models"]
)
async def test_models(path: str) -> None:
    """The list holds DashScope's names and then their aliases, of both paths."""
    async with EdgeHarness().client() as client:
        reply = await client.get(path)

    assert reply.json() == {
        "object": "list",
        "data": [
            model("wan2.5-i2i-preview"),
            model("wan2.5-t2i-preview"),
            model("gpt-image-1"),
        ],
    }
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/v1/models/gpt-image-1", "/models/gpt-image-1/"])
async def test_model(path: str) -> None:
    """One model is the bare object."""
    async with EdgeHarness().client() as client:
        reply = await client.get(path)

    assert reply.json() == model("gpt-image-1")


async def test_a_model_that_comes_later() -> None:
    """A name that is taken without being listed exists, too."""
    async with EdgeHarness().client() as client:
        reply = await client.get("/v1/models/gpt-image-9")

    assert reply.json() == model("gpt-image-9")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("edits", "is not allowed to your key. Use one of: gpt-image-1", id="edits"),
        pytest.param("generations", "No model that can generate is allowed", id="generations"),
    ],
)
async def test_a_model_that_is_not_allowed(path: str, says: str) -> None:
    """A model that a tenant may not use is 400 with those that it may, and is not listed."""
    harness = EdgeHarness(
        edits=Catalog(Operation.EDIT, {"gpt-image-1": EDITOR}, "gpt-image-1", refused={"dear"}),
        generations=Catalog(Operation.GENERATE, {}, "", refused={"dear"}),
    )

    async with harness.client() as client:
        form = {**FORM, "model": "dear"}
        files = FILES if path == "edits" else None
        refused = await client.post(f"/v1/images/{path}", data=form, files=files)
        listed = await client.get("/v1/models")
        one = await client.get("/v1/models/dear")

    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "model")
    assert says in error["message"]
    assert [it["id"] for it in listed.json()["data"]] == ["gpt-image-1"]
    assert (one.status_code, one.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", ["dall-e-9", "a%2Fb%20c", "a/b%20c"])
async def test_unknown_model(name: str) -> None:
    """An unknown name, whatever slashes it has, is OpenAI's 404 and not an unknown path."""
    async with EdgeHarness().client() as client:
        reply = await client.get(f"/v1/models/{name}")

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-image-1", "/v1/images/edits/1"])
async def test_no_key(path: str) -> None:
    """Without a key nothing of OpenAI's API answers."""
    harness = EdgeHarness()

    async with harness.client(key=None) as client:
        reply = await client.get(path)

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert harness.seen.of("ended")[0][4] == "_unknown"


async def test_health_and_readiness() -> None:
    """Draining ends readiness, not life; nobody needs a key to ask."""
    harness = EdgeHarness()

    async with harness.client(key=None) as client:
        ready = await client.get("/readyz")
        harness.readiness.draining = True
        draining = await client.get("/readyz")
        health = await client.get("/healthz")

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        pytest.param("*/*", "text/plain; version=0.0.4", b"cats_total 1.0\n", id="text"),
        pytest.param(
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=1.0.0",
            b"# EOF\n",
            id="openmetrics",
        ),
    ],
)
async def test_metrics(accept: str, content_type: str, end: bytes) -> None:
    """The exposition comes in the format that the scraper asks for."""
    harness = EdgeHarness()
    Counter("cats", "Seen.", registry=harness.registry).inc()

    async with harness.client(key=None) as client:
        reply = await client.get("/metrics", headers={"accept": accept})

    assert reply.headers["content-type"].startswith(content_type)
    assert reply.headers["content-type"].count("charset") == 1
    assert b"cats_total 1.0\n" in reply.content
    assert end in reply.content


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/generations",
        "/images/generations/",
        "/openai/images/generations?api-version=2025-04-01-preview",
        "/openai/v1/images/generations",
        "/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview",
    ],
)
async def test_every_path_of_generations(path: str) -> None:
    """A generation is made at each of them; all count as one route, and no picture is asked for."""
    harness = EdgeHarness()

    async with harness.client() as http:
        answered = await http.post(path, json={"prompt": "a hat", "model": "gpt-image-1"})

    assert answered.status_code == 200
    assert harness.seen.of("started") == [("started", "/v1/images/generations")]
    (edit_request,) = harness.service.edit_requests
    assert (edit_request.edit.model, harness.service.pictures) == ("wan2.5-t2i-preview", [()])
