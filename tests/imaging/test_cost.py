"""gateway.imaging.cost, held against what the decoders really take."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging.cost import MEMORY, SMALLEST, check_pixels, cost_of, scale_of
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import Inspected, inspect
from tests.imaging.pictures import drawn, saved

SIDE = 2000
_MEASURE = """
import sys
from gateway.imaging.fit import Aim, reencode
from gateway.imaging.inspect import inspect
from tests.imaging.pictures import INPUTS, read, saved, drawn
import gateway.imaging.pixels

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

content = open(sys.argv[1], "rb").read()
small = open(sys.argv[2], "rb").read()
reencode(small, inspect(small), Aim(INPUTS))
before = peak()
reencode(content, inspect(content), Aim(INPUTS))
print(peak() - before)
"""


def noisy(mode: str) -> Image.Image:
    bands = [Image.effect_noise((SIDE, SIDE), 60) for _ in Image.new(mode, (1, 1)).getbands()]
    return Image.merge(mode, bands) if len(bands) > 1 else bands[0].convert(mode)


FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "baseline": ("RGB", "JPEG", {"quality": 60}),
    "progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0, "quality": 60}),
    "inks": ("CMYK", "JPEG", {"progressive": True, "quality": 60}),
    "png": ("RGBA", "PNG", {"compress_level": 1}),
    "gif": ("L", "GIF", {}),
    "tiff": ("RGBA", "TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("RGB", "BMP", {}),
    "lossy webp": ("RGBA", "WEBP", {"quality": 20, "method": 0}),
    "lossless webp": ("RGBA", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "avif": ("RGBA", "AVIF", {"speed": 10, "quality": 30, "subsampling": "4:4:4"}),
    "heif": ("RGB", "HEIF", {"quality": 20, "enc_params": {"preset": "ultrafast"}}),
}


@pytest.mark.parametrize("name", FILES)
def test_no_format_takes_more_than_is_counted(name: str, tmp_path: Path) -> None:
    """The memory that a picture is counted with is not less than what drawing it takes."""
    mode, kind, options = FILES[name]
    if kind == "HEIF" and not heif_readable():
        pytest.skip("pillow-heif is not installed")
    content = saved(noisy(mode), kind, **options)
    (tmp_path / "picture").write_bytes(content)
    (tmp_path / "small").write_bytes(saved(drawn(400, 400), kind))

    arguments = [sys.executable, "-c", _MEASURE, str(tmp_path / "picture"), str(tmp_path / "small")]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    beside = 12_000_000 + len(content)  # the new JPEG, and what is drawn of a strip
    assert int(output) <= cost_of(inspect(content), Size(SIDE, SIDE)) + beside


def head(kind: str, side: int, *, one_pass: bool = True, mode: str = "RGB") -> Inspected:
    return Inspected(kind, "", Size(side, side), mode, has_alpha=False, one_pass=one_pass)


@pytest.mark.parametrize(
    ("inspected", "taken"),
    [
        pytest.param(head("WEBP", 5000), True, id="the largest that wan2.5 takes"),
        pytest.param(head("WEBP", 10_000), False, id="a WEBP of 38 bytes"),
        pytest.param(head("PNG", 7000), True, id="png"),
        pytest.param(head("PNG", 9000), False, id="large png"),
        pytest.param(head("HEIF", 6980), True, id="an iPhone's 48 million pixels"),
        pytest.param(head("JPEG", 10_000), True, id="a JPEG, decoded small"),
        pytest.param(head("JPEG", 8000, one_pass=False), True, id="progressive"),
        pytest.param(head("JPEG", 9900, one_pass=False), False, id="large progressive"),
        pytest.param(head("JPEG", 8500, one_pass=False, mode="CMYK"), False, id="inks"),
    ],
)
def test_what_is_too_much(inspected: Inspected, taken: bool) -> None:
    """A picture is refused by its head if no way to decode it fits into the memory."""
    if taken:
        check_pixels(inspected)
        return
    with pytest.raises(InvalidImage, match=f"{inspected.size} is more than a .* million pixels"):
        check_pixels(inspected)


@pytest.mark.parametrize(
    ("inspected", "wanted", "scale"),
    [
        pytest.param(head("PNG", 5000), SMALLEST, 1, id="png"),
        pytest.param(head("JPEG", 5000), Size(5000, 5000), 1, id="as large"),
        pytest.param(head("JPEG", 5000), Size(2501, 2501), 1, id="not smaller than wanted"),
        pytest.param(head("JPEG", 5000), Size(2500, 2500), 2, id="half"),
        pytest.param(head("JPEG", 5000), SMALLEST, 8, id="an eighth"),
        pytest.param(head("JPEG", 9000), Size(5000, 5000), 2, id="more than there is room for"),
        pytest.param(head("JPEG", 9900, one_pass=False), Size(5000, 5000), 8, id="never room"),
    ],
)
def test_how_small_a_picture_is_decoded(inspected: Inspected, wanted: Size, scale: int) -> None:
    """A JPEG is decoded no larger than is wanted, and than there is room for."""
    assert scale_of(inspected, wanted) == scale


def test_the_memory_is_bounded() -> None:
    """Whatever is taken is within what there is."""
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP"):
        side = next(side for side in range(10_000, 0, -10) if _is_taken(head(kind, side)))
        assert cost_of(head(kind, side), Size(5000, 5000)) <= MEMORY


def _is_taken(inspected: Inspected) -> bool:
    try:
        check_pixels(inspected)
    except InvalidImage:
        return False
    return True
