"""The table of models: the built-in one, and what ``[models."NAME"]`` of a config adds to it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from gateway.config.rules import read
from gateway.config.schema import ModelSettings
from gateway.config.table import Table
from gateway.domain.models import Family, Inputs, Model, ModelLimits, ModelTable, Operation, Sizes
from gateway.domain.price import Price, Prices

_FILE = "models.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def is_model_name(name: str) -> bool:
    """Return whether *name* can be one; names of models appear in URLs and metrics."""
    return _NAME.fullmatch(name) is not None


def read_models(table: Table) -> tuple[ModelTable, Prices]:
    """
    Read the tables of models in *table*, laid over the built-in ones.

    Args:
        table: ``[models]``, its own keys among the tables of models.

    Returns:
        The models, the built-in ones first, and the list prices by region and model.

    Raises:
        ConfigError: a key of a model is unknown, missing or breaks its rule.
    """
    tables = {name: Table(_FILE, name, values) for name, values in _built_in_values().items()}
    for name, values in table.values.items():
        if not isinstance(values, dict) or name == "aliases":
            continue
        if not is_model_name(name):
            raise table.wrong(name, "is not a model name", "use letters, digits and . _ : / -")
        given = table.table(name)
        built_in = tables[name].values if name in tables else {}
        tables[name] = Table(given.source, given.path, {**built_in, **given.values})
    models: dict[str, Model] = {}
    prices: dict[tuple[str, str], Price] = {}
    for name, one in tables.items():
        settings = read(ModelSettings, one)
        model = _model(one, name, settings)
        for each in (name, *(f"{name}-{date}" for date in settings.snapshots)):
            # A snapshot may have a table of its own.
            if each == name or each not in tables:
                models[each] = replace(model, name=each)
                prices |= {(region, each): price for region, price in settings.prices}
    return ModelTable(MappingProxyType(models)), MappingProxyType(prices)


@cache
def built_in_models() -> ModelTable:
    """Return the models that need no config."""
    return read_models(Table(_FILE, "models", {}))[0]


@cache
def _built_in_values() -> Mapping[str, dict[str, Any]]:
    return tomllib.loads((files("gateway.config") / _FILE).read_text("utf-8"))


def _model(table: Table, name: str, settings: ModelSettings) -> Model:
    operations = {
        Operation.EDIT: settings.edits,
        Operation.GENERATE: settings.generations,
    }
    if not any(operations.values()):
        raise table.wrong("edits", "and generations are false", "set one of them to true")
    if settings.edits and not settings.images[1]:
        raise table.wrong("images", "a model that edits takes pictures", "use, say, [1, 3]")
    if settings.n > 1 and "n" not in settings.options:
        raise table.wrong("n", "is not among its options", "add it there, or use 1")
    sizes = Sizes(
        *settings.pixels,
        settings.ratio,
        *settings.sides,
        settings.step,
        choices=settings.sizes,
        settable="size" in settings.options,
        unasked_pixels=settings.unasked_pixels,
    )
    most_prompt, in_tokens = settings.prompt
    return Model(
        name=name,
        family=Family(settings.family),
        has_tasks=settings.tasks,
        operations=frozenset(operation for operation, does in operations.items() if does),
        inputs=Inputs(
            settings.images[1],
            *settings.image_sides,
            settings.image_bytes,
            settings.image_ratio,
            tuple(format_.upper() for format_ in settings.image_formats),
            settings.image_alpha,
        ),
        sizes=sizes,
        generation_sizes=_generation_sizes(sizes, settings),
        most_prompt=most_prompt,
        prompt_in_tokens=in_tokens,
        most_negative=settings.negative_prompt,
        most_made=settings.n,
        options=frozenset(settings.options),
        transparent=settings.transparent,
        regions=frozenset(settings.regions),
        limits=_limits(settings, ""),
        limits_by_region=tuple(
            (region, _limits(settings, region))
            for region in dict([*settings.submits, *settings.running])
            if region
        ),
    )


def _limits(settings: ModelSettings, region: str) -> ModelLimits:
    usual = ModelLimits()
    submits: dict[str, float] = {"": usual.submits_per_second} | dict(settings.submits)
    running: dict[str, int] = {"": usual.running_tasks} | dict(settings.running)
    return ModelLimits(submits.get(region, submits[""]), running.get(region, running[""]))


def _generation_sizes(sizes: Sizes, settings: ModelSettings) -> Sizes | None:
    least, most = settings.generation_pixels
    if not most:
        return None
    return replace(sizes, least_pixels=least, most_pixels=most)
