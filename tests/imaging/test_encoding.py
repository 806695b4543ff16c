"""gateway.imaging.pixels."""

from io import BytesIO

from PIL import Image

from gateway.imaging.pixels import as_jpeg, as_png, as_webp
from tests.imaging.pictures import drawn


def test_nothing_is_said_of_colours() -> None:
    """No format writes a profile: what is encoded is in sRGB, whatever its source said."""
    picture = drawn(40, 30)
    picture.info["icc_profile"] = b"of another picture"

    for content in (as_jpeg(picture, 90), as_webp(picture, 90), as_png(picture)):
        with Image.open(BytesIO(content)) as result:
            assert result.size == (40, 30)
            assert "icc_profile" not in result.info


def test_colours_keep_their_resolution_at_high_quality() -> None:
    """From 95 on there is no chroma subsampling; below there is."""
    sampling = []
    for quality in (95, 90):
        with Image.open(BytesIO(as_jpeg(drawn(40, 30), quality))) as picture:
            sampling.append(picture.layer[0][1:3])  # type: ignore[attr-defined]  # JpegImageFile

    assert sampling == [(1, 1), (2, 2)]
