"""Foreign bytes of every kind: a picture comes out, or InvalidImage, and nothing else."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.imaging.fit import Aim, fit, violated_rules
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import inspect, verify
from gateway.imaging.mask import check_mask
from tests.imaging.pictures import INPUTS, drawn, read, saved

# As in service: gateway.imaging.opening silences Pillow's warnings, pytest sets them again.
pytestmark = pytest.mark.filterwarnings("ignore")

_EXIF = Image.Exif()
_EXIF[0x0112] = 6
SEEDS = (
    saved(drawn(40, 30), "JPEG", exif=_EXIF, comment="by Ada"),
    saved(drawn(40, 30), "JPEG", progressive=True),
    saved(drawn(40, 30, (1, 2, 3, 4), "CMYK"), "JPEG"),
    saved(drawn(40, 30), "PNG", exif=_EXIF),
    saved(drawn(40, 30, (1, 2, 3, 4), "RGBA"), "PNG"),
    saved(drawn(40, 30).quantize(4), "PNG", transparency=0),
    saved(drawn(40, 30), "BMP"),
    saved(drawn(40, 30), "WEBP", exif=_EXIF),
    saved(drawn(40, 30), "WEBP", lossless=True),
    saved(drawn(40, 30), "GIF", save_all=True, append_images=[drawn(40, 30, (0, 9, 0))]),
    saved(drawn(40, 30), "TIFF", compression="tiff_lzw"),
    saved(drawn(40, 30), "TIFF"),
    saved(drawn(40, 30), "AVIF"),
)
LARGEST = 4_000_000
"""Pixels: larger pictures are left out, so that the test stays quick."""


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound file with some bytes changed, cut out, doubled, or its end missing."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(("change", "cut", "double", "end"))):
            case "change":
                content[at : at + 1] = bytes((draw(st.integers(0, 255)),))
            case "cut":
                del content[at : at + draw(st.integers(1, 8))]
            case "double":
                content[at:at] = content[at : at + draw(st.integers(1, 64))]
            case _:
                del content[-draw(st.integers(1, 40)) :]
    return bytes(content)


def checked(content: bytes) -> None:
    inspected = inspect(content)
    if inspected.size.width * inspected.size.height > LARGEST:
        return
    with contextlib.suppress(InvalidImage):
        verify(content, inspected)
    result = fit(content, inspected, Aim(INPUTS))
    if result.content is not content:
        assert len(result.content) <= INPUTS.most_bytes
        assert violated_rules(inspect(result.content), len(result.content), INPUTS) == []


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_mutated_files(content: bytes) -> None:
    """Damage ends in InvalidImage, or in a picture that breaks no rule."""
    with contextlib.suppress(InvalidImage):
        checked(content)


@settings(deadline=None, max_examples=100)
@given(mutated())
def test_mutated_masks(content: bytes) -> None:
    """A damaged mask ends in InvalidImage, or passes."""
    with contextlib.suppress(InvalidImage):
        check_mask(content, read("plain.jpg"))


@settings(max_examples=200)
@given(st.sampled_from(SEEDS), st.integers(2, 40), st.binary(max_size=200))
def test_signature_and_nonsense(seed: bytes, kept: int, rest: bytes) -> None:
    """A right beginning with anything behind it is no way in."""
    with contextlib.suppress(InvalidImage):
        checked(seed[:kept] + rest)


def test_a_heic_that_lies_of_its_size() -> None:
    """Its decoder makes room for no more pixels than the box in front of them tells."""
    if not heif_readable():
        pytest.skip("pillow-heif is not installed")
    content = saved(drawn(640, 480), "HEIF")
    at = content.index(b"ispe") + 8
    as_stored = content[:at] + 2 * (16).to_bytes(4, "big") + content[at + 8 :]

    with pytest.raises(InvalidImage) as caught:
        verify(as_stored, inspect(as_stored))

    assert "limit exceeded" in str(caught.value.__cause__)
