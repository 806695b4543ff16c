"""gateway.imaging.encoding."""

from io import BytesIO

import pytest
from PIL import Image

from gateway.imaging.encoding import as_jpeg, as_png, as_webp, profile_for
from tests.imaging.pictures import drawn, read


@pytest.mark.parametrize("profile", [None, b"a profile of some bytes"])
def test_profile_travels(profile: bytes | None) -> None:
    """Each format carries the ICC profile that it is given, or none."""
    made = (
        as_jpeg(drawn(40, 30), 90, profile),
        as_webp(drawn(40, 30), 90, profile),
        as_png(drawn(40, 30), profile),
    )

    for content in made:
        with Image.open(BytesIO(content)) as picture:
            assert picture.size == (40, 30)
            assert picture.info.get("icc_profile") == profile


def test_colours_keep_their_resolution_at_high_quality() -> None:
    """From 95 on there is no chroma subsampling; below there is."""
    sampling = []
    for quality in (95, 90):
        with Image.open(BytesIO(as_jpeg(drawn(40, 30), quality, None))) as picture:
            sampling.append(picture.layer[0][1:3])  # type: ignore[attr-defined]  # JpegImageFile

    assert sampling == [(1, 1), (2, 2)]


def test_a_printers_profile_does_not_stay_with_rgb() -> None:
    """The profile of a CMYK or gray picture is false for RGB."""
    kept = []
    for mode in ("RGB", "CMYK", "L"):
        picture = Image.new(mode, (4, 4))
        picture.info["icc_profile"] = b"profile"
        kept.append(profile_for(picture))

    assert kept == [b"profile", None, None]


def test_no_profile() -> None:
    """A picture without one has none."""
    with Image.open(BytesIO(read("plain.jpg"))) as picture:
        assert profile_for(picture) is None
