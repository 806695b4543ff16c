"""DashScope's rules for input pictures, as data (dashscope.md 1.4)."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.imaging.formats import BMP, JPEG, PNG, WEBP
from gateway.imaging.inspect import Inspected

TAKEN = (JPEG, PNG, BMP, WEBP)
SHORTEST_SIDE = 384
LONGEST_SIDE = 5000
MOST_BYTES = 10_000_000
"""Their page says 10 MB and not which; this is under both readings."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, and its words after "image 2"."""

    name: str
    text: str


FORMAT = Rule("format", "must be JPEG, PNG, BMP or WEBP")
TOO_SMALL = Rule("too_small", f"must be at least {SHORTEST_SIDE} pixels wide and high")
TOO_LARGE = Rule("too_large", f"must be at most {LONGEST_SIDE} pixels wide and high")
TOO_HEAVY = Rule("too_heavy", f"must be at most {MOST_BYTES:,} bytes long")
ALPHA = Rule("alpha", "must have no transparency (alpha channel)")
TURNED = Rule("turned", "must be stored upright, not turned by Exif orientation")

_BROKEN: tuple[tuple[Rule, Callable[[Inspected, int], bool]], ...] = (
    (FORMAT, lambda picture, _: picture.format not in {taken.name for taken in TAKEN}),
    (TOO_SMALL, lambda picture, _: picture.shortest_side < SHORTEST_SIDE),
    (TOO_LARGE, lambda picture, _: picture.longest_side > LONGEST_SIDE),
    (TOO_HEAVY, lambda _, length: length > MOST_BYTES),
    (ALPHA, lambda picture, _: picture.has_alpha),
    (TURNED, lambda picture, _: picture.orientation != 1),
)


def broken_rules(inspected: Inspected, length: int) -> list[Rule]:
    """Return the rules that a picture of *length* bytes breaks, in the order above."""
    return [rule for rule, broken in _BROKEN if broken(inspected, length)]
