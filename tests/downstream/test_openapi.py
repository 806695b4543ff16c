"""The OpenAPI document describes what is served, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.routing import Route

from gateway import __version__
from gateway.domain.edit import Size
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.downstream.cors import _EXPOSED_HEADERS
from gateway.downstream.openapi import openapi_document
from gateway.downstream.routes import MethodRouter
from gateway.edits.ports import ResultPlace
from gateway.translate.openai_fields import FIELDS, OneOf, WholeNumber
from tests.docs.pages import REFERENCE, spans, table_with
from tests.downstream.harness import FILES, FORM, EdgeHarness, FakeWaiter, answer

DOCUMENT: dict[str, Any] = json.loads(openapi_document())
SCHEMAS = DOCUMENT["components"]["schemas"]
BODIES = {
    Operation.EDIT: ("EditForm", "EditJson"),
    Operation.GENERATE: ("Generation",),
}
GATEWAY = Path(__file__).parents[2] / "gateway"
METHODS = {"get", "head", "post", "delete"}


def documented() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the whole path, the method and the operation of each that is described."""
    for path, item in DOCUMENT["paths"].items():
        for server in item["servers"]:
            for method in METHODS & item.keys():
                yield server["url"].rstrip("/") + path, method.upper(), item[method]


def test_it_is_openapi() -> None:
    """It is valid by OpenAPI's own schema, and of this version."""
    validate(DOCUMENT)
    assert DOCUMENT["info"]["version"] == __version__


def test_it_has_every_path_and_method(tmp_path: Path) -> None:
    """Each path and method that is served is described, and no other."""
    served = set()
    for route in EdgeHarness(kept_in=tmp_path).app.routes:
        assert isinstance(route, Route)
        router = route.endpoint
        assert isinstance(router, MethodRouter)
        path = route.path.replace(":path", "")
        if router.by_method and not path.endswith("/"):
            served |= {(path, method) for method in router.by_method}

    assert {(path, method) for path, method, _ in documented()} == served


@pytest.mark.parametrize("operation", Operation)
def test_it_has_every_field(operation: Operation) -> None:
    """Each field has its type, words and range; the rest are pictures."""
    for body in BODIES[operation]:
        fields = SCHEMAS[body]["properties"]

        assert FIELDS[operation].keys() <= fields.keys()
        assert fields.keys() - FIELDS[operation].keys() <= {"image", "images", "mask", "markup"}
        for name, read in FIELDS[operation].items():
            schema = fields[name]
            if isinstance(read, OneOf):
                assert schema["enum"] == list(read.choices)
            elif isinstance(read, WholeNumber):
                assert (schema["minimum"], schema["maximum"]) == (read.least, read.most)
            assert schema["description"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("response_format", "png"), ("stream", "perhaps"), ("n", "two"), ("seed", "x")],
)
def test_what_it_excludes_is_refused(name: str, text: str) -> None:
    """A value that the schema does not allow is one that the reader refuses."""
    schema = SCHEMAS["EditJson"]["properties"][name]

    assert not Draft202012Validator(schema).is_valid(text)
    with pytest.raises(GatewayError):
        FIELDS[Operation.EDIT][name](name, text)


def test_it_has_every_error() -> None:
    """Statuses, types and codes are those of the table of errors."""
    rows = table_with(REFERENCE / "errors.md", "401")
    error = SCHEMAS["Error"]["properties"]

    for column, listed in (
        (0, list(DOCUMENT["components"]["responses"])),
        (1, error["type"]["enum"]),
        (2, error["code"]["enum"]),
    ):
        assert {code for row in rows for code in spans(row[column])} == set(listed)


def test_it_has_every_header() -> None:
    """The headers of answers are those that scripts of web pages may read, and a few more."""
    described = DOCUMENT["components"]["headers"].keys()

    assert described - set(_EXPOSED_HEADERS) == {
        "accept-encoding",
        "allow",
        "cache-control",
        "last-modified",
        "openai-version",
        "www-authenticate",
    }
    assert set(_EXPOSED_HEADERS) <= described


