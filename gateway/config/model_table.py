"""The table of models: the built-in one, and what ``[models."NAME"]`` of a config adds to it."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from gateway.config.rules import read
from gateway.config.schema import ModelSettings
from gateway.config.table import Table
from gateway.domain.models import Family, Inputs, Model, ModelTable, Operation, Sizes
from gateway.domain.tenant import Price

_FILE = "models.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def is_model_name(name: str) -> bool:
    """Return whether *name* can be one; names of models appear in URLs and metrics."""
    return _NAME.fullmatch(name) is not None


def read_models(table: Table) -> tuple[ModelTable, Mapping[tuple[str, str], Price]]:
    """
    Read the tables of models in *table*, laid over the built-in ones.

    Args:
        table: ``[models]``, its own keys among the tables of models.

    Returns:
        The models, the built-in ones first, and the list price of a picture by region and model.

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
    settings = {name: read(ModelSettings, one) for name, one in tables.items()}
    models = {name: _model(tables[name], name, one) for name, one in settings.items()}
    prices = {
        (region, name): price for name, one in settings.items() for region, price in one.prices
    }
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
    least_pixels, most_pixels = settings.pixels
    shortest_side, longest_side = settings.sides
    return Model(
        name=name,
        family=Family(settings.family),
        has_tasks=settings.tasks,
        operations=frozenset(operation for operation, does in operations.items() if does),
        inputs=Inputs(settings.images[1], *settings.image_sides, settings.image_bytes),
        sizes=Sizes(
            least_pixels, most_pixels, settings.ratio, shortest_side, longest_side, settings.step
        ),
        most_prompt=settings.prompt,
        most_negative=settings.negative_prompt,
        most_made=settings.n,
    )
