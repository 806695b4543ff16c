"""What an image model of DashScope's does and takes; gateway/config/models.toml has the figures."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from gateway.domain.edit import Size


class Operation(StrEnum):
    """What a model does; each operation has a path of OpenAI's."""

    EDIT = "edit"
    """Pictures and a prompt, ``/v1/images/edits``."""
    GENERATE = "generate"
    """A prompt alone, ``/v1/images/generations``."""


class Family(StrEnum):
    """Which wire format a model speaks (dashscope.md 9)."""

    SYNTHESIS = "synthesis"
    """``input.prompt`` and ``input.images``; tasks show their prompt."""
    MESSAGES = "messages"
    """``input.messages[].content[]``; tasks do not show their prompt."""


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
    most_ratio: int = 1000
    """Of the longer side to the shorter; beyond the sides' own ratio it says nothing."""
    formats: tuple[str, ...] = ("JPEG", "PNG", "BMP", "WEBP")
    """By Pillow's names; what is of another format is re-encoded."""
    alpha: bool = False
    """Whether it takes an alpha channel."""


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
    choices: tuple[Size, ...] = ()
    """The only sizes there are; empty: whatever the rules above allow."""
    settable: bool = True
    """Whether a submit may name a size; else the model chooses."""
    unasked_pixels: int = 0
    """
    The most of a picture whose size the client left out; 0: the model chooses.

    Some models would choose one of the dearer price.
    """

    @property
    def if_unasked(self) -> "Sizes":
        """What is made where the client did not say a size."""
        return replace(self, most_pixels=self.unasked_pixels or self.most_pixels)


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What one account may do with one model."""

    submits_per_second: float = 5
    """20 per minute is a third: DashScope counts the minute's limit by the second, too."""
    running_tasks: int = 5
    """0: any number."""


_OPTIONS = frozenset({"n", "size", "negative_prompt", "seed", "watermark", "prompt_extend"})
_ANY = Sizes(1, 2**62)
_OF_WANS = 4  # dashscope.md 1.3: parameters.n


@dataclass(frozen=True, slots=True)
class Model:
    """One image model of DashScope's."""

    name: str
    family: Family
    has_tasks: bool = True
    """
    Whether a submit makes a task, which can be listed and fetched.

    Without one, the response to the submit is all there is (D87, docs/models.md).
    """
    operations: frozenset[Operation] = frozenset()
    inputs: Inputs = Inputs(0)
    sizes: Sizes = _ANY
    generation_sizes: Sizes | None = None
    """Of pictures from a prompt alone; ``None``: as *sizes*."""
    most_prompt: int = 2000
    """DashScope truncates the rest silently."""
    prompt_in_tokens: bool = False
    """Whether that counts tokens; else it counts characters."""
    most_negative: int = 500
    """Characters."""
    most_made: int = _OF_WANS
    """Pictures of one task; an edit with more of them has several tasks."""
    options: frozenset[str] = _OPTIONS
    """DashScope's parameters, ``negative_prompt`` among them, that it has."""
    transparent: bool = False
    """Whether it makes transparent pictures if its prompt asks for them."""
    regions: frozenset[str] = frozenset()
    """The regions of DashScope's that have it; empty: all."""
    limits: ModelLimits = ModelLimits()
    """Of one account in a region that *limits_by_region* does not name."""
    limits_by_region: tuple[tuple[str, ModelLimits], ...] = ()

    def limits_in(self, region: str) -> ModelLimits:
        """Return what DashScope lets one account do with it there."""
        return dict(self.limits_by_region).get(region, self.limits)

    def does(self, operation: Operation) -> bool:
        return operation in self.operations

    def sizes_of(self, operation: Operation) -> Sizes:
        """Return what it makes by this *operation*."""
        made = self.generation_sizes if operation is Operation.GENERATE else None
        return made or self.sizes

    def path(self, *, with_pictures: bool) -> str:
        """Return the path of its submit, below the region's base URL."""
        if self.family is Family.SYNTHESIS:
            task = "image2image" if with_pictures else "text2image"
            return f"/services/aigc/{task}/image-synthesis"
        task = "image-generation" if self.has_tasks else "multimodal-generation"
        return f"/services/aigc/{task}/generation"


_PRODUCT = re.compile(r"wan(?=x?[\d.-])|[a-z]+")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")
_VERSION = re.compile(r"\d+\.\d+")
_KIND = re.compile(r"[a-z]+2[a-z]+")


@dataclass(frozen=True, slots=True)
class ModelTable:
    """The models that this gateway serves: the built-in ones and those of the config."""

    by_name: Mapping[str, Model]
    """By DashScope's name, in the order in which they are listed."""

    def model(self, name: str) -> Model:
        """
        Return the model of this *name*.

        One that was removed since its edit was submitted is taken to make tasks of up to four
        pictures, as most do.
        """
        return self.by_name.get(name) or Model(name, Family.MESSAGES)

    def that_do(self, operation: Operation) -> Mapping[str, Model]:
        """Return the models with this *operation*, by name."""
        return {name: model for name, model in self.by_name.items() if model.does(operation)}

    def may_name(self, name: str, model: str) -> bool:
        """
        Return whether *name*, of a task, may mean *model*: an alias or a dated snapshot of it.

        It does not if it is another model of the table, or of another product line, version or
        kind (``i2i``, ``t2v``).
        """
        name = name.casefold()
        model = model.casefold()
        if name == model or not name:
            return True
        if name in self.by_name:
            return False
        name = _DATE.sub("", name)
        for part in (_PRODUCT, _VERSION, _KIND):
            theirs = part.search(name)
            ours = part.search(model)
            if theirs and ours and theirs.group() != ours.group():
                return False
        return True


DEFAULTS: Mapping[Operation, str] = MappingProxyType(
    {Operation.EDIT: "wan2.5-i2i-preview", Operation.GENERATE: "wan2.5-t2i-preview"}
)
"""The model of a request without one, unless the config says otherwise."""

_OPENAIS = re.compile(r"(?:chat)?gpt-image-[A-Za-z0-9][A-Za-z0-9._-]{0,99}|dall-e-[23]")


def is_openai_model(name: str) -> bool:
    """Return whether OpenAI would give an image model this name, today or later."""
    return _OPENAIS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models of one of OpenAI's paths."""

    operation: Operation
    models: Mapping[str, Model]
    """By each name that a client may send there, DashScope's own among them."""
    default: str
    """The one of these names that is used if none was sent; empty if there are no names."""
    elsewhere: Collection[str] = ()
    """Names of the other path."""
    refused: Collection[str] = ()
    """Names that exist and that this tenant may not use."""

    def model_of(self, name: str) -> Model | None:
        """Return the model that *name* means; a new name of OpenAI's means the default."""
        if name in self.models:
            return self.models[name]
        return self.models.get(self.default) if is_openai_model(name) else None


Catalogs = Mapping[Operation, Catalog]
