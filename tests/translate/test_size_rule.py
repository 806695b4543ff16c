from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import Size
from gateway.translate.size_rule import (
    describe_rule,
    is_legal,
    is_scalable,
    nearest_legal,
    size_to_ask,
    unasked_size,
)
from tests.models import MODELS, is_snapshot

SMALL = MODELS["wan2.5-i2i-preview"].sizes
SIDES = st.integers(1, 99_999)


@pytest.mark.parametrize(
    ("width", "height", "legal"),
    [
        pytest.param(768, 768, True, id="least pixels"),
        pytest.param(767, 768, False, id="one column short"),
        pytest.param(1280, 1280, True, id="most pixels"),
        pytest.param(1281, 1280, False, id="one column over"),
        pytest.param(2560, 640, True, id="4 to 1"),
        pytest.param(640, 2560, True, id="1 to 4"),
        pytest.param(2500, 624, False, id="a hair over 4 to 1"),
        pytest.param(1536, 1024, True, id="OpenAI's landscape"),
        pytest.param(1024, 1536, True, id="OpenAI's portrait"),
        pytest.param(1344, 576, True, id="21 to 9"),
        pytest.param(1792, 1024, False, id="dall-e-3's landscape"),
        pytest.param(512, 512, False, id="dall-e-2's"),
    ],
)
def test_the_rule(width: int, height: int, legal: bool) -> None:
    """Pixels in all and the ratio of the sides decide, not a list of sizes."""
    assert is_legal(Size(width, height), SMALL) is legal


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        pytest.param(Size(1024, 1024), Size(1024, 1024), id="square"),
        pytest.param(Size(1536, 1024), Size(1536, 1024), id="landscape"),
        pytest.param(Size(1024, 1536), Size(1024, 1536), id="portrait"),
        pytest.param(Size(768, 768), Size(768, 768), id="fewest pixels"),
        pytest.param(Size(1280, 1280), Size(1280, 1280), id="most pixels"),
        pytest.param(Size(2560, 640), Size(2560, 640), id="widest"),
        pytest.param(Size(256, 256), Size(768, 768), id="small"),
        pytest.param(Size(512, 512), Size(768, 768), id="half"),
        pytest.param(Size(2048, 2048), Size(1280, 1280), id="large"),
        pytest.param(Size(1792, 1024), Size(1687, 964), id="7:4"),
        pytest.param(Size(3840, 2160), Size(1696, 954), id="16:9"),
        pytest.param(Size(400, 100), Size(1536, 384), id="4:1"),
        pytest.param(Size(1, 4), Size(384, 1536), id="1:4"),
        pytest.param(Size(4000, 100), Size(1536, 384), id="too wide"),
        pytest.param(Size(100, 40000), Size(640, 2560), id="too tall"),
    ],
)
def test_the_nearest(requested: Size, expected: Size) -> None:
    """A legal size is itself; another is met in ratio, at the nearer limit of pixels."""
    assert nearest_legal(requested, SMALL) == expected


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        pytest.param(Size(1024, 1024), Size(1024, 1024), id="on a step"),
        pytest.param(Size(1000, 1000), Size(992, 992), id="between two steps"),
        pytest.param(Size(1000, 750), Size(1024, 768), id="in ratio"),
        pytest.param(Size(2048, 2048), Size(2048, 2048), id="most pixels"),
        pytest.param(Size(3840, 2160), Size(2704, 1520), id="too large"),
        pytest.param(Size(512, 512), Size(768, 768), id="too small"),
    ],
)
def test_a_model_that_goes_by_steps(requested: Size, expected: Size) -> None:
    """A size that the model would round is asked for as one that it makes."""
    sizes = MODELS["wan2.6-image"].sizes

    assert nearest_legal(requested, sizes) == expected
    assert is_legal(requested, sizes) is (requested == expected)
    assert "multiples of 16" in describe_rule(sizes)


