"""``[models]`` and ``[prices]``: which models clients may request, and what a picture costs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.config.rules import Choice, Number, Unfit, read, take
from gateway.config.schema import ModelsTable
from gateway.config.table import Table, one_of, shown
from gateway.domain.models import (
    DEFAULTS,
    MODELS,
    Catalog,
    Operation,
    is_openai_model,
    models_that,
)
from gateway.domain.tenant import Price

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_OPENAIS = (
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-flare-2026-09-08",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-sunburst-2026-09-08",
    "gpt-image-2.6-flare",
    "gpt-image-2.6-sunburst",
    "chatgpt-image-latest",
    "dall-e-2",
    "dall-e-3",
)
"""OpenAI's names: at each path they mean its default. Catalog.model_of takes later ones, too."""
_PATHS = {Operation.EDIT: "edits", Operation.GENERATE: "generations"}
"""What a table calls each path."""
_KEYS = {Operation.EDIT: "default", Operation.GENERATE: "default_generation"}


def catalogs_of(table: Table) -> Mapping[Operation, Catalog]:
    """
    Return the models that clients may request, by operation.

    Raises:
        ConfigError: an alias or a default does not name a model that fits.
    """
    aliases = table.table("aliases")
    named = {name: _alias(aliases, name) for name in aliases.values}
    plain = {key: value for key, value in table.values.items() if key != "aliases"}
    settings = read(ModelsTable, Table(table.source, table.path, plain))
    defaults = {Operation.EDIT: settings.default, Operation.GENERATE: settings.default_generation}
    names = {
        operation: _names(
            table, operation, {name: by[operation] for name, by in named.items()}, default
        )
        for operation, default in defaults.items()
    }
    return MappingProxyType(
        {
            operation: Catalog(
                operation,
                MappingProxyType(names[operation]),
                names[operation][default],
                names[other],
            )
            for (operation, default), other in zip(
                defaults.items(), reversed(Operation), strict=True
            )
        }
    )


def _names(
    table: Table, operation: Operation, aliases: Mapping[str, str | None], default: str
) -> dict[str, str]:
    """Return every name that clients may request → DashScope's name of the model."""
    own = {name: name for name in models_that(operation)}
    fitting = {name: model for name, model in aliases.items() if model is not None}
    if default not in own and default not in fitting and not is_openai_model(default):
        remedy = f"use {one_of([*own, *fitting])}, or a name of OpenAI's"
        what = f"{shown(default)} is not a model"
        if default in MODELS or default in aliases:
            what = f"{shown(default)} is not a model that can {operation.value}"
        raise table.wrong(_KEYS[operation], what, remedy)
    usual = (own | fitting).get(default, DEFAULTS[operation])
    # An alias serves both paths: where it names no model for one, it means the default there.
    anywhere = dict.fromkeys([*_OPENAIS, *aliases, default], usual)
    return anywhere | fitting | own


def _alias(table: Table, name: str) -> Mapping[Operation, str | None]:
    """
    Return the model of the alias *name* by operation; aliases appear in URLs and metrics.

    One model serves the paths that it can; a table names a model for each path.
    """
    if not _NAME.fullmatch(name):
        raise table.wrong(name, "is not a model name", "use letters, digits and . _ : / -")
    if isinstance(table.values[name], dict):
        return _alias_by_path(table.table(name))
    model = take(table, name, Choice(tuple(MODELS)))
    return {operation: model if model in models_that(operation) else None for operation in _PATHS}


def _alias_by_path(table: Table) -> Mapping[Operation, str | None]:
    keys = tuple(_PATHS.values())
    table.only(keys)
    if not table.values:
        raise table.wrong("", "is empty", f"name a model for {' or '.join(keys)}")
    return {
        operation: take(table, key, Choice(models_that(operation))) if key in table.values else None
        for operation, key in _PATHS.items()
    }


CURRENCIES = {"beijing": "CNY", "singapore": "USD"}
"""Region → the currency of its list prices; in any other region it is CNY."""

_LIST_PRICES = {
    # Per picture made, without free quotas, in October 2026
    # (docs/reference/dashscope.md 6.2).
    "wan2.5-i2i-preview": (0.20, 0.03),
    "wan2.5-t2i-preview": (0.20, 0.03),
    "wan2.6-image": (0.20, 0.03),
    "wan2.6-t2i": (0.20, 0.03),
    "qwen-image-edit-plus": (0.20, 0.03),
}

PRICES = {
    (region, model): Price(amount, CURRENCIES[region])
    for model, amounts in _LIST_PRICES.items()
    for region, amount in zip(CURRENCIES, amounts, strict=True)
}
"""The list price of a picture by region and model; the config may override it."""

_PRICE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ([A-Z]{3})")


@dataclass(frozen=True, slots=True)
class PriceRule:
    takes: str = 'a number from 0, in the currency of the region, or a text such as "0.03 USD"'

    def read(self, value: object) -> float | Price:
        if isinstance(value, str):
            if (match := _PRICE.fullmatch(value)) is None:
                raise Unfit(f"got {shown(value)}")
            return Price(float(match[1]), match[2])
        return Number(0, or_least=True).read(value)


def read_prices(table: Table, regions: Iterable[str]) -> Mapping[tuple[str, str], Price]:
    """
    Return the price of a picture by region and model.

    Raises:
        ConfigError: an unknown region or model, or a value that is not a price.
    """
    names = tuple(regions)
    prices = dict(PRICES)
    for region, one in table.tables().items():
        if region not in names:
            raise table.wrong(region, f"{shown(region)} is not a region", f"use {one_of(names)}")
        one.only(MODELS)
        for model in one.values:
            values = take(one, model, PriceRule())
            currency = CURRENCIES.get(region, "CNY")
            prices[region, model] = values if isinstance(values, Price) else Price(values, currency)
    return MappingProxyType(prices)
