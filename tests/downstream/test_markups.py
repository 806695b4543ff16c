"""A markup on its way in: OpenAI's guide that is laid over the first picture."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import Picture
from gateway.domain.tenant import MarkupRule, Tenant
from tests.downstream.harness import ACME, EDITS, FILES, FORM, MODELS, PNG, EdgeHarness, passes
from tests.models import EDITOR

pytestmark = pytest.mark.anyio

MARKUP = b"\x89PNG markup"
URL = "data:image/png;base64," + b64encode(MARKUP).decode()
PART = ("m.png", MARKUP, "image/png")
AS_JSON = {"images": [{"image_url": "data:image/png;base64," + b64encode(PNG).decode()}]}


@pytest.mark.parametrize(
    "request_",
    [
        *(
            pytest.param({"data": FORM, "files": {**FILES, name: PART}}, id=name)
            for name in ("markup", "markup[]", "markup[0]")
        ),
        pytest.param({"json": {**FORM, **AS_JSON, "markup": {"image_url": URL}}}, id="json"),
        pytest.param({"json": {**FORM, **AS_JSON, "markup": URL}}, id="json, plainly"),
        pytest.param({"data": {**FORM, "markup": URL}, "files": FILES}, id="data URL"),
    ],
)
async def test_it_is_laid_over_the_first_picture(request_: dict[str, Any]) -> None:
    """What goes up shows it, and the answer says so."""
    harness = EdgeHarness()
    checked: list[Any] = []

    async def seen(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        checked.extend(it.content for it in pictures)
        return await passes(pictures, tenant)

    harness.check = seen
    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **request_)

    (edit_request,) = harness.service.edit_requests
    assert reply.status_code == 200
    assert checked == [PNG + b" under " + MARKUP]
    assert edit_request.edit.adjusted == ("1:markup_laid_over",)
    assert edit_request.edit.output.passes_through


async def test_it_is_content() -> None:
    """The same edit with it, and with another, is another edit; as a mask it is a third one."""
    harness = EdgeHarness()
    other_markup = ("m.png", b"\x89PNG other")
    others: tuple[dict[str, Any], ...]
    others = ({"markup": PART}, {"markup": other_markup}, {"mask": PART}, {})
    async with harness.client() as client:
        for other in others:
            await client.post("/v1/images/edits", data=FORM, files={**FILES, **other})

    assert len({edit_request.digest for edit_request in harness.service.edit_requests}) == 4


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        pytest.param(
            {"data": {**FORM, "markup": "https://a.b/m.png"}, "files": FILES},
            "the markup cannot be a URL",
            id="as a URL",
        ),
        pytest.param(
            {"data": {**FORM, "image": "https://a.b/c.png", "markup": URL}},
            "the image cannot be a URL",
            id="over a URL",
        ),
        pytest.param(
            {"data": FORM, "files": {**FILES, "markup": PART, "mask": PART}},
            "together with a 'mask'",
            id="with a mask",
        ),
        pytest.param(
            {"json": {**FORM, **AS_JSON, "markup": [URL, URL]}}, "Send one", id="two of them"
        ),
    ],
)
async def test_what_it_cannot_be_had_with(request_: dict[str, Any], says: str) -> None:
    """It is named, before anything is paid."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **request_)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "markup")
    assert says in error["message"]
    assert harness.service.edit_requests == []


async def test_a_tenant_without_markups() -> None:
    """With `markup = "refuse"` each is refused, and not looked at."""
    harness = EdgeHarness(tenant=replace(ACME, markup=MarkupRule.REFUSE))

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", data=FORM, files={**FILES, "markup": PART})

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "markup")
    assert harness.claims == []


async def test_a_generation_takes_none() -> None:
    """There is not a picture that it could lie on."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post("/v1/images/generations", json={**FORM, "markup": URL})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "markup")


async def test_not_over_a_picture_that_is_its_own_mask() -> None:
    """Under dall-e-2 transparent parts are a mask, and the two exclude each other."""
    harness = EdgeHarness(edits=replace(EDITS, models={**MODELS, "dall-e-2": EDITOR}))
    harness.clear.add(PNG)

    async with harness.client() as client:
        reply = await client.post(
            "/v1/images/edits",
            data={**FORM, "model": "dall-e-2"},
            files={**FILES, "markup": PART},
        )

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "markup")
    assert harness.service.edit_requests == []
