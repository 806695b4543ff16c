"""A mask on its way in; what is made of it later is tested in tests/imaging and tests/faults."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import AnswerForm, Keepsake, Size
from gateway.domain.errors import InvalidImage
from gateway.domain.tenant import MaskRule
from tests.downstream.house import ACME, FILES, FORM, PNG, House

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
    house = House()

    async with house.customer() as customer:
        reply = await customer.post("/v1/images/edits", **request_)

    (ask,) = house.desk.asks
    assert reply.status_code == 200
    assert ask.keepsake == Keepsake(original=PNG, mask=MASK)
    assert ask.edit.size == Size(1024, 1024)
    assert ask.edit.answer == AnswerForm(scale_to=Size(1024, 1024), composite=True)


async def test_a_mask_is_content() -> None:
    """The same edit with a mask, and with another, is another edit."""
    house = House()
    other = {**FILES, "mask": ("m.png", b"\x89PNG other")}
    all_files: list[Any] = [FILES, FORMED["files"], other]

    async with house.customer() as customer:
        for files in all_files:
            await customer.post("/v1/images/edits", data=FORM, files=files)

    assert len({ask.digest for ask in house.desk.asks}) == 3


async def test_without_a_mask_nothing_is_kept() -> None:
    """An edit without a mask needs none of its bytes again."""
    house = House()

    async with house.customer() as customer:
        await customer.post("/v1/images/edits", data=FORM, files=FILES)

    assert house.desk.asks[0].keepsake is None
    assert house.desk.asks[0].edit.answer.as_made


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        pytest.param(
            {"data": {**FORM, "mask": "https://a.b/m.png"}, "files": FILES},
            "the mask cannot be an URL",
            id="mask-as-url",
        ),
        pytest.param(
            {"data": {**FORM, "image": "https://a.b/c.png", "mask": DATA_URLS["mask"]}},
            "the image cannot be an URL",
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
    house = House()

    async with house.customer() as customer:
        reply = await customer.post("/v1/images/edits", **request_)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "mask")
    assert says in error["message"]
    assert house.desk.asks == []


async def test_a_tenant_without_masks() -> None:
    """With `mask = "refuse"` each mask is refused, and not looked at."""
    house = House(tenant=replace(ACME, mask=MaskRule.REFUSE))

    async with house.customer() as customer:
        reply = await customer.post("/v1/images/edits", **FORMED)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "mask")
    assert "cannot be applied here" in error["message"]


async def test_a_mask_that_does_not_fit() -> None:
    """What is wrong with a mask is told as it was found."""
    house = House()

    async def does_not(kept: Keepsake) -> Size:
        raise InvalidImage("Invalid mask: it is 1x1.", param="mask")

    house.check_mask = does_not

    async with house.customer() as customer:
        reply = await customer.post("/v1/images/edits", **FORMED)

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_image_file"
    assert house.desk.asks == []
