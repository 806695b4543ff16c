"""Colours on their way up and back: gateway.imaging.colour, icc, and those that ask them."""

import struct
from io import BytesIO

import pytest
from PIL import Image

from gateway.domain.edit import MaskSource, OutputOptions
from gateway.imaging import colour, icc
from gateway.imaging.finish import finish_picture
from gateway.imaging.formats import heif_readable
from gateway.imaging.inspect import inspect
from gateway.imaging.workers import Imaging
from tests.imaging.pictures import AS_IS, FITS, INPUTS, drawn, mask, read, saved, sent
from tests.imaging.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    GRAY_18,
    PRESS,
    SRGB,
    Rgb,
    delta_e,
    lab_of,
)
from tests.imaging.test_png import chunk

PATCHES: tuple[Rgb, ...] = ((200, 100, 50), (90, 140, 80), (60, 80, 150), (128, 128, 128))
"""Inside of sRGB by all of the spaces below."""
SEEN = 2.5
"""dE: JPEG costs about one, AVIF two."""


def patches(mode: str = "RGB") -> Image.Image:
    picture = Image.new("RGB", (480, 400))
    for place, patch in enumerate(PATCHES):
        picture.paste(patch, (place * 120, 0, place * 120 + 120, 400))
    return picture.convert(mode)


def colours(content: bytes) -> list[Rgb]:
    """The patches of a picture that says nothing of its colours."""
    with Image.open(BytesIO(content)) as picture:
        assert "icc_profile" not in picture.info
        plain = picture.convert("RGB")
    return [plain.getpixel((place * 120 + 60, 200)) for place in range(4)]  # type: ignore[misc]


