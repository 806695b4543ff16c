"""Each check of an input picture."""

from dataclasses import replace
from hashlib import sha256

import pytest

from gateway.sandbox.checks import PictureRules, look_at
from gateway.sandbox.responses import Refusal
from tests.sandbox.stage import data_url, picture

RULES = PictureRules(max_bytes=10 * 1024 * 1024, refuse_alpha=False, decodes=True)
NOT_A_PICTURE = "The file format is illegal and cannot be opened."
BAD_URL = "The provided URL does not appear to be valid. Ensure it is correctly formatted."


def never(url: str) -> bytes:
    raise AssertionError(url)


@pytest.mark.parametrize(
    ("kind", "mime"),
    [
        pytest.param("PNG", "image/png", id="png"),
        pytest.param("JPEG", "image/jpeg", id="jpeg"),
        pytest.param("JPEG", "image/jpg", id="jpg"),
        pytest.param("BMP", "IMAGE/BMP", id="bmp"),
        pytest.param("WEBP", "image/webp", id="webp"),
    ],
)
def test_data_urls(kind: str, mime: str) -> None:
    """Every documented format is taken inline, with its digest and sides."""
    data = picture((384, 500), kind)

    sent = look_at(data_url(data, mime), RULES, never)

    assert (sent.kind, sent.sha256, sent.size) == ("data", sha256(data).hexdigest(), (384, 500))
    assert sent.data == data


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_formats_of_one_model(kind: str) -> None:
    """A model may take more formats than all do."""
    entry = data_url(picture(kind=kind), f"image/{kind.lower()}")
    rules = replace(RULES, formats=(*RULES.formats, kind))

    assert look_at(entry, rules, never).size == (640, 480)
    with pytest.raises(Refusal, match="image format error"):
        look_at(entry, RULES, never)


def test_urls_are_not_fetched() -> None:
    """A web URL stands for itself: its digest, and the sides of a placeholder."""
    sent = look_at("https://x.example/a.png", RULES, never)

    assert sent.sha256 == sha256(b"https://x.example/a.png").hexdigest()
    assert (sent.kind, sent.size, sent.data) == ("url", (1024, 1024), None)


def test_uploaded() -> None:
    """An ``oss://`` URL is looked up, and its picture checked like any."""
    sent = look_at("oss://a/b.png", RULES, {"oss://a/b.png": picture()}.__getitem__)

    assert (sent.kind, sent.size) == ("oss", (640, 480))


def test_bytes_are_not_kept_where_nothing_is_made_of_them() -> None:
    """Without decoding, a cut-off picture passes and only its digest stays."""
    rules = PictureRules(max_bytes=10**7, refuse_alpha=False, decodes=False)

    sent = look_at(data_url(picture()[:-20]), rules, never)

    assert sent.data is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param("ftp://x/a.png", BAD_URL, id="scheme"),
        pytest.param("iVBORw0KGgo", BAD_URL, id="bare-base64"),
        pytest.param("data:image/png,abc", "image format error", id="no-base64"),
        pytest.param("data:image/gif;base64,R0lGODlh", "image format error", id="gif"),
        pytest.param("data:image/png;base64,%%%", "image format error", id="bad-base64"),
        pytest.param("data:image/png;base64,é", "image format error", id="not-ascii"),
        pytest.param(data_url(b"hello"), NOT_A_PICTURE, id="no-picture"),
        pytest.param(data_url(picture()[:-200]), NOT_A_PICTURE, id="cut-off"),
        pytest.param(data_url(picture(kind="TIFF")), NOT_A_PICTURE, id="tiff"),
        pytest.param(
            data_url(picture((383, 500))), "Image dimensions must be in [384, 5000]", id="narrow"
        ),
        pytest.param(
            data_url(picture((400, 5001))), "Image dimensions must be in [384, 5000]", id="tall"
        ),
    ],
)
def test_refusals(entry: str, message: str) -> None:
    """What is not a picture inside the rules is 400 InvalidParameter."""
    with pytest.raises(Refusal) as caught:
        look_at(entry, RULES, never)

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (400, "InvalidParameter", message)


@pytest.mark.parametrize(
    ("rules", "entry", "text"),
    [
        pytest.param(
            PictureRules(100, refuse_alpha=False, decodes=True),
            data_url(picture()),
            "file size is too large",
            id="bytes",
        ),
        pytest.param(
            PictureRules(10**7, refuse_alpha=True, decodes=True),
            data_url(picture(mode="RGBA")),
            "transparent channel",
            id="alpha",
        ),
    ],
)
def test_rules(rules: PictureRules, entry: str, text: str) -> None:
    """The size limit and the alpha rule are the region's to set."""
    with pytest.raises(Refusal, match=text):
        look_at(entry, rules, never)


def test_alpha_is_ignored_by_default() -> None:
    """A PNG with an alpha channel is taken."""
    assert look_at(data_url(picture(mode="RGBA")), RULES, never).size == (640, 480)
