"""Opening pictures with Pillow within our limits; every failure is an InvalidImage."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

# Imported by name, so that Pillow does not have to search for its plugins.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from gateway.domain.edit import Size
from gateway.domain.errors import GatewayError, InvalidImage
from gateway.imaging import avif, jpeg, png

MOST_PIXELS = 100_000_000

# Pillow's own limit warns at 89 and refuses at 179 million; ours refuses before decoding.
Image.MAX_IMAGE_PIXELS = None
# Damaged metadata beside a good picture does not concern the operator.
warnings.filterwarnings("ignore", module=r"PIL\.")

PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

_RUN_LENGTH_CODED = (1, 2)
_TILE_WIDTH = 322
_TILE_LENGTH = 323
_MOST_OF_A_TILE = 4_194_304
"""Pixels that a tile may have in any picture."""


@contextmanager
def decoder_errors(error: type[GatewayError] = InvalidImage, message: str = "") -> Iterator[None]:
    """
    Raise *error* for whatever a decoder raises.

    Pillow's decoders may raise ValueError, struct.error, IndexError, MemoryError and others;
    all mean the same here. Keep the block small.
    """
    try:
        yield
    except error:
        raise
    except Exception as exc:
        raise error(message or "it is damaged or cut short") from exc


@contextmanager
def open_picture(content: bytes, name: str) -> Iterator[Image.Image]:
    """
    Open *content* as the format *name*; its pixels are not decoded yet.

    Raises:
        InvalidImage: the head is damaged, or it promises more pixels than we decode.
    """
    if name == "AVIF":
        content = avif.first_picture(content)
    with decoder_errors():
        picture = Image.open(BytesIO(content), formats=(name,))
    with picture:
        check_size(Size(*picture.size))
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _check_tiles(picture)
        yield picture


def _check_tiles(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a tile far larger than the picture: its decoder makes room for all of it."""
    with decoder_errors():
        tile = int(picture.tag_v2.get(_TILE_WIDTH, 0)) * int(picture.tag_v2.get(_TILE_LENGTH, 0))
    if tile > max(2 * picture.width * picture.height, _MOST_OF_A_TILE):
        raise InvalidImage("its tiles are far larger than the picture")


def check_size(size: Size) -> None:
    """Raise InvalidImage unless *size* has pixels, and not more than we decode."""
    pixels = size.width * size.height
    if pixels < 1:
        raise InvalidImage("it has no pixels")
    if pixels > MOST_PIXELS:
        raise InvalidImage(f"{size} is over {MOST_PIXELS // 1_000_000} million pixels")


def check_cost(content: bytes, name: str) -> None:
    """
    Find what a decoder would not, and what would cost it out of all proportion.

    Raises:
        InvalidImage: a JPEG of endless scans, a PNG with a wrong checksum, a BMP for
            which Pillow has only a slow decoder.
    """
    if name == "JPEG":
        jpeg.check_scans(content)
    elif name == "PNG":
        png.check_sums(content)
    elif name == "BMP" and int.from_bytes(content[30:34], "little") in _RUN_LENGTH_CODED:
        raise InvalidImage("run-length coded BMP is not taken; send PNG")