def test_it_has_every_header_of_requests() -> None:
    """The headers that decide about an edit are parameters."""
    code = "\n".join(path.read_text("utf-8") for path in GATEWAY.rglob("*.py"))
    names = "x-stainless-[a-z-]+|prefer|idempotency-key|range|if-range|if-none-match"
    read = set(re.findall(rf'"({names})"', code))

    parameters = DOCUMENT["components"]["parameters"]
    assert {name for name, it in parameters.items() if it["in"] == "header"} == read


def test_nothing_in_it_is_unused() -> None:
    """Every component is referred to, so that none describes what is gone."""
    text = openapi_document().decode()

    for kind in ("schemas", "parameters", "headers", "responses"):
        for name in DOCUMENT["components"][kind]:
            if name in {"Completed", "405"}:
                continue  # the data of an event; the answer to a method that no path has
            assert f'"#/components/{kind}/{name}"' in text, name


def valid(schema: str, body: object) -> bool:
    root = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return Draft202012Validator(root).is_valid(body)


@pytest.mark.anyio
async def test_answers_are_as_described() -> None:
    """Pictures, URLs, a status, the models and an error have the shapes of their schemas."""
    harness = EdgeHarness(measure=lambda _: Size(1024, 1024))
    async with harness.client() as client:
        made = await client.post("/v1/images/edits", data=FORM, files=FILES)
        status = await client.post(
            "/v1/images/edits", data=FORM, files=FILES, headers={"prefer": "respond-async"}
        )
        models = await client.get("/v1/models")
        refused = await client.post("/v1/images/edits", data={"prompt": "a"}, files=[])
        health = await client.get("/healthz")
        described = await client.get("/openapi.json", headers={"authorization": ""})

    assert valid("Images", made.json())
    assert valid("EditStatus", status.json())
    assert valid("ModelList", models.json())
    assert valid("ErrorBody", refused.json())
    assert valid("Health", health.json())
    assert not valid("Images", refused.json())
    assert (described.status_code, described.json()) == (200, DOCUMENT)


@pytest.mark.anyio
async def test_urls_and_events_are_as_described() -> None:
    """An answer with URLs, and the data of an event, have the shapes of their schemas."""
    urls = EdgeHarness()

    async def by_url() -> Any:
        return answer(pictures=(), urls=("https://a.b/c.png",))

    urls.service.waiter = FakeWaiter(by_url)
    async with urls.client() as client:
        made = await client.post("/v1/images/edits", data=FORM, files=FILES)
    async with EdgeHarness().client() as client:
        streamed = await client.post(
            "/v1/images/edits", data={**FORM, "stream": "true"}, files=FILES
        )

    assert valid("Images", made.json())
    (data,) = re.findall(r"^data: (.*)$", streamed.text, re.MULTILINE)
    assert valid("Completed", json.loads(data))


@pytest.mark.anyio
async def test_kept_pictures_are_as_described(tmp_path: Path) -> None:
    """What is said of a picture's deletion, and an event with a URL, have their shapes."""
    harness = EdgeHarness(kept_in=tmp_path)
    assert harness.keeper is not None
    kept = await harness.keeper.keep(ResultPlace("acme", "edit_1", 0, 0, "png"), b"picture")

    async def by_url() -> Any:
        return answer(pictures=(), kept=(kept,))

    harness.service.waiter = FakeWaiter(by_url)
    async with harness.client() as client:
        streamed = await client.post(
            "/v1/images/edits", data={**FORM, "stream": "true"}, files=FILES
        )
        one = await client.delete(f"/v1/images/results/{kept.name}")
        rest = await client.delete("/v1/images/results")

    (data,) = re.findall(r"^data: (.*)$", streamed.text, re.MULTILINE)
    assert valid("Completed", json.loads(data))
    assert valid("DeletedResult", one.json())
    assert valid("DeletedResults", rest.json())


def test_statuses_of_an_edit() -> None:
    """The stages are those of EditStatus."""
    stated = re.search(r'"""(waiting[^"]*)"""', (GATEWAY / "edits/request.py").read_text("utf-8"))

    assert stated is not None
    stages = re.findall(r"\w+", stated[1].partition(":")[0])
    assert SCHEMAS["EditStatus"]["properties"]["status"]["enum"] == stages
