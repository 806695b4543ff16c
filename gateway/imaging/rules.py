"""DashScope's rules for input pictures, as data (dashscope.md 1.4); sides are the model's."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.models import Inputs
from gateway.imaging.formats import BMP, JPEG, PNG, WEBP
from gateway.imaging.inspect import Inspected

TAKEN = (JPEG, PNG, BMP, WEBP)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, and its words after "image 2", with the model's limits in braces."""

    name: str
    text: str

    def said(self, inputs: Inputs) -> str:
        """Return its words for pictures of a model with these *inputs*."""
        return self.text.format(inputs)


FORMAT = Rule("format", "must be JPEG, PNG, BMP or WEBP")
TOO_SMALL = Rule("too_small", "must be at least {0.shortest_side} pixels wide and high")
TOO_LARGE = Rule("too_large", "must be at most {0.longest_side} pixels wide and high")
TOO_HEAVY = Rule("too_heavy", "must be at most {0.most_bytes:,} bytes long")
ALPHA = Rule("alpha", "must have no transparency (alpha channel)")
TURNED = Rule("turned", "must be stored upright, not turned by Exif orientation")

_BROKEN: tuple[tuple[Rule, Callable[[Inspected, int, Inputs], bool]], ...] = (
    (FORMAT, lambda picture, *_: picture.format not in {taken.name for taken in TAKEN}),
    (TOO_SMALL, lambda picture, _, limits: picture.shortest_side < limits.shortest_side),
    (TOO_LARGE, lambda picture, _, limits: picture.longest_side > limits.longest_side),
    (TOO_HEAVY, lambda _, length, limits: length > limits.most_bytes),
    (ALPHA, lambda picture, *_: picture.has_alpha),
    (TURNED, lambda picture, *_: picture.orientation != 1),
)


def broken_rules(inspected: Inspected, length: int, inputs: Inputs) -> list[Rule]:
    """Return the rules that a picture of *length* bytes breaks, in the order above."""
    return [rule for rule, broken in _BROKEN if broken(inspected, length, inputs)]
