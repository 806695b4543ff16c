"""gateway.imaging.formats."""

import importlib.util
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gateway.imaging.formats import (
    AVIF,
    BMP,
    GIF,
    HEIF,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    Format,
    format_of,
    heif_readable,
)


@pytest.fixture(autouse=True)
def _with_fresh_cache() -> Iterator[None]:
    heif_readable.cache_clear()
    yield
    heif_readable.cache_clear()


@pytest.mark.parametrize(
    ("start", "samples"),
    [
        pytest.param(b"\xff\xd8\xff\xe0", JPEG, id="jpeg"),
        pytest.param(b"\x89PNG\r\n\x1a\n", PNG, id="png"),
        pytest.param(b"BM....", BMP, id="bmp"),
        pytest.param(b"RIFF....WEBPVP8 ", WEBP, id="webp"),
        pytest.param(b"GIF87a", GIF, id="gif 87"),
        pytest.param(b"GIF89a", GIF, id="gif 89"),
        pytest.param(b"II*\x00", TIFF, id="tiff, little end"),
        pytest.param(b"MM\x00*", TIFF, id="tiff, big end"),
        pytest.param(b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00mif1", AVIF, id="avif"),
        pytest.param(b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", AVIF, id="avif behind"),
        pytest.param(b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1", HEIF, id="heic"),
        pytest.param(b"\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00isom", None, id="film"),
        pytest.param(b"RIFF....WAVE", None, id="sound"),
        pytest.param(b"<svg xmlns=", None, id="svg"),
        pytest.param(b"%PDF-1.7", None, id="pdf"),
        pytest.param(b"\xff\xd8", None, id="two bytes of jpeg"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_first_bytes_tell_the_format(start: bytes, samples: Format | None) -> None:
    """The format is decided by the first bytes alone."""
    assert format_of(start) == samples


def test_heif_is_not_readable_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pillow-heif is not installed, HEIC cannot be read."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert not heif_readable()


def test_heif_is_readable_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pillow-heif is installed, it is registered with Pillow once."""
    calls: list[str] = []
    package = SimpleNamespace(register_heif_opener=lambda: calls.append("registered"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "pillow_heif", package)

    readable = [heif_readable(), heif_readable()]

    assert readable == [True, True]
    assert calls == ["registered"]
