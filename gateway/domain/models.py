"""The table of models: operation, path and limits of each. A new model is a new line."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Operation(StrEnum):
    """What a model does; each operation has a path of OpenAI's."""

    EDIT = "edit"
    """Pictures and a prompt, ``/v1/images/edits``."""
    GENERATE = "generate"
    """A prompt alone, ``/v1/images/generations``."""


class Family(StrEnum):
    """Which wire format a model speaks (dashscope.md 9); each has its file in translate/."""

    SYNTHESIS = "synthesis"
    """``input.prompt`` and ``input.images``; tasks tell their prompt."""
    MESSAGES = "messages"
    """``input.messages[].content[]``; tasks tell no prompt."""
    SYNCHRONOUS = "synchronous"
    """As MESSAGES, but without a task: the submit itself is answered with the pictures."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What pictures a model takes."""

    most: int
    """In one edit; 0: it takes none."""
    shortest_side: int = 384
    """Pixels, as all sides."""
    longest_side: int = 5000
    most_bytes: int = 10_000_000
    """Alibaba's pages say 10 MB without saying which; this is below both."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What pictures a model makes."""

    least_pixels: int
    most_pixels: int
    most_ratio: int = 4
    """Of the longer side to the shorter."""
    shortest_side: int = 1
    longest_side: int = 5120
    """Of wan2.5 and 2.6 the pixels and the ratio leave no side longer than this."""
    step: int = 1
    """Of both sides: DashScope rounds a size between two steps without saying so."""


@dataclass(frozen=True, slots=True)
class Model:
    """One image model of DashScope's."""

    name: str
    family: Family
    path: str
    """Of its submit, below the region's base URL."""
    operation: Operation
    inputs: Inputs
    sizes: Sizes
    most_prompt: int = 2000
    """Characters; DashScope truncates the rest silently."""
    most_negative: int = 500
    most_made: int = 4
    """Pictures of one task; an edit with more of them has several tasks."""

    @property
    def has_tasks(self) -> bool:
        """
        Whether a submit makes a task, which can be listed and fetched.

        Without one, the response to the submit is all there is (D87, docs/models.md).
        """
        return self.family is not Family.SYNCHRONOUS


_WAN25 = Inputs(most=3)
_NONE = Inputs(most=0)
_SMALL = Sizes(768 * 768, 1280 * 1280)
_WAN26 = Sizes(768 * 768, 2048 * 2048, longest_side=8192, step=16)
_LARGE = Sizes(1280 * 1280, 1440 * 1440)
_QWEN = Sizes(512 * 512, 2048 * 2048, shortest_side=512, longest_side=2048)
_EDITS = "/services/aigc/image2image/image-synthesis"
_PAINTS = "/services/aigc/text2image/image-synthesis"
_MESSAGES = "/services/aigc/image-generation/generation"
_AT_ONCE = "/services/aigc/multimodal-generation/generation"

# Sources: dashscope.md 1.3, 1.4, 9; for all but wan2.5-i2i also docs/models.md.
_TABLE = (
    Model("wan2.5-i2i-preview", Family.SYNTHESIS, _EDITS, Operation.EDIT, _WAN25, _SMALL),
    Model("wan2.5-t2i-preview", Family.SYNTHESIS, _PAINTS, Operation.GENERATE, _NONE, _LARGE),
    Model("wan2.6-image", Family.MESSAGES, _MESSAGES, Operation.EDIT, Inputs(4, 240, 8000), _WAN26),
    Model(
        "wan2.6-t2i",
        Family.MESSAGES,
        _MESSAGES,
        Operation.GENERATE,
        _NONE,
        _LARGE,
        most_prompt=2100,
    ),
    Model(
        "qwen-image-edit-plus",
        Family.SYNCHRONOUS,
        _AT_ONCE,
        Operation.EDIT,
        Inputs(3, 384, 3072),
        _QWEN,
        most_prompt=800,
        most_made=6,
    ),
)
MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _TABLE})
"""By DashScope's name, in the order in which they are listed."""

_LINE = re.compile(r"wan(?=x?[\d.-])|[a-z]+")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")
_VERSION = re.compile(r"\d+\.\d+")
_KIND = re.compile(r"[a-z]+2[a-z]+")


def may_name(name: str, model: str) -> bool:
    """
    Return whether *name*, of a task, may mean *model*: an alias or a dated snapshot of it.

    It does not if it is another model of the table, or of another product line, version or
    kind (``i2i``, ``t2v``).
    """
    name = name.casefold()
    model = model.casefold()
    if name == model or not name:
        return True
    if name in MODELS:
        return False
    name = _DATE.sub("", name)
    for part in (_LINE, _VERSION, _KIND):
        theirs = part.search(name)
        ours = part.search(model)
        if theirs and ours and theirs.group() != ours.group():
            return False
    return True


DEFAULTS: Mapping[Operation, str] = MappingProxyType(
    {Operation.EDIT: "wan2.5-i2i-preview", Operation.GENERATE: "wan2.5-t2i-preview"}
)
"""The model of a request without one, unless the config says otherwise."""


def models_that(operation: Operation) -> tuple[str, ...]:
    """Return the names of the models with this *operation*."""
    return tuple(model.name for model in MODELS.values() if model.operation is operation)


_OPENAIS = re.compile(r"(?:chat)?gpt-image-[A-Za-z0-9][A-Za-z0-9._-]{0,99}|dall-e-[23]")


def is_openai_model(name: str) -> bool:
    """Return whether OpenAI would give an image model this name, today or later."""
    return _OPENAIS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models of one of OpenAI's paths."""

    operation: Operation
    models: Mapping[str, str]
    """Each name that a client may send there, and DashScope's name for it."""
    default: str
    """The one of these names that is used if none was sent."""
    elsewhere: Collection[str] = ()
    """Names of the other path."""

    def model_of(self, name: str) -> str | None:
        """Return DashScope's name for *name*; a new name of OpenAI's means the default."""
        if name in self.models:
            return self.models[name]
        return self.models[self.default] if is_openai_model(name) else None
