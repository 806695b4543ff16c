import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import Size
from gateway.translate.size_rule import is_legal, nearest_legal

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
    assert is_legal(Size(width, height)) is legal


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        pytest.param(Size(512, 512), Size(768, 768), id="too small"),
        pytest.param(Size(1792, 1024), Size(1693, 967), id="too big"),
        pytest.param(Size(4000, 100), Size(1536, 384), id="too wide"),
        pytest.param(Size(100, 40000), Size(640, 2560), id="too tall"),
        pytest.param(Size(1024, 768), Size(1024, 768), id="legal"),
    ],
)
def test_the_nearest(asked: Size, nearest: Size) -> None:
    """The nearest keeps the ratio, and as many pixels as the rule lets."""
    assert nearest_legal(asked) == nearest


@given(width=SIDES, height=SIDES)
def test_the_nearest_is_always_legal(width: int, height: int) -> None:
    """Whatever was asked for, there is a nearest size, and a legal one is its own."""
    asked = Size(width, height)

    nearest = nearest_legal(asked)

    assert is_legal(nearest)
    assert not is_legal(asked) or nearest == asked
