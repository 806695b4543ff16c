"""gateway.imaging.fit."""

from dataclasses import replace

import pytest

from gateway.domain.edit import Size
from gateway.imaging.fit import (
    ALPHA,
    FORMAT,
    TOO_HEAVY,
    TOO_LARGE,
    TOO_SMALL,
    TURNED,
    PictureRule,
    violated_rules,
)
from gateway.imaging.inspect import Inspected
from tests.imaging.pictures import INPUTS

GOOD = Inspected("PNG", "image/png", Size(1024, 768), "RGB", has_alpha=False)


@pytest.mark.parametrize(
    ("inspected", "length", "rules"),
    [
        pytest.param(GOOD, 1000, [], id="good"),
        pytest.param(replace(GOOD, format="JPEG"), 1000, [], id="jpeg"),
        pytest.param(replace(GOOD, format="BMP"), 1000, [], id="bmp"),
        pytest.param(replace(GOOD, format="WEBP"), 1000, [], id="webp"),
        pytest.param(replace(GOOD, format="GIF"), 1000, [FORMAT], id="gif"),
        pytest.param(replace(GOOD, format="AVIF"), 1000, [FORMAT], id="avif"),
        pytest.param(replace(GOOD, size=Size(384, 5000)), 1000, [], id="both limits"),
        pytest.param(replace(GOOD, size=Size(383, 5000)), 1000, [TOO_SMALL], id="narrow"),
        pytest.param(replace(GOOD, size=Size(5000, 383)), 1000, [TOO_SMALL], id="low"),
        pytest.param(replace(GOOD, size=Size(5001, 384)), 1000, [TOO_LARGE], id="wide"),
        pytest.param(replace(GOOD, size=Size(384, 5001)), 1000, [TOO_LARGE], id="high"),
        pytest.param(GOOD, 10_000_000, [], id="heavy enough"),
        pytest.param(GOOD, 10_000_001, [TOO_HEAVY], id="too heavy"),
        pytest.param(replace(GOOD, has_alpha=True), 1000, [ALPHA], id="alpha"),
        pytest.param(replace(GOOD, orientation=6), 1000, [TURNED], id="turned"),
        pytest.param(
            Inspected("GIF", "image/gif", Size(9, 6000), "P", has_alpha=True, orientation=3),
            20_000_000,
            [FORMAT, TOO_SMALL, TOO_LARGE, TOO_HEAVY, ALPHA, TURNED],
            id="everything",
        ),
    ],
)
def test_broken_rules(inspected: Inspected, length: int, rules: list[PictureRule]) -> None:
    """Each rule is broken beyond its limit and not at it."""
    assert violated_rules(inspected, length, INPUTS) == rules
