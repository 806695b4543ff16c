"""Where a picture was taken goes upstream only if its tenant says so."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from gateway.imaging import jpeg
from tests.harness import digest, start_harness

pytestmark = pytest.mark.anyio

_PICTURES = Path(__file__).parents[1] / "data" / "pictures"
GPS = (_PICTURES / "exif_gps.jpg").read_bytes()


def position(picture: bytes) -> dict[int, object]:
    with Image.open(BytesIO(picture)) as opened:
        return dict(opened.getexif().get_ifd(ExifTags.IFD.GPSInfo))


@pytest.mark.parametrize("fit", [True, False], ids=["fit", "as-it-is"])
@pytest.mark.parametrize(
    ("message", "sent", "expected"),
    [
        pytest.param({}, jpeg.strip_metadata(GPS), "1:metadata_removed", id="by-default"),
        pytest.param(
            {"metadata": "strip"}, jpeg.strip_metadata(GPS), "1:metadata_removed", id="strip"
        ),
        pytest.param({"metadata": "keep"}, GPS, None, id="keep"),
    ],
)
async def test_gps(
    message: dict[str, str], sent: bytes, expected: str | None, *, fit: bool
) -> None:
    """What arrives has the position of the photograph if it is kept, and none if not."""
    tenant = {"region": "beijing", "open": True, "fit": fit, **message}
    async with start_harness(tenants={"acme": tenant}) as harness:
        answer = await harness.edit("gps", picture=GPS)

        (task,) = (await harness.books())["tasks"]
        assert answer.status_code == 200
        assert task["inputs_sha256"] == [digest(sent)]
        assert bool(position(sent)) is (message == {"metadata": "keep"})
        assert answer.headers.get("x-wan-adjusted") == expected


async def test_heic() -> None:
    """An iPhone's photograph goes upstream as a JPEG."""
    async with start_harness() as harness:
        answer = await harness.edit("heic", picture=(_PICTURES / "photo.heic").read_bytes())

        assert answer.status_code == 200
        assert answer.headers["x-wan-adjusted"] == "1:converted:heif"
