"""gateway.translate.openai_pictures."""

import base64

import pytest

from gateway.domain.errors import InvalidImage, InvalidRequest
from gateway.translate.openai_pictures import PictureText

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
B64 = base64.b64encode(PNG)
URL = b"data:image/png;base64," + B64


def read(text: bytes, *, step: int = 10**6, is_file: bool = False) -> PictureText:
    picture = PictureText(is_file=is_file)
    for at in range(0, len(text), step):
        picture.feed(text[at : at + step])
    picture.end()
    return picture


@pytest.mark.parametrize("step", [1, 7, 299, 10**6])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(URL, id="a data URL"),
        pytest.param(URL.replace(b"data:", b"DATA:"), id="in capitals"),
        pytest.param(b"\xef\xbb\xbf \r\n" + URL + b"\r\n", id="with a mark and spaces"),
        pytest.param(b"data:;base64," + B64, id="without a type"),
        pytest.param(b"data:image/png;name=a b.png; Base64," + B64, id="with parameters"),
        pytest.param(b"data:image/png;base64;charset=utf-8," + B64, id="parameters behind"),
        pytest.param(b"data:image/png;base64,\r\n" + base64.encodebytes(PNG), id="wrapped"),
        pytest.param(URL.rstrip(b"="), id="without padding"),
        pytest.param(b"data:image/png;base64," + base64.urlsafe_b64encode(PNG), id="base64url"),
        pytest.param(B64, id="base64"),
        pytest.param(base64.encodebytes(PNG), id="base64, wrapped"),
        pytest.param(PNG, id="bytes"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False], ids=["file", "text"])
def test_pictures(text: bytes, step: int, is_file: bool) -> None:
    """A picture's text is decoded, wherever it is cut, whether it came as a file or not."""
    picture = read(text, step=step, is_file=is_file)

    assert picture.content("image 1", "image") == (PNG, "")
    assert not picture.has_fault
    assert not picture.is_empty


@pytest.mark.parametrize(
    "start",
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1",
        b"GIF89a\1\0\1\0\x80\0",
        b"RIFF\1\2\3\4WEBP",
        b"BM\1\2\3\4\0\0\0\0\1\2",
        b"II*\0\1\2\3\4\5\6\7\0",
        b"MM\0*\1\2\3\4\5\6\7\0",
        b"\0\0\0 ftypheic",
    ],
)
def test_base64_of_each_format(start: bytes) -> None:
    """Base64 alone is taken where its first bytes are a picture's."""
    assert read(base64.b64encode(start)).content("image 1", "image") == (start, "")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        pytest.param(b"data:image/png;base64", InvalidImage, "no comma", id="no comma"),
        pytest.param(b"data:image/png" + b"x" * 400, InvalidImage, "no comma", id="nor later"),
        pytest.param(b"data:image/svg+xml,<svg/>", InvalidImage, "not base64", id="not base64"),
        pytest.param(b"data:image/png;base64,", InvalidImage, "it is empty", id="empty"),
        pytest.param(b"data:image/png;base64,iVBO*", InvalidImage, "'\\*'", id="a star"),
        pytest.param(B64 + b"*", InvalidImage, "Invalid base64 for the mask", id="raw"),
        pytest.param(b"QUJDREVGR0hJSktM", InvalidRequest, "a picture's base64", id="other base64"),
        pytest.param(b"https://a.b/\x01", InvalidRequest, "Invalid URL", id="a control character"),
        pytest.param(b"cat.png" * 200, InvalidRequest, "Invalid URL", id="a name"),
        pytest.param(b"", InvalidImage, "it is empty", id="nothing"),
    ],
)
def test_refusals(text: bytes, kind: type[InvalidRequest], message: str) -> None:
    """What is not a picture is refused with its cause and its place."""
    with pytest.raises(kind, match=message) as refused:
        read(text).content("the mask", "mask")

    assert refused.value.param == "mask"
    assert "the mask" in refused.value.message


def test_an_url() -> None:
    """A URL is text; in a file it is the file."""
    assert read(b" https://a.b/c ").content("image 1", "image") == (b"", "https://a.b/c")
    assert read(b"https://a.b/c", is_file=True).content("image 1", "image") == (
        b"https://a.b/c",
        "",
    )


def test_long_text_is_a_file() -> None:
    """No URL has a megabyte: that is a picture, to be looked at as one."""
    content = ("é" * 2**20).encode()

    assert read(b"x" + content).content("image 1", "image") == (b"x" + content, "")


def test_what_was_left_empty() -> None:
    """An empty text is absent, an empty file is not."""
    assert read(b"").is_empty
    assert not read(b"", is_file=True).is_empty
    assert not read(b"data:,").is_empty


def test_a_fault_is_seen_on_the_way() -> None:
    """A broken picture is known as such before its end."""
    picture = PictureText()
    picture.feed(b"data:image/png;base64," + b"*" * 400)
    assert picture.has_fault

    picture = PictureText()
    picture.feed(b"data:image/png," + b"x" * 400)
    assert picture.has_fault
