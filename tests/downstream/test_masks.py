"""A mask on its way in; what is made of it later is tested in tests/imaging and tests/faults."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.domain.edit import MaskSource, OutputOptions, Picture, Size
from gateway.domain.errors import InvalidImage
from gateway.domain.tenant import MaskRule, Tenant
from tests.downstream.harness import ACME, EDITS, FILES, FORM, MODELS, PNG, EdgeHarness, passes
from tests.models import EDITOR

pytestmark = pytest.mark.anyio

MASK = b"\x89PNG mask"
FORMED: dict[str, Any] = {"data": FORM, "files": {**FILES, "mask": ("m.png", MASK, "image/png")}}
DATA_URLS = {
    name: "data:image/png;base64," + b64encode(content).decode()
    for name, content in (("image", PNG), ("mask", MASK))
}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(FORMED, id="form"),
        pytest.param(
            {
                "json": {
                    **FORM,
                    "images": [{"image_url": DATA_URLS["image"]}],
                    "mask": {"image_url": DATA_URLS["mask"]},
                }
            },
            id="json",
        ),
    ],
)
async def test_a_mask_comes_with_the_bytes_as_they_were_sent(request_: dict[str, Any]) -> None:
    """The edit knows its original and mask, and is made and answered at the original's size."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **request_)

    (edit_request,) = harness.service.edit_requests
    assert reply.status_code == 200
    assert edit_request.mask_source == MaskSource(original=PNG, mask=MASK)
    assert edit_request.edit.size == Size(1024, 1024)
    assert edit_request.edit.output == OutputOptions(scale_to=Size(1024, 1024), composite=True)


async def test_a_mask_is_content() -> None:
    """The same edit with a mask, and with another, is another edit."""
    harness = EdgeHarness()
    other = {**FILES, "mask": ("m.png", b"\x89PNG other")}
    all_files: list[Any] = [FILES, FORMED["files"], other]

    async with harness.client() as client:
        for files in all_files:
            await client.post("/v1/images/edits", data=FORM, files=files)

    assert len({edit_request.digest for edit_request in harness.service.edit_requests}) == 3


async def test_without_a_mask_nothing_is_kept() -> None:
    """An edit without a mask needs none of its bytes again."""
    harness = EdgeHarness()

    async with harness.client() as client:
        await client.post("/v1/images/edits", data=FORM, files=FILES)

    assert harness.service.edit_requests[0].mask_source is None
    assert harness.service.edit_requests[0].edit.output.passes_through


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        pytest.param(
            {"data": {**FORM, "mask": "https://a.b/m.png"}, "files": FILES},
            "the mask cannot be a URL",
            id="mask-as-url",
        ),
        pytest.param(
            {"data": {**FORM, "image": "https://a.b/c.png", "mask": DATA_URLS["mask"]}},
            "the image cannot be a URL",
            id="image-as-url",
        ),
        pytest.param(
            {**FORMED, "data": {**FORM, "response_format": "url"}},
            "leave the mask out",
            id="answer-as-url",
        ),
    ],
)
async def test_masks_that_are_refused(request_: dict[str, Any], says: str) -> None:
    """What a mask cannot be had with is named, before anything is paid."""
    harness = EdgeHarness()

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **request_)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "mask")
    assert says in error["message"]
    assert harness.service.edit_requests == []


async def test_a_tenant_without_masks() -> None:
    """With `mask = "refuse"` each mask is refused, and not looked at."""
    harness = EdgeHarness(tenant=replace(ACME, mask=MaskRule.REFUSE))

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **FORMED)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "mask")
    assert "cannot be applied here" in error["message"]


async def test_a_mask_that_does_not_fit() -> None:
    """What is wrong with a mask is told as it was found."""
    harness = EdgeHarness()

    async def does_not(kept: MaskSource) -> Size:
        raise InvalidImage("Invalid mask: it is 1x1.", param="mask")

    harness.check_mask = does_not

    async with harness.client() as client:
        reply = await client.post("/v1/images/edits", **FORMED)

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_image_file"
    assert harness.service.edit_requests == []


