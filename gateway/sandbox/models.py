"""The models of a region: at which path, in which form, within which limits (section 9)."""

from dataclasses import dataclass
from typing import Literal

Form = Literal["prompt", "messages"]

SYNTHESIS = "/services/aigc/image2image/image-synthesis"
PAINTING = "/services/aigc/text2image/image-synthesis"
MESSAGES = "/services/aigc/image-generation/generation"
PATHS = (SYNTHESIS, PAINTING, MESSAGES)
"""Of submits, below ``/api/v1``."""


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What one model takes.

    Attributes:
        form: Of its body and of its results.
        images: How many pictures it takes; ``range(1)`` is none.
        sides: Of each, in pixels.
        areas: Pixels of a result, the least and the most.
        characters: Of a prompt; the rest is cut in silence.
    """

    path: str
    form: Form
    images: range
    areas: tuple[int, int]
    sides: range = range(384, 5001)
    characters: int = 2000

    @property
    def function(self) -> str:
        """What a row of the task list calls it: group, task and function."""
        group, task, function = self.path.split("/")[2:]
        return f"{group}:{task}:{function}"


_SMALL = (768 * 768, 1280 * 1280)
_LARGE = (1280 * 1280, 1440 * 1440)
_NONE = range(1)
EDITS = Rules(SYNTHESIS, "prompt", range(1, 4), _SMALL)
RULES = {
    "wan2.5-i2i-preview": EDITS,
    "wan2.5-t2i-preview": Rules(PAINTING, "prompt", _NONE, _LARGE),
    "wan2.6-image": Rules(MESSAGES, "messages", range(1, 5), _SMALL, range(240, 8001)),
    "wan2.6-t2i": Rules(MESSAGES, "messages", _NONE, _LARGE, characters=2100),
}


def rules_of(model: str) -> Rules:
    """Return the rules of *model*; one that a config adds goes by those of wan2.5's edits."""
    return RULES.get(model, EDITS)
