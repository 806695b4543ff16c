"""``[models]``: which models clients may request."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.config.model_table import is_model_name
from gateway.config.regions import BUILT_IN
from gateway.config.rules import Choice, read, take
from gateway.config.schema import ModelsTable, TenantModelsTable
from gateway.config.table import Table, one_of, shown
from gateway.domain.models import (
    DEFAULTS,
    Catalog,
    Catalogs,
    Model,
    ModelTable,
    Operation,
    is_openai_model,
)

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
_PATHS = {Operation.EDIT: "edit", Operation.GENERATE: "generate"}
"""What a table calls each path."""
_KEYS = {Operation.EDIT: "default", Operation.GENERATE: "default_generation"}


@dataclass(frozen=True, slots=True)
class OfferedModels:
    """What ``[models]`` offers to every tenant."""

    table: ModelTable
    aliases: Mapping[str, Mapping[Operation, str | None]]
    """What each alias means at each path; ``None``: the default there."""
    defaults: Mapping[Operation, str]


def read_offer(table: Table, models: ModelTable) -> OfferedModels:
    """
    Read ``[models]``, but for its tables of models.

    Args:
        table: ``[models]``.
        models: All that there are.

    Raises:
        ConfigError: an alias does not name a model that fits.
    """
    aliases = table.table("aliases")
    named = {name: _alias(aliases, name, models) for name in aliases.values}
    plain = {key: value for key, value in table.values.items() if not isinstance(value, dict)}
    settings = read(ModelsTable, Table(table.source, table.path, plain))
    defaults = {Operation.EDIT: settings.default, Operation.GENERATE: settings.default_generation}
    return OfferedModels(models, named, MappingProxyType(defaults))


def catalogs_of(table: Table, offer: OfferedModels) -> Catalogs:
    """
    Return the models that clients may request, by operation.

    Raises:
        ConfigError: a default does not name a model that fits.
    """
    return _catalogs(table, offer, offer.defaults, {*offer.table.by_name})


def tenant_catalogs(table: Table, offer: OfferedModels, region: str) -> Catalogs:
    """
    Return the models that the clients of one tenant may request, by operation.

    Args:
        table: ``[tenants.NAME.models]``; what it leaves out is as in ``[models]``.
        offer: What ``[models]`` offers.
        region: Where the tenant's edits are made; a model that DashScope does not have there
            is not among its models.

    Raises:
        ConfigError: a default does not name a model that fits, is allowed and is in the region,
            or a pattern matches no model.
    """
    settings = read(TenantModelsTable, table)
    defaults = {
        Operation.EDIT: settings.default or offer.defaults[Operation.EDIT],
        Operation.GENERATE: settings.default_generation or offer.defaults[Operation.GENERATE],
    }
    allowed = {*offer.table.by_name}
    if settings.allow is not None:
        matches = {it: fnmatch.filter(offer.table.by_name, it) for it in settings.allow}
        for pattern, models in matches.items():
            if not models:
                what = f"{shown(pattern)} matches no model"
                raise table.wrong("allow", what, f"use {one_of(offer.table.by_name)}, or a pattern")
        allowed = {name for models in matches.values() for name in models}
    if region in BUILT_IN:
        here = {
            name
            for name, model in offer.table.by_name.items()
            if not model.regions or region in model.regions
        }
        _check_region(table, offer, defaults, allowed, here, region)
        allowed &= here
    return _catalogs(table, offer, defaults, allowed)


def _check_region(
    table: Table,
    offer: OfferedModels,
    defaults: Mapping[Operation, str],
    allowed: set[str],
    here: set[str],
    region: str,
) -> None:
    """Refuse a default that DashScope does not have in the tenant's region."""
    for operation, name in defaults.items():
        _, default = _names(table, operation, offer, name)
        if default.name in allowed and default.name not in here:
            what = f"{default.name} is not in {region}"
            own = [it for it in offer.table.that_do(operation) if it in here & allowed]
            remedy = f"use {one_of(own)}" if own else "use another region"
            raise table.wrong(_KEYS[operation], what, remedy)


def _catalogs(
    table: Table, offer: OfferedModels, defaults: Mapping[Operation, str], allowed: set[str]
) -> Catalogs:
    models: dict[Operation, Mapping[str, Model]] = {}
    refused: dict[Operation, set[str]] = {}
    usual: dict[Operation, str] = {}
    for operation in Operation:
        names, default = _names(table, operation, offer, defaults[operation])
        models[operation] = {name: it for name, it in names.items() if it.name in allowed}
        refused[operation] = names.keys() - models[operation].keys()
        usual[operation] = default.name if models[operation] else ""
        if models[operation] and default.name not in allowed:
            what = f"{shown(defaults[operation])} means {default.name}, which is not allowed"
            own = [name for name in offer.table.that_do(operation) if name in allowed]
            raise table.wrong(_KEYS[operation], what, f"use {one_of(own)}, or allow it")
    return MappingProxyType(
        {
            operation: Catalog(
                operation,
                MappingProxyType(models[operation]),
                usual[operation],
                elsewhere=models[other],
                refused=refused[operation] | (refused[other] - models[operation].keys()),
            )
            for operation, other in zip(Operation, reversed(Operation), strict=True)
        }
    )


def _names(
    table: Table, operation: Operation, offer: OfferedModels, default: str
) -> tuple[dict[str, Model], Model]:
    """Return the models by every name that clients may request, and that of *default*."""
    own = offer.table.that_do(operation)
    fitting = {name: own[model] for name, by in offer.aliases.items() if (model := by[operation])}
    if default not in own and default not in fitting and not is_openai_model(default):
        remedy = f"use {one_of([*own, *fitting])}, or a name of OpenAI's"
        what = f"{shown(default)} is not a model"
        if default in offer.table.by_name or default in offer.aliases:
            what = f"{shown(default)} is not a model that can {operation.value}"
        raise table.wrong(_KEYS[operation], what, remedy)
    usual = {**own, **fitting}.get(default) or own[DEFAULTS[operation]]
    # An alias serves both paths: where it names no model for one, it means the default there.
    anywhere = dict.fromkeys([*_OPENAIS, *offer.aliases, default], usual)
    return {**anywhere, **fitting, **own}, usual


def _alias(table: Table, name: str, models: ModelTable) -> Mapping[Operation, str | None]:
    """
    Return the model of the alias *name* by operation; aliases appear in URLs and metrics.

    One model serves the paths that it can; a table names a model for each path.
    """
    if not is_model_name(name):
        raise table.wrong(name, "is not a model name", "use letters, digits and . _ : / -")
    if isinstance(table.values[name], dict):
        return _alias_by_path(table.table(name), models)
    model = take(table, name, Choice(tuple(models.by_name)))
    return {
        operation: model if model in models.that_do(operation) else None for operation in _PATHS
    }


def _alias_by_path(table: Table, models: ModelTable) -> Mapping[Operation, str | None]:
    keys = tuple(_PATHS.values())
    table.only(keys)
    if not table.values:
        raise table.wrong("", "is empty", f"name a model for {' or '.join(keys)}")
    return {
        operation: take(table, key, Choice(tuple(models.that_do(operation))))
        if key in table.values
        else None
        for operation, key in _PATHS.items()
    }
