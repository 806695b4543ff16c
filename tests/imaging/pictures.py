"""The files of tests/data/pictures, and pictures made on the spot."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from gateway.domain.models import MODELS
from gateway.domain.tenant import Tenant

FOLDER = Path(__file__).parent.parent / "data" / "pictures"
NAMES = sorted(path.name for path in FOLDER.iterdir())

INPUTS = MODELS["wan2.5-i2i-preview"].inputs
FITS = Tenant(name="acme", region="beijing", upstreams=(), fit=True)
AS_IS = Tenant(name="acme", region="beijing", upstreams=(), fit=False)


def read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def drawn(width: int, height: int, colour: Any = (200, 60, 40), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), colour)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    into = BytesIO()
    picture.save(into, kind, **options)
    return into.getvalue()


def pixels(content: bytes) -> bytes:
    with Image.open(BytesIO(content)) as picture:
        return picture.convert("RGB").tobytes()