DALLE = {**MODELS, "dall-e-2": EDITOR}


def with_dalle(tenant: Tenant = ACME) -> EdgeHarness:
    """A door that takes OpenAI's older name, and a picture that is transparent somewhere."""
    harness = EdgeHarness(tenant=tenant, edits=replace(EDITS, models=DALLE))
    harness.clear.add(PNG)
    return harness


async def edited(harness: EdgeHarness, **fields: str) -> httpx.Response:
    async with harness.client() as client:
        return await client.post("/v1/images/edits", data={**FORM, **fields}, files=FILES)


async def test_under_dall_e_2_the_transparent_parts_are_the_mask() -> None:
    """OpenAI's contract for that model: without a mask the picture's own transparency is it."""
    harness = with_dalle()

    await edited(harness, model="dall-e-2")

    (edit_request,) = harness.service.edit_requests
    assert edit_request.mask_source == MaskSource(original=PNG, mask=PNG)
    assert edit_request.edit.output.composite


@pytest.mark.parametrize("model", ["gpt-image-1", "wan2.5-i2i-preview"])
async def test_under_other_models_they_are_not(model: str) -> None:
    """Their whole picture is edited, as at OpenAI."""
    harness = with_dalle()

    await edited(harness, model=model)

    assert harness.service.edit_requests[0].mask_source is None


async def test_under_dall_e_2_a_mask_of_its_own_goes_first() -> None:
    """The picture's transparency counts only where no mask was sent."""
    harness = with_dalle()

    async with harness.client() as client:
        await client.post(
            "/v1/images/edits", data={**FORM, "model": "dall-e-2"}, files=FORMED["files"]
        )

    assert harness.service.edit_requests[0].mask_source == MaskSource(original=PNG, mask=MASK)


async def test_under_dall_e_2_an_opaque_picture_is_edited_whole() -> None:
    """Nothing in it says where."""
    harness = with_dalle()
    harness.clear.clear()

    await edited(harness, model="dall-e-2")

    assert harness.service.edit_requests[0].mask_source is None


async def test_under_dall_e_2_a_picture_by_url_is_not_read() -> None:
    """It goes on as it is, like all of them."""
    harness = with_dalle()

    async with harness.client() as client:
        fields = {**FORM, "model": "dall-e-2", "image": "https://a.b/c.png"}
        await client.post("/v1/images/edits", data=fields, files={"note": (None, "")})

    assert harness.service.edit_requests[0].mask_source is None


@pytest.mark.parametrize(
    ("tenant", "fields", "says"),
    [
        pytest.param(
            replace(ACME, mask=MaskRule.REFUSE), {}, "masks are not applied here", id="refuse"
        ),
        pytest.param(ACME, {"response_format": "url"}, "which knows no mask", id="url"),
    ],
)
async def test_under_dall_e_2_what_cannot_be_done_is_said(
    tenant: Tenant, fields: dict[str, str], says: str
) -> None:
    """The picture is never flattened and edited all over in silence."""
    harness = with_dalle(tenant)

    reply = await edited(harness, model="dall-e-2", **fields)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "image")
    assert says in error["message"]
    assert harness.service.edit_requests == []


async def test_a_thread_is_waited_for_as_long_as_the_client_waits() -> None:
    """All that an edit waits for decoding is part of the client's own patience."""
    harness = with_dalle()

    async def slowly(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        await harness.clock.sleep(20.0)
        return await passes(pictures, tenant)

    harness.check = slowly
    headers = {"x-stainless-read-timeout": "60"}
    async with harness.client() as client:
        await client.post("/v1/images/edits", **FORMED, headers=headers)

    assert [tenant for tenant, _ in harness.claims] == ["acme"] * 2
    assert [wait for _, wait in harness.claims] == pytest.approx([58.0] * 2)
    assert harness.service.edit_requests[0].patience == 38.0