async def sent_up(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    imaging = Imaging()
    checked = await imaging.check(sent(content), FITS, INPUTS)
    await imaging.close()
    return checked[0].content, checked[0].adjusted


def codes(content: bytes, primaries: int, transfer: int) -> bytes:
    """A PNG with a cICP chunk."""
    return content[:33] + chunk(b"cICP", bytes((primaries, transfer, 0, 1))) + content[33:]


def nclx(content: bytes) -> bytes:
    """An AVIF that says that its primaries are Display P3's."""
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", 12, 13) + content[at + 4 :]


P3_NUMBERS = chunk(
    b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
)
P3_PNG = saved(patches(), "PNG")[:33] + P3_NUMBERS + saved(patches(), "PNG")[33:]
FOREIGN = {
    "P3 JPEG": (saved(patches(), "JPEG", quality=95, icc_profile=DISPLAY_P3), "Display P3"),
    "P3 PNG": (saved(patches(), "PNG", icc_profile=DISPLAY_P3), "Display P3"),
    "P3 WEBP": (saved(patches(), "WEBP", lossless=True, icc_profile=DISPLAY_P3), "Display P3"),
    "P3 TIFF": (saved(patches(), "TIFF", icc_profile=DISPLAY_P3), "Display P3"),
    "P3 AVIF": (
        saved(patches(), "AVIF", quality=100, subsampling="4:4:4", icc_profile=DISPLAY_P3),
        "Display P3",
    ),
    "P3 AVIF by codes": (
        nclx(saved(patches(), "AVIF", quality=100, subsampling="4:4:4")),
        "Display P3",
    ),
    "P3 PNG by codes": (codes(saved(patches(), "PNG"), 12, 13), "Display P3"),
    "P3 PNG by numbers": (P3_PNG, "Display P3"),
    "P3 palette": (
        saved(patches().quantize(8), "PNG", icc_profile=DISPLAY_P3),
        "Display P3",
    ),
    "P3 RGBA": (saved(patches("RGBA"), "PNG", icc_profile=DISPLAY_P3), "Display P3"),
    "Adobe JPEG": (saved(patches(), "JPEG", quality=95, icc_profile=ADOBE_RGB), "Adobe RGB"),
    "Adobe PNG": (saved(patches(), "PNG", icc_profile=ADOBE_RGB), "Adobe RGB"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", FOREIGN)
async def test_what_goes_up_looks_as_it_did(name: str) -> None:
    """Whatever its profile, a picture goes up in sRGB, its colours as they were seen."""
    content, space = FOREIGN[name]

    result, adjusted = await sent_up(content)

    assert "colours:srgb" in adjusted
    for patch, now in zip(PATCHES, colours(result), strict=True):
        assert delta_e(lab_of(patch, space), lab_of(now)) < SEEN


@pytest.mark.anyio
async def test_an_iphones_photograph() -> None:
    """HEIC is Display P3 on each iPhone, and goes up in sRGB."""
    if not heif_readable():
        pytest.skip("pillow-heif is not installed")
    content = saved(patches(), "HEIF", quality=95, icc_profile=DISPLAY_P3)

    result, adjusted = await sent_up(content)

    assert adjusted == ("converted:heif", "colours:srgb")
    for patch, now in zip(PATCHES, colours(result), strict=True):
        assert delta_e(lab_of(patch, "Display P3"), lab_of(now)) < SEEN


@pytest.mark.anyio
async def test_a_camera_that_says_adobe_rgb_in_exif_alone() -> None:
    """Cameras write R03 in Exif, and no profile."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    content = saved(patches(), "JPEG", quality=95, exif=exif)

    result, adjusted = await sent_up(content)

    assert adjusted == ("colours:srgb", "metadata_removed")
    for patch, now in zip(PATCHES, colours(result), strict=True):
        assert delta_e(lab_of(patch, "Adobe RGB"), lab_of(now)) < SEEN


@pytest.mark.anyio
async def test_gray_with_a_profile() -> None:
    """A gray picture of gamma 1.8 gets lighter numbers for the same light."""
    content = saved(Image.new("L", (480, 400), 100), "PNG", icc_profile=GRAY_18)

    result, _ = await sent_up(content)

    # 100 of 255 at gamma 1.8 is 0.185 of the light: sRGB's 119.
    assert colours(result)[0] == pytest.approx((119, 119, 119), abs=2)


@pytest.mark.anyio
async def test_inks_with_a_profile() -> None:
    """What a press makes of its inks is what goes up."""
    inks = Image.new("CMYK", (480, 400), (255, 0, 0, 0))

    result, adjusted = await sent_up(saved(inks, "JPEG", quality=95, icc_profile=PRESS))

    assert adjusted == ("converted:cmyk", "colours:srgb")
    assert delta_e(lab_of(colours(result)[0]), (70, -30, -40)) < 3 * SEEN


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(read("plain.jpg"), id="no profile"),
        pytest.param(saved(patches(), "JPEG", icc_profile=SRGB), id="JPEG"),
        pytest.param(saved(patches(), "PNG", icc_profile=SRGB), id="PNG"),
        pytest.param(codes(saved(patches(), "PNG"), 1, 13), id="codes"),
        pytest.param(saved(patches(), "JPEG", icc_profile=b"nonsense" * 40), id="nonsense"),
        pytest.param(saved(patches(), "JPEG", icc_profile=GRAY_18), id="of another kind"),
    ],
)
async def test_what_is_srgb_already_is_not_touched(content: bytes) -> None:
    """It is the same object: nothing is decoded for its colours."""
    result, adjusted = await sent_up(content)

    assert result is content
    assert adjusted == ()


@pytest.mark.parametrize(
    ("chunks", "foreign"),
    [
        pytest.param(chunk(b"sRGB", b"\0") + P3_NUMBERS, False, id="sRGB comes first"),
        pytest.param(chunk(b"gAMA", struct.pack(">I", 45455)), False, id="the usual gamma"),
        pytest.param(chunk(b"gAMA", struct.pack(">I", 100000)), True, id="linear"),
        pytest.param(chunk(b"gAMA", bytes(4)), False, id="no gamma"),
        pytest.param(chunk(b"cHRM", bytes(32)), False, id="no primaries"),
        pytest.param(chunk(b"cICP", b"\x09\x10\x00\x01"), True, id="HDR"),
        pytest.param(chunk(b"cICP", b"\x09\x12\x00\x01"), True, id="hybrid log gamma"),
    ],
)
def test_what_a_png_says_of_its_colours(chunks: bytes, foreign: bool) -> None:
    """Codes, profile, sRGB, numbers: the first of them that is there counts."""
    plain = saved(patches(), "PNG")

    assert inspect(plain[:33] + chunks + plain[33:]).foreign_colours is foreign


@pytest.mark.anyio
async def test_without_fit_colours_are_kept_all_the_same() -> None:
    """A tenant whose pictures are not fitted sends up sRGB, too."""
    imaging = Imaging()

    checked = await imaging.check(sent(FOREIGN["P3 JPEG"][0]), AS_IS, INPUTS)

    await imaging.close()
    for patch, now in zip(PATCHES, colours(checked[0].content), strict=True):
        assert delta_e(lab_of(patch, "Display P3"), lab_of(now)) < SEEN


PROFILES = {"untagged": None, "sRGB": SRGB, "P3": DISPLAY_P3}
SPACES = {"untagged": "sRGB", "sRGB": "sRGB", "P3": "Display P3"}


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("expected", PROFILES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_mask_is_composed_in_one_space(kind: str, expected: str, output_format: str) -> None:
    """What is kept and what is made look as they did, whichever profiles the two have."""
    original = saved(patches(), kind, icc_profile=DISPLAY_P3, **_best(kind))
    hole = saved(mask((480, 400), (240, 0, 479, 399)))
    result = saved(patches(), "PNG", icc_profile=PROFILES[expected])
    form = OutputOptions(output_format=output_format, composite=True)

    now = colours(finish_picture(result, form, MaskSource(original, hole)))

    for place, patch in enumerate(PATCHES):
        space = "Display P3" if place < 2 else SPACES[expected]
        assert delta_e(lab_of(patch, space), lab_of(now[place])) < SEEN


def test_a_mask_over_an_iphones_photograph() -> None:
    """The kept part of a HEIC picture looks as it did."""
    if not heif_readable():
        pytest.skip("pillow-heif is not installed")
    original = saved(patches(), "HEIF", quality=95, icc_profile=DISPLAY_P3)
    hole = saved(mask((480, 400), (240, 0, 479, 399)))

    result = finish_picture(
        saved(patches()), OutputOptions(composite=True), MaskSource(original, hole)
    )

    now = colours(result)
    for place in (0, 1):
        assert delta_e(lab_of(PATCHES[place], "Display P3"), lab_of(now[place])) < SEEN
    assert now[2:] == list(PATCHES[2:])


def test_profiles_from_numbers() -> None:
    """They mean what their makers' profiles mean."""
    for profile, space in (
        (icc.profile_of_codes(12, 13), "Display P3"),
        (icc.adobe_rgb(), "Adobe RGB"),
    ):
        inspected = colour.to_srgb(patches(), profile)
        now = [inspected.getpixel((place * 120 + 60, 200)) for place in range(4)]
        for patch, pixel in zip(PATCHES, now, strict=True):
            assert delta_e(lab_of(patch, space), lab_of(pixel)) < 1.0  # type: ignore[arg-type]


def test_codes_that_say_nothing() -> None:
    """Unknown code points, and those of sRGB, mean sRGB."""
    assert icc.profile_of_codes(1, 13) == icc.profile_of_codes(2, 2) == b""


@pytest.mark.parametrize(("transfer", "white"), [(16, 148), (18, 191), (8, 255), (4, 255)])
def test_the_white_of_an_hdr_picture(transfer: int, white: int) -> None:
    """What HDR writes for the white of a page is white in sRGB; brighter is cut off."""
    profile = icc.profile_of_codes(9, transfer)

    for level in {white, 255}:
        inspected = colour.to_srgb(drawn(1, 1, (level,) * 3), profile)
        assert min(inspected.getpixel((0, 0))) >= 253  # type: ignore[arg-type]


def test_a_profile_that_is_too_long_is_not_opened() -> None:
    """It says nothing, as one that is broken."""
    assert not colour.differs(DISPLAY_P3 + bytes(9_000_000), "RGB")


def _best(kind: str) -> dict[str, int]:
    return {"quality": 95} if kind == "JPEG" else {}
