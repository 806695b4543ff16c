import pytest

from gateway.upstream.downloads import fault_of_end, fault_of_head
from tests.upstream.wire import PNG


def fault_of(content: bytes) -> str | None:
    return fault_of_head(content) or fault_of_end(content, content, len(content))


_WEBP = b"RIFF\x0c\x00\x00\x00WEBPVP8 1234"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PNG, id="png"),
        pytest.param(PNG + b"\n", id="png-and-a-byte"),
        pytest.param(b"\xff\xd8\xff\xe0JFIF\xff\xd9", id="jpeg"),
        pytest.param(_WEBP, id="webp"),
    ],
)
def test_pictures(content: bytes) -> None:
    """PNG, JPEG and WEBP are told by their first bytes."""
    assert fault_of(content) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PNG[:-1], id="png-without-end"),
        pytest.param(b"\xff\xd8\xff\xe0JFIF", id="jpeg-without-end"),
        pytest.param(_WEBP[:-1], id="webp-without-end"),
        pytest.param(b"RIFF\x0c\x00\x00\x00WAVEfmt 1234", id="riff-but-sound"),
        pytest.param(b"<?xml version='1.0'?><Error/>", id="xml"),
        pytest.param(b"GIF89a", id="gif"),
    ],
)
def test_no_pictures(content: bytes) -> None:
    """A cut picture and a page that says 200 are both seen."""
    assert fault_of(content) is not None
