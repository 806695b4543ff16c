"""The files of tests/data/pictures, and pictures made on the spot."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from gateway.domain.edit import Picture
from gateway.domain.tenant import Tenant
from tests.models import MODELS

FOLDER = Path(__file__).parent.parent / "data" / "pictures"
NAMES = sorted(path.name for path in FOLDER.iterdir())

INPUTS = MODELS["wan2.5-i2i-preview"].inputs
FITS = Tenant(name="acme", region="beijing", upstreams=(), fit=True)
AS_IS = Tenant(name="acme", region="beijing", upstreams=(), fit=False)


def read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def sent(*contents: bytes) -> list[Picture]:
    """Return *contents* as pictures of a request that were not checked yet."""
    return [Picture(content=content) for content in contents]


def drawn(width: int, height: int, colour: Any = (200, 60, 40), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), colour)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    into = BytesIO()
    picture.save(into, kind, **options)
    return into.getvalue()


def pixels(content: bytes) -> bytes:
    with Image.open(BytesIO(content)) as picture:
        return picture.convert("RGB").tobytes()


def mask(
    size: tuple[int, int], hole: tuple[int, int, int, int], rim: int | None = None
) -> Image.Image:
    """A mask, black and opaque but for its *hole*; with a half transparent *rim* around it."""
    alpha = Image.new("L", size, 255)
    draw = ImageDraw.Draw(alpha)
    left, top, right, bottom = hole
    if rim:
        draw.rectangle((left - rim, top - rim, right + rim, bottom + rim), fill=128)
    draw.rectangle(hole, fill=0)
    picture = Image.new("RGB", size)
    picture.putalpha(alpha)
    return picture


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.effect_noise(size, 80).convert("RGB")
