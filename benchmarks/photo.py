"""Photographs of a wanted size: noise that a JPEG encoder cannot make small."""

import io
import random
from pathlib import Path

from PIL import Image

_SIDE_BY_KILOBYTES = ((100, 400), (3_000, 1600), (100_000, 4000))
MOST_KILOBYTES = 9_900
"""A larger picture would not go on as it is: DashScope takes 10 MB."""


def photo(folder: Path, kilobytes: int) -> Path:
    """Write a JPEG of about so many kilobytes, at most 9.9 MB; return its place."""
    side = next(side for most, side in _SIDE_BY_KILOBYTES if kilobytes <= most)
    rng = random.Random(kilobytes)
    noise = Image.frombytes("RGB", (side // 4, side // 4), rng.randbytes(3 * (side // 4) ** 2))
    whole = noise.resize((side, side), Image.Resampling.BICUBIC)
    best = b""
    for quality in range(10, 100, 1):
        out = io.BytesIO()
        whole.save(out, "JPEG", quality=quality)
        if best and out.tell() > MOST_KILOBYTES * 1000:
            break
        best = out.getvalue()
        if len(best) >= kilobytes * 1000:
            break
    ticket = folder / f"{kilobytes}.jpg"
    ticket.write_bytes(best)
    return ticket
