"""Boxes mark places in pictures: there is a list for each, and the pictures stay as they are."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.domain.edit import Picture
from gateway.domain.models import Catalog, Operation
from gateway.domain.tenant import Tenant
from tests.downstream.harness import FILES, EdgeHarness
from tests.models import MODELS

pytestmark = pytest.mark.anyio
WAN27 = Catalog(Operation.EDIT, {"wan2.7-image": MODELS["wan2.7-image"]}, "wan2.7-image")


async def refusal(boxes: str, *notes: str, moved: bool = False) -> str:
    """Return the message about *boxes* beside a picture with *notes*; empty: it was taken."""
    harness = EdgeHarness(edits=WAN27)

    async def check(pictures: Sequence[Picture], tenant: Tenant) -> tuple[Picture, ...]:
        assert tenant.name == "acme"
        return tuple(
            replace(it, media_type="image/png", adjusted=notes, moved=moved) for it in pictures
        )

    harness.check = check
    async with harness.client() as client:
        form = {"prompt": "a hat", "bbox_list": boxes}
        reply = await client.post("/v1/images/edits", data=form, files=FILES)
    if reply.status_code == 200:
        return ""
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "bbox_list")
    return str(error["message"])


async def test_boxes_of_one_picture() -> None:
    """One list for one picture, which may lose its metadata, goes up."""
    assert await refusal("[[[1, 2, 3, 4]]]", "metadata_removed") == ""


async def test_more_lists_than_pictures() -> None:
    """Each list is of one picture."""
    assert "one list for each of your 1 images" in await refusal("[[[1, 2, 3, 4]], []]")


async def test_a_picture_whose_pixels_moved() -> None:
    """Boxes of a picture that is scaled, turned or padded would mark something else."""
    message = await refusal("[[[1, 2, 3, 4]]]", "rotated", "padded:1x1->2x2", moved=True)

    assert "image 1 must be sent as the model takes it" in message
    assert "(rotated, padded:1x1->2x2)" in message
