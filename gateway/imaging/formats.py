"""The picture formats that are read, recognised by their first bytes and never by name."""

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Format:
    """A format by Pillow's name, and the media type that it travels under."""

    name: str
    media_type: str


JPEG = Format("JPEG", "image/jpeg")
PNG = Format("PNG", "image/png")
BMP = Format("BMP", "image/bmp")
WEBP = Format("WEBP", "image/webp")
GIF = Format("GIF", "image/gif")
TIFF = Format("TIFF", "image/tiff")
AVIF = Format("AVIF", "image/avif")
HEIF = Format("HEIF", "image/heic")

_BY_START = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"BM", BMP),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_MOST_BRANDS_BYTES = 256


def format_of(content: bytes) -> Format | None:
    """Return the format of *content* by its first bytes, None for any other."""
    for start, format_ in _BY_START:
        if content.startswith(start):
            return format_
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return WEBP
    if content[4:8] == b"ftyp":
        return _format_by_brands(content)
    return None


def _format_by_brands(content: bytes) -> Format | None:
    # ISO 14496-12: box length, "ftyp", major brand, minor version, compatible brands.
    end = min(int.from_bytes(content[:4], "big"), _MOST_BRANDS_BYTES)
    brands = {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return AVIF
    return HEIF if brands & _HEIF_BRANDS else None


@cache
def heif_readable() -> bool:
    """
    Return whether HEIC photographs can be read, and make Pillow able to.

    They need the package ``pillow-heif``, which is a choice of the operator: its
    decoder is under the LGPL. It is loaded at the first such picture.
    """
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    importlib.import_module("pillow_heif").register_heif_opener()
    return True
