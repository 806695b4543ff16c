"""Input pictures of a submit: their form, bytes, format and sides (reference sections 1.4, 7.3)."""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

import pybase64
from PIL import Image

from gateway.sandbox.answers import Refusal
from gateway.sandbox.models import FORMATS
from gateway.sandbox.order import Sent
from gateway.sandbox.said import invalid

SIDES = range(384, 5001)
#: What a URL's picture is taken for, since the sandbox fetches nothing.
PLACEHOLDER = (1024, 1024)

_HEAD = re.compile(r"data:image/([a-z]+);base64,", re.IGNORECASE)
#: No MIME type is longer; a head without a comma in there is none.
_HEAD_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class PictureRules:
    """
    What a picture must be.

    Attributes:
        sides: Width and height, in pixels.
        formats: Of its bytes, and of the type that an inline one names.
        decodes: Every pixel is decoded (and the bytes are kept to make results from); else its
            header is read and its digest kept.
    """

    max_bytes: int
    refuse_alpha: bool
    decodes: bool
    sides: range = SIDES
    formats: tuple[str, ...] = FORMATS


def look_at(entry: str, rules: PictureRules, uploaded: Callable[[str], bytes]) -> Sent:
    """
    Turn one entry of ``images`` into the picture.

    Args:
        entry: An ``http(s)``, ``data`` or ``oss`` URL.
        rules: What the picture must be.
        uploaded: Bytes behind an ``oss://`` URL, or a refusal.

    Raises:
        Refusal: 400 with the region's text.
    """
    if entry.startswith(("http://", "https://")):
        return Sent("url", sha256(entry.encode()).hexdigest(), PLACEHOLDER)
    if entry.startswith("oss://"):
        return _checked("oss", uploaded(entry), rules)
    if entry[:5].lower() == "data:":
        return _checked("data", _decode(entry, rules.formats), rules)
    raise invalid("The provided URL does not appear to be valid. Ensure it is correctly formatted.")


def _decode(entry: str, formats: tuple[str, ...]) -> bytes:
    head = _HEAD.match(entry[:_HEAD_CHARACTERS])
    if not head or head[1].upper().replace("JPG", "JPEG") not in formats:
        raise invalid("image format error")
    try:
        return pybase64.b64decode(memoryview(entry.encode("ascii"))[head.end() :], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid("image format error") from exc


def _checked(kind: str, data: bytes, rules: PictureRules) -> Sent:
    if len(data) > rules.max_bytes:
        raise invalid("Multimodal file size is too large")
    try:
        with Image.open(BytesIO(data), formats=rules.formats) as picture:
            size = picture.size
            sides = rules.sides
            if size[0] not in sides or size[1] not in sides:
                raise invalid(f"Image dimensions must be in [{sides.start}, {sides.stop - 1}]")
            if rules.refuse_alpha and picture.has_transparency_data:
                raise invalid("The image format is invalid: transparent channel is not supported.")
            if rules.decodes:
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise Refusal(
            400, "InvalidParameter", "The file format is illegal and cannot be opened."
        ) from exc
    return Sent(
        "oss" if kind == "oss" else "data",
        sha256(data).hexdigest(),
        size,
        data if rules.decodes else None,
    )
