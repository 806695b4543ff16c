"""The list of all config keys, made from the schema; docs/reference/config.md is its print."""

import json
from dataclasses import dataclass
from typing import Any

from gateway.config.prices import PriceRule
from gateway.config.rules import Declared, KeyReference, declared
from gateway.config.schema import (
    AccountTable,
    ClusterTable,
    DashboardTable,
    LimitsTable,
    LogConfig,
    MetricsConfig,
    ModelSettings,
    ModelsTable,
    RegionTable,
    ResultsTable,
    ServerConfig,
    StateConfig,
    TenantModelsTable,
    TenantTable,
    TracesConfig,
    UpstreamTable,
)

_TABLES = (
    ("server", ServerConfig),
    ("state", StateConfig),
    ("cluster", ClusterTable),
    ("models", ModelsTable),
    ("models.NAME", ModelSettings),
    ("regions.NAME", RegionTable),
    ("upstreams.NAME", UpstreamTable),
    ("upstreams.NAME.limits.MODEL", LimitsTable),
    ("accounts.NAME", AccountTable),
    ("tenants.NAME", TenantTable),
    ("tenants.NAME.models", TenantModelsTable),
    ("dashboard", DashboardTable),
    ("log", LogConfig),
    ("metrics", MetricsConfig),
    ("traces", TracesConfig),
    ("results", ResultsTable),
)


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key, as the documentation describes it."""

    path: str
    """``server.port``, ``tenants.NAME.fit``."""
    takes: str
    """``a whole number from 1``."""
    default: str
    """What an absent key means, in TOML's spelling or in words; ``required``."""
    unit: str
    """``seconds``, ``bytes`` …; empty for none."""
    meaning: str
    live: bool = True
    """Whether a reload may change it; otherwise only a restart does."""


def config_keys() -> list[ConfigKey]:
    """Return every key that a config file may hold, in the file's order."""
    keys = [_key(path, field) for path, kind in _TABLES for field in declared(kind)]
    after = [key.path for key in keys].index("models.default_generation") + 1
    keys.insert(after, _ALIASES)
    keys.insert([key.path for key in keys].index("results.store"), _HEADERS)
    return [*keys, _PRICES]


_ALIASES = ConfigKey(
    "models.aliases.NAME",
    "the name of a model, or a table with edit, generate or both",
    "OpenAI's names of image models",
    "",
    "Another name that clients may request; the default of a path that it has no model for.",
)


_HEADERS = ConfigKey(
    "traces.headers.NAME",
    KeyReference().takes,
    "none",
    "",
    "Where the value of a header for the collector is kept.",
    live=False,
)


_PRICES = ConfigKey(
    "prices.REGION.NAME",
    PriceRule("CNY").takes,
    "DashScope's list price, where it is known",
    "",
    "What pictures by this model cost in this region, for the cost estimate.",
)


def _key(path: str, field: Declared) -> ConfigKey:
    key = field.key
    default = "required" if field.required else key.default or _spelled(field.default)
    return ConfigKey(
        f"{path}.{field.name}", key.rule.takes, default, key.unit, key.meaning, key.live
    )


def _spelled(default: Any) -> str:
    """Write *default* as TOML does: for texts, numbers and booleans like JSON."""
    return json.dumps(default)
