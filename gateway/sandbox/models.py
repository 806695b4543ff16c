"""The models of a region: their paths, the form of their bodies, their limits (section 9)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

BodyForm = Literal["prompt", "messages"]
Area = tuple[int, int]

SYNTHESIS = "/services/aigc/image2image/image-synthesis"
PAINTING = "/services/aigc/text2image/image-synthesis"
MESSAGES = "/services/aigc/image-generation/generation"
ASYNCHRONOUS_PATHS = (SYNTHESIS, PAINTING, MESSAGES)
"""Paths of submits that create a task, below ``/api/v1``."""
SYNCHRONOUS_PATH = "/services/aigc/multimodal-generation/generation"
"""Path of submits whose response is the result."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Picture formats that every model takes."""
_MIB = 1024 * 1024
_SIZE = re.compile(r"([1-9][0-9]{0,4})\*([1-9][0-9]{0,4})")
_UNDEFINED = "The type or value of size is out of definition."


class WrongSizeError(Exception):
    """A size that the model does not make; its text is that of DashScope's refusal."""


@dataclass(frozen=True, slots=True)
class ResultRules:
    """
    The result pictures of one model.

    Attributes:
        areas: Least and greatest area of a named size, in pixels; None: it is not checked.
        refusal: What is said of another area, with ``{area}`` in place.
        sides: Allowed width and height, in pixels.
        ratio: Of the longer side to the shorter, at most.
        choices: The only sizes, as they are written; empty: all within the other rules.
        named: Whether a size may be named at all.
        tokens: Words for a size, and the area that each means.
        area: Approximate area when the submit names no size.
        unasked: Sizes that are made in turn of a prompt alone when the submit names none.
        counts: How many results a submit may ask for; ``range(1, 2)`` without the parameter.
        count: How many it gets when it does not say.
        step: Both sides are rounded to a multiple of this.
        obeyed: Whether an edit gets the size that it names; else about 2048 x 2048.
    """

    areas: Area | None
    refusal: str = ""
    sides: range = range(1, 100_000)
    ratio: int = 4
    choices: tuple[str, ...] = ()
    named: bool = True
    tokens: Mapping[str, int] = field(default_factory=dict)
    area: int = 1280 * 1280
    unasked: tuple[tuple[int, int], ...] = ()
    counts: range = range(1, 5)
    count: int = 4
    step: int = 1
    obeyed: bool = True

    def read(self, text: str, *, of_pictures: bool) -> tuple[int, int] | None:
        """
        Return the width and height that a size names; None for a word such as ``2K``.

        Raises:
            WrongSizeError: The text is no size, or of pictures that the model does not make.
        """
        if text in self.tokens:
            return None
        match = _SIZE.fullmatch(text)
        if not self.named or (match is None and not self.refusal):
            raise WrongSizeError(_UNDEFINED)
        if match is None:
            raise WrongSizeError(
                f"Invalid size format: {text}. Expected format: '<width>*<height>'"
            )
        size = int(match[1]), int(match[2])
        good = text in self.choices if self.choices else self._allows(*size)
        if not good and (self.obeyed or not of_pictures):
            raise WrongSizeError(
                self.refusal.format(area=size[0] * size[1], size=text) or _UNDEFINED
            )
        return size

    def _allows(self, width: int, height: int) -> bool:
        least, most = self.areas or (1, 2**40)
        return (
            least <= width * height <= most
            and max(width, height) <= self.ratio * min(width, height)
            and width in self.sides
            and height in self.sides
        )

    def round_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the result when that size is asked for."""
        return round(width / self.step) * self.step, round(height / self.step) * self.step

    def size_like(self, width: int, height: int, area: int | None = None) -> tuple[int, int]:
        """Return a size of about *area* with the ratio of *width* to *height*."""
        area = area or self.area
        ratio = min(max(width / height, 1 / self.ratio), self.ratio)
        size = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
        return size if self.step == 1 else self.round_size(*size)


@dataclass(frozen=True, slots=True)
class ModelRules:
    """
    The submits of one model.

    Attributes:
        paths: Where to submit, below ``/api/v1``: what makes tasks first, if anything does.
        form: Form of the request body and of the results.
        images: How many input pictures it takes; ``range(1)`` is none.
        results: Its result pictures.
        sides: Allowed width and height of an input picture, in pixels.
        characters: Length of a prompt; a longer one is cut without an error.
        formats: Formats of an input picture.
        image_bytes: The largest input picture.
        negative: Whether it has a negative prompt.
        extends: Whether its prompts are rewritten unless the submit says otherwise.
        count_first: Whether ``n`` is checked before ``size``.
        usage: Which fields say what was made: ``size``, ``sides``, or those of qwen-image-3.0.
        transparent: Whether a prompt may ask for a transparent picture.
        per_minute: Submits in a minute, evenly spread: 300 are 5 in each second.
        running: Tasks that run at once.
    """

    paths: tuple[str, ...]
    form: BodyForm
    images: range
    results: ResultRules
    sides: range = range(384, 5001)
    characters: int = 2000
    formats: tuple[str, ...] = FORMATS
    image_bytes: int = 10 * _MIB
    negative: bool = True
    extends: bool = True
    count_first: bool = False
    usage: Literal["size", "sides", "output"] = "size"
    transparent: bool = False
    per_minute: int = 300
    running: int = 5

    @property
    def path(self) -> str:
        return self.paths[0]

    @property
    def synchronous(self) -> bool:
        """Whether it makes no tasks: each submit is answered with the result."""
        return self.path == SYNCHRONOUS_PATH

    @property
    def function(self) -> str:
        """Its name in a row of the task list: group, task and function."""
        group, task, function = self.path.split("/")[2:]
        return f"{group}:{task}:{function}"


_NONE = range(1)
_BOTH = (MESSAGES, SYNCHRONOUS_PATH)
_AT_ONCE = (SYNCHRONOUS_PATH,)
_ONE = range(1, 2)
_SIX = range(1, 7)
_ALL_FORMATS = (*FORMATS, "TIFF", "GIF")
_K1, _K2, _K4 = 1024 * 1024, 2048 * 2048, 4096 * 4096

_TOTAL = "Total pixels ({area}) must be between 589824 and "
_WAN26 = ResultRules(
    (768 * 768, _K2), f"{_TOTAL}4194304.", step=16, tokens={"1K": 1280 * 1280, "2K": _K2}
)
# The documents are stricter than the service: no more than 2048 x 2048 but by the pro, of text.
_WAN27 = ResultRules(
    (768 * 768, _K4),
    f"{_TOTAL}16777216",
    ratio=8,
    tokens={"1K": _K1, "2K": _K2, "4K": _K4},
    area=_K2,
)
_QWEN3 = ResultRules(
    (512 * 512, 2560 * 2560),
    "Image area must be between 262144 (512x512) and 6553600 (2560x2560) pixels for t2i requests",
    ratio=8,
    area=_K2,
    unasked=((2048, 2048), (2752, 1536), (1440, 2560)),
    counts=_SIX,
    count=1,
    step=16,
    obeyed=False,
)
_QWEN21 = replace(_QWEN3, unasked=((2048, 2048),), obeyed=True)
_QWEN2 = ResultRules(
    (512 * 512, _K2),
    "Image area must be between 262144 (512x512) and 4194304 (2048x2048) pixels",
    ratio=8,
    area=_K1,
    unasked=((2048, 2048),),
    counts=_SIX,
    count=1,
    step=16,
)
_QWEN_EDIT = ResultRules((512 * 512, _K2), sides=range(512, 2049), area=_K1, counts=_SIX, count=1)
_FIVE = ("1664*928", "1472*1104", "1328*1328", "1104*1472", "928*1664")
_QWEN_T2I = ResultRules(
    None,
    f"The size does not match the allowed size {','.join(_FIVE)}",
    choices=_FIVE,
    unasked=((1664, 928),),
    counts=_ONE,
    count=1,
)
_Z = ResultRules(
    (512 * 512, _K2),
    "Image area must be between 262144 and 4194304 pixels",
    unasked=((1024, 1536),),
    counts=_ONE,
    count=1,
)
_LARGE = ResultRules((1280 * 1280, 1440 * 1440))

EDITS = ModelRules((SYNTHESIS,), "prompt", range(1, 4), ResultRules((768 * 768, 1280 * 1280)))
_OF_WAN27 = ModelRules(
    _BOTH,
    "messages",
    range(10),
    _WAN27,
    range(240, 8001),
    characters=5000,
    image_bytes=20 * _MIB,
    negative=False,
)
_OF_QWEN3 = ModelRules(
    _BOTH,
    "messages",
    range(4),
    _QWEN3,
    range(384, 3073),
    characters=4500,
    formats=_ALL_FORMATS,
    count_first=True,
    usage="output",
    per_minute=20,
    running=10,
)
_OF_QWEN21 = replace(_OF_QWEN3, images=range(11), results=_QWEN21, transparent=True)
_OF_QWEN2 = replace(
    _OF_QWEN3,
    paths=_AT_ONCE,
    results=_QWEN2,
    characters=1300,
    count_first=False,
    usage="sides",
    per_minute=120,
)
_OF_QWEN_EDIT = replace(_OF_QWEN2, images=range(1, 4), results=_QWEN_EDIT, characters=800)
_OF_QWEN_T2I = replace(_OF_QWEN2, images=_NONE, results=_QWEN_T2I, characters=800)
RULES = {
    "wan2.5-i2i-preview": EDITS,
    "wan2.5-t2i-preview": ModelRules((PAINTING,), "prompt", _NONE, _LARGE),
    "wan2.6-image": ModelRules(_BOTH, "messages", range(1, 5), _WAN26, range(240, 8001)),
    "wan2.6-t2i": ModelRules(
        _BOTH,
        "messages",
        _NONE,
        ResultRules((768 * 768, 1440 * 1440), f"{_TOTAL}2073600."),
        characters=2100,
    ),
    "wan2.7-image": _OF_WAN27,
    "wan2.7-image-pro": _OF_WAN27,
    "qwen-image-3.0": _OF_QWEN3,
    "qwen-image-3.0-pro": replace(_OF_QWEN3, per_minute=5),
    "qwen-image-2.1-pro": replace(_OF_QWEN21, negative=False),
    "qwen-image-2.1-turbo": replace(_OF_QWEN21, per_minute=120),
    "qwen-image-2.0-pro": replace(_OF_QWEN2, per_minute=2),
    "qwen-image-2.0": _OF_QWEN2,
    "qwen-image-edit-max": replace(_OF_QWEN_EDIT, per_minute=2),
    "qwen-image-edit-plus": _OF_QWEN_EDIT,
    "qwen-image-edit": replace(
        _OF_QWEN_EDIT, results=replace(_QWEN_EDIT, counts=_ONE, named=False)
    ),
    "qwen-image-max": replace(
        _OF_QWEN_T2I,
        results=replace(_QWEN_T2I, refusal="Size {size} is out of range [512*512, 1664*1664]"),
        per_minute=2,
    ),
    "qwen-image-plus": _OF_QWEN_T2I,
    "qwen-image": _OF_QWEN_T2I,
    "z-image-turbo": replace(_OF_QWEN_T2I, results=_Z, negative=False, extends=False),
}
_ELSEWHERE = {
    # Which models there are outside of Beijing and Singapore, which have all.
    "virginia": ("wan2.6-", "qwen-image-3.0", "qwen-image-2.1"),
    "frankfurt": ("wan2.6-", "qwen-image-3.0", "qwen-image-2.1"),
    "tokyo": ("qwen-image-3.0", "qwen-image-2.1"),
    "hongkong": ("qwen-image-3.0", "qwen-image-2.1"),
}
_SLOW_WAN26 = ("beijing", "frankfurt")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def rules_of(model: str) -> ModelRules:
    """
    Return the rules of *model*.

    A dated snapshot has those of its model; models of the config's own have those of wan2.5's
    edits.
    """
    return RULES.get(model) or RULES.get(undated(model), EDITS)


def undated(model: str) -> str:
    """Return the model of which *model* is a dated snapshot, or *model* itself."""
    return _DATE.sub("", model)


def models_in(region: str) -> tuple[str, ...]:
    """Return the models of a region; all of them for one of another name."""
    starts = _ELSEWHERE.get(region, ("",))
    return tuple(model for model in RULES if model.startswith(starts))


def per_minute(model: str, region: str) -> int:
    """Return how many submits of *model* a region takes in a minute."""
    if undated(model) == "wan2.6-t2i" and region in _SLOW_WAN26:
        return 60
    return rules_of(model).per_minute
