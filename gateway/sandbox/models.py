"""The models of a region: their paths, the form of their bodies, their limits (section 9)."""

import math
from dataclasses import dataclass
from typing import Literal

BodyForm = Literal["prompt", "messages"]

SYNTHESIS = "/services/aigc/image2image/image-synthesis"
PAINTING = "/services/aigc/text2image/image-synthesis"
MESSAGES = "/services/aigc/image-generation/generation"
ASYNCHRONOUS_PATHS = (SYNTHESIS, PAINTING, MESSAGES)
"""Paths of submits that create a task, below ``/api/v1``."""
SYNCHRONOUS_PATH = "/services/aigc/multimodal-generation/generation"
"""Path of submits whose response is the result."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Picture formats that every model takes."""


@dataclass(frozen=True, slots=True)
class ResultRules:
    """
    The result pictures of one model.

    Attributes:
        areas: Least and greatest area, in pixels.
        sides: Allowed width and height, in pixels.
        area: Approximate area when the submit asks for no size.
        counts: How many results a submit may ask for.
        count: How many it gets when it does not say.
        step: Both sides are rounded to a multiple of this.
    """

    areas: tuple[int, int]
    sides: range = range(1, 100_000)
    area: int = 1280 * 1280
    counts: range = range(1, 5)
    count: int = 4
    step: int = 1

    def allows(self, width: int, height: int) -> bool:
        """Return whether a picture may have that size; no model makes one longer than 4:1."""
        least, most = self.areas
        return (
            least <= width * height <= most
            and max(width, height) <= 4 * min(width, height)
            and width in self.sides
            and height in self.sides
        )

    def round_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the result when that size is asked for."""
        return round(width / self.step) * self.step, round(height / self.step) * self.step

    def size_like(self, width: int, height: int) -> tuple[int, int]:
        """Return a size of about *area* with the ratio of *width* to *height*."""
        ratio = min(max(width / height, 0.25), 4.0)
        return int(math.sqrt(self.area * ratio)), int(math.sqrt(self.area / ratio))


@dataclass(frozen=True, slots=True)
class ModelRules:
    """
    The submits of one model.

    Attributes:
        path: Where to submit, below ``/api/v1``.
        form: Form of the request body and of the results.
        images: How many input pictures it takes; ``range(1)`` is none.
        results: Its result pictures.
        sides: Allowed width and height of an input picture, in pixels.
        characters: Length of a prompt; a longer one is cut without an error.
        formats: Formats of an input picture.
    """

    path: str
    form: BodyForm
    images: range
    results: ResultRules
    sides: range = range(384, 5001)
    characters: int = 2000
    formats: tuple[str, ...] = FORMATS

    @property
    def synchronous(self) -> bool:
        """Whether the response to its submit is the result, so that there is no task to query."""
        return self.path == SYNCHRONOUS_PATH

    @property
    def function(self) -> str:
        """Its name in a row of the task list: group, task and function."""
        group, task, function = self.path.split("/")[2:]
        return f"{group}:{task}:{function}"


_SMALL = ResultRules((768 * 768, 1280 * 1280))
_WAN26 = ResultRules((768 * 768, 2048 * 2048), step=16)
_LARGE = ResultRules((1280 * 1280, 1440 * 1440))
_QWEN = ResultRules(
    (512 * 512, 2048 * 2048), range(512, 2049), area=1024 * 1024, counts=range(1, 7), count=1
)
_NONE = range(1)
EDITS = ModelRules(SYNTHESIS, "prompt", range(1, 4), _SMALL)
RULES = {
    "wan2.5-i2i-preview": EDITS,
    "wan2.5-t2i-preview": ModelRules(PAINTING, "prompt", _NONE, _LARGE),
    "wan2.6-image": ModelRules(MESSAGES, "messages", range(1, 5), _WAN26, range(240, 8001)),
    "wan2.6-t2i": ModelRules(MESSAGES, "messages", _NONE, _LARGE, characters=2100),
    "qwen-image-edit-plus": ModelRules(
        SYNCHRONOUS_PATH,
        "messages",
        range(1, 4),
        _QWEN,
        range(384, 3073),
        characters=800,
        formats=(*FORMATS, "TIFF", "GIF"),
    ),
}


def rules_of(model: str) -> ModelRules:
    """Return the rules of *model*; models of the config's own have those of wan2.5's edits."""
    return RULES.get(model, EDITS)
