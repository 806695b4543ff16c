import base64

import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidImage, InvalidRequest
from gateway.translate.openai_pictures import (
    check_count,
    is_file_id,
    is_image,
    is_picture,
    overlay_of,
    picture_order,
    read_picture,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("names", "order"),
    [
        pytest.param(["image"], (0,), id="one"),
        pytest.param(["image[]"], (0,), id="a list of one"),
        pytest.param(["image[]", "image[]", "image[]"], (0, 1, 2), id="a list"),
        pytest.param(["image", "image"], (0, 1), id="repeated"),
        pytest.param(["image[1]", "image[0]"], (1, 0), id="numbers count"),
        pytest.param(["image[10]", "image[2]"], (1, 0), id="as numbers, not as text"),
        pytest.param(["image[0]", "image", "image[]"], (1, 2, 0), id="without number first"),
        pytest.param(["image[1]", "image[1]"], (0, 1), id="a number twice"),
        pytest.param(["prompt", "image", "mask", "image"], (1, 3), id="among others"),
        pytest.param(["images[]", "images[0][image_url]"], (0, 1), id="JSON's name in a form"),
        pytest.param(["image_urls[1]", "image_url"], (1, 0), id="by their URLs"),
    ],
)
def test_order(names: list[str], order: tuple[int, ...]) -> None:
    """Pictures go in the order sent; numbers are honoured as numbers."""
    assert picture_order(names) == order


@pytest.mark.parametrize(
    "names", [pytest.param([], id="nothing"), pytest.param(["prompt", "imageless"], id="others")]
)
def test_no_picture(names: list[str]) -> None:
    """An edit without a picture misses its image."""
    with pytest.raises(InvalidRequest) as refused:
        check_count(len(picture_order(names)), param="image", most=3)

    assert (refused.value.param, refused.value.code) == ("image", "missing_required_parameter")


def test_too_many_pictures() -> None:
    """DashScope takes three pictures; a fourth is refused, not dropped."""
    with pytest.raises(InvalidRequest, match=r"Too many images: 4\. Send 3") as refused:
        check_count(4, param="image", most=3)

    assert (refused.value.param, refused.value.code) == ("image", "invalid_value")


@pytest.mark.parametrize(
    ("name", "image", "mask", "file_id"),
    [
        pytest.param("image", True, False, False, id="image"),
        pytest.param("image[0][url]", True, False, False, id="its url"),
        pytest.param("image_url", True, False, False, id="a URL of its own"),
        pytest.param("image_urls[]", True, False, False, id="a list of them"),
        pytest.param("image_urlss", False, False, False, id="misspelt"),
        pytest.param("mask", False, True, False, id="mask"),
        pytest.param("mask[image_url]", False, True, False, id="the mask's url"),
        pytest.param("file_id", False, False, True, id="file_id"),
        pytest.param("images[][file_id]", False, False, True, id="an image's file_id"),
        pytest.param("mask[file_id]", False, False, True, id="the mask's file_id"),
        pytest.param("my_file_id", False, False, False, id="something else"),
        pytest.param("prompt", False, False, False, id="prompt"),
        pytest.param("image[x]", False, False, False, id="a word for a number"),
    ],
)
def test_names(name: str, image: bool, mask: bool, file_id: bool) -> None:
    """A field is a picture, a mask or a file_id by its name alone."""
    assert (is_image(name), overlay_of(name) == "mask", is_file_id(name)) == (image, mask, file_id)
    assert is_picture(name) is (image or mask)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        pytest.param(DATA, Picture(content=PNG), id="data URL"),
        pytest.param(DATA.replace("data:image", "DATA:IMAGE"), Picture(content=PNG), id="caps"),
        pytest.param(DATA.replace("image/png", ""), Picture(content=PNG), id="without type"),
        pytest.param(
            DATA.replace("png;", "png;name=a.png;"), Picture(content=PNG), id="with a name"
        ),
        pytest.param(f" {DATA}\n", Picture(content=PNG), id="space around"),
        pytest.param(
            "https://a.b/c.png?x=%2B&y", Picture(url="https://a.b/c.png?x=%2B&y"), id="https"
        ),
        pytest.param("http://a.b", Picture(url="http://a.b"), id="http"),
        pytest.param("HTTPS://A.B/c", Picture(url="HTTPS://A.B/c"), id="scheme in capitals"),
    ],
)
def test_a_picture_as_text(text: str, ref: Picture) -> None:
    """A data URL is decoded, a web URL goes on as it is."""
    assert read_picture(text, which="image 1", param="images") == ref


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("data:image/png;base64,iVBO*w0K", InvalidImage, id="not base64"),
        pytest.param("data:image/png;base64,iVBORw0K=", InvalidImage, id="bad padding"),
        pytest.param("data:image/png;base64,猫", InvalidImage, id="beyond ASCII"),
        pytest.param("data:image/png;base64,", InvalidImage, id="empty"),
        pytest.param("data:image/png;base64", InvalidImage, id="no comma"),
        pytest.param("data:image/png,abc", InvalidImage, id="not marked as base64"),
        pytest.param("ftp://a.b/c.png", InvalidRequest, id="another scheme"),
        pytest.param("file:///etc/passwd", InvalidRequest, id="a file"),
        pytest.param("oss://a/b.png", InvalidRequest, id="storage of ours"),
        pytest.param("https:///c.png", InvalidRequest, id="no host"),
        pytest.param("https://a.b/c d.png", InvalidRequest, id="a space"),
        pytest.param("https://" + "a" * 50_000 + " ", None, id="long and good"),
        pytest.param("https://" + "a" * 100_000 + " b", InvalidRequest, id="long and bad"),
        pytest.param("iVBORw0K", InvalidRequest, id="bare base64"),
    ],
)
def test_a_picture_that_cannot_be_read(text: str, kind: type[InvalidRequest] | None) -> None:
    """The refusal names which image, and the field it came in."""
    if kind is None:
        assert read_picture(text, which="image 2", param="images").url == text.strip()
        return

    with pytest.raises(InvalidRequest, match="image 2") as refused:
        read_picture(text, which="image 2", param="images")

    assert type(refused.value) is kind
    assert refused.value.param == "images"


def test_a_picture_keeps_to_itself() -> None:
    """Neither bytes nor a signed URL show in the repr."""
    assert (
        repr(Picture(content=PNG, url="https://a?Signature=x"))
        == "Picture(media_type='', size=None, adjusted=(), moved=False)"
    )
