"""The models of a region: at which path, in which form, within which limits (section 9)."""

import math
from dataclasses import dataclass
from typing import Literal

Form = Literal["prompt", "messages"]

SYNTHESIS = "/services/aigc/image2image/image-synthesis"
PAINTING = "/services/aigc/text2image/image-synthesis"
MESSAGES = "/services/aigc/image-generation/generation"
PATHS = (SYNTHESIS, PAINTING, MESSAGES)
"""Of submits that make a task, below ``/api/v1``."""
AT_ONCE = "/services/aigc/multimodal-generation/generation"
"""Of submits whose answer is the result."""


FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Of pictures, that every model takes."""


@dataclass(frozen=True, slots=True)
class Results:
    """
    What one model makes.

    Attributes:
        areas: Pixels of a picture, the least and the most.
        sides: Of it, in pixels.
        area: Pixels about which it has when no size is asked for.
        counts: How many one submit may ask for.
        count: How many it gets that asks for none.
        step: A size that is asked for is rounded so that it divides both sides.
    """

    areas: tuple[int, int]
    sides: range = range(1, 100_000)
    area: int = 1280 * 1280
    counts: range = range(1, 5)
    count: int = 4
    step: int = 1

    def fit(self, width: int, height: int) -> bool:
        """Tell whether a picture of that size can be made; 4:1 is the longest of all models."""
        least, most = self.areas
        return (
            least <= width * height <= most
            and max(width, height) <= 4 * min(width, height)
            and width in self.sides
            and height in self.sides
        )

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """Give the size at which a picture is made for which that size was asked."""
        return round(width / self.step) * self.step, round(height / self.step) * self.step

    def like(self, width: int, height: int) -> tuple[int, int]:
        """Give the size of a picture in the ratio of *width* to *height*."""
        ratio = min(max(width / height, 0.25), 4.0)
        return int(math.sqrt(self.area * ratio)), int(math.sqrt(self.area / ratio))


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What one model takes.

    Attributes:
        form: Of its body and of its results.
        images: How many pictures it takes; ``range(1)`` is none.
        sides: Of each, in pixels.
        results: What it makes.
        characters: Of a prompt; the rest is cut in silence.
        formats: Of each picture.
    """

    path: str
    form: Form
    images: range
    results: Results
    sides: range = range(384, 5001)
    characters: int = 2000
    formats: tuple[str, ...] = FORMATS

    @property
    def answers_at_once(self) -> bool:
        """Its submit is answered with the result: there is no task to ask about."""
        return self.path == AT_ONCE

    @property
    def function(self) -> str:
        """What a row of the task list calls it: group, task and function."""
        group, task, function = self.path.split("/")[2:]
        return f"{group}:{task}:{function}"


_SMALL = Results((768 * 768, 1280 * 1280))
_WAN26 = Results((768 * 768, 2048 * 2048), step=16)
_LARGE = Results((1280 * 1280, 1440 * 1440))
_QWEN = Results(
    (512 * 512, 2048 * 2048), range(512, 2049), area=1024 * 1024, counts=range(1, 7), count=1
)
_NONE = range(1)
EDITS = Rules(SYNTHESIS, "prompt", range(1, 4), _SMALL)
RULES = {
    "wan2.5-i2i-preview": EDITS,
    "wan2.5-t2i-preview": Rules(PAINTING, "prompt", _NONE, _LARGE),
    "wan2.6-image": Rules(MESSAGES, "messages", range(1, 5), _WAN26, range(240, 8001)),
    "wan2.6-t2i": Rules(MESSAGES, "messages", _NONE, _LARGE, characters=2100),
    "qwen-image-edit-plus": Rules(
        AT_ONCE,
        "messages",
        range(1, 4),
        _QWEN,
        range(384, 3073),
        characters=800,
        formats=(*FORMATS, "TIFF", "GIF"),
    ),
}


def rules_of(model: str) -> Rules:
    """Return the rules of *model*; one that a config adds goes by those of wan2.5's edits."""
    return RULES.get(model, EDITS)