@given(st.integers(1, 4000), st.floats(0.25, 4))
def test_the_nearest_is_alike(height: int, ratio: float) -> None:
    """For every ratio that is allowed the size is legal and within half a percent of it."""
    requested = Size(min(4 * height, max(-(-height // 4), round(height * ratio))), height)

    result = nearest_legal(requested, SMALL)

    assert is_legal(result, SMALL)
    assert result.width / result.height == pytest.approx(
        requested.width / requested.height, rel=0.005
    )


@given(width=SIDES, height=SIDES)
def test_the_nearest_is_always_legal(width: int, height: int) -> None:
    """Whatever was asked for, there is a nearest size, and a legal one is its own."""
    requested = Size(width, height)

    nearest = nearest_legal(requested, SMALL)

    assert is_legal(nearest, SMALL)
    assert not is_legal(requested, SMALL) or nearest == requested


UNDATED = [name for name in MODELS if not is_snapshot(name)]


@pytest.mark.parametrize("model", UNDATED)
@given(side=st.integers(1, 9000), ratio=st.floats(1, 4), upright=st.booleans())
def test_the_nearest_of_every_model(model: str, side: int, ratio: float, upright: bool) -> None:
    """Whatever a model's sides and pixels leave, it is legal, and of the shape asked for."""
    longer = min(4 * side, round(side * ratio))
    requested = Size(side, longer) if upright else Size(longer, side)
    sizes = MODELS[model].sizes

    result = nearest_legal(requested, sizes)

    assert is_legal(result, replace(sizes, settable=True))
    if sizes.choices:
        return
    assert result.width / result.height == pytest.approx(
        requested.width / requested.height, rel=0.02
    )


@pytest.mark.parametrize(
    ("size", "scalable"),
    [
        pytest.param(Size(3840, 2160), True, id="largest"),
        pytest.param(Size(2160, 3840), True, id="largest upright"),
        pytest.param(Size(3841, 2160), False, id="too long"),
        pytest.param(Size(2880, 2880), True, id="largest square"),
        pytest.param(Size(2880, 2881), False, id="a pixel row over"),
        pytest.param(Size(3840, 1280), True, id="longest at 3:1"),
        pytest.param(Size(3841, 1280), False, id="a side too long"),
        pytest.param(Size(256, 256), True, id="dall-e-2's"),
        pytest.param(Size(400, 100), True, id="4:1"),
        pytest.param(Size(401, 100), False, id="beyond 4:1"),
        pytest.param(Size(100, 401), False, id="beyond 1:4"),
    ],
)
def test_what_is_made_by_scaling(size: Size, scalable: bool) -> None:
    """Up to the largest picture of OpenAI's models, in the ratios that DashScope makes."""
    assert is_scalable(size, SMALL) is scalable


FIVE = MODELS["qwen-image-max"].sizes


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        (Size(1328, 1328), Size(1328, 1328)),
        (Size(1024, 1024), Size(1328, 1328)),
        (Size(1536, 1024), Size(1472, 1104)),
        (Size(3840, 2160), Size(1664, 928)),
        (Size(1000, 3000), Size(928, 1664)),
    ],
)
def test_the_nearest_of_a_few_sizes(wanted: Size, made: Size) -> None:
    """Where a model makes certain sizes only, the one of the nearest shape is asked for."""
    assert nearest_legal(wanted, FIVE) == made
    assert is_legal(wanted, FIVE) == (wanted == made)
    assert describe_rule(FIVE).startswith("it must be one of 1664x928, 1472x1104")


def test_a_model_that_chooses_the_size() -> None:
    """None is asked for, and none is legal."""
    sizes = MODELS["qwen-image-edit"].sizes

    assert size_to_ask(Size(1024, 1024), sizes) is None
    assert not is_legal(Size(1024, 1024), sizes)
    assert describe_rule(sizes) == "this model chooses the size itself; leave 'size' out"


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (None, Size(1488, 1488)),
        (Size(1024, 1024), Size(1488, 1488)),
        (Size(1600, 900), Size(1952, 1104)),
        (Size(90, 1600), Size(528, 4224)),
    ],
)
def test_the_size_of_who_asks_for_none(shape: Size | None, size: Size) -> None:
    """It has the shape of the picture, and stays within the price of the smaller ones."""
    sizes = MODELS["qwen-image-3.0-pro"].sizes

    unasked = unasked_size(shape, sizes)

    assert unasked == size
    assert is_legal(unasked, sizes)
    assert unasked.width * unasked.height <= 2_250_000


def test_most_models_choose_what_is_not_asked() -> None:
    """Where no size is dearer than another, none is sent."""
    assert unasked_size(None, SMALL) is None
