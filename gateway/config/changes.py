"""What differs between two configs, by key path, and whether a reload may change it (D116)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.rules import declared
from gateway.config.schema import (
    ClusterTable,
    Config,
    DashboardTable,
    LogConfig,
    MetricsConfig,
    ResultsTable,
    ServerConfig,
    StateConfig,
    TracesConfig,
)
from gateway.config.table import ConfigError, spelled

_TABLES = {
    "server": ServerConfig,
    "state": StateConfig,
    "cluster": ClusterTable,
    "log": LogConfig,
    "metrics": MetricsConfig,
    "traces": TracesConfig,
    "dashboard": DashboardTable,
    "results": ResultsTable,
}
"""Those with keys that only a restart changes; the field of Config has the table's name."""

_REMEDY = "restart the gateway, or put it back"


@dataclass(frozen=True, slots=True)
class Changes:
    """Key paths, sorted; of a table that is new or gone, its own path only. Never a value."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def changes_between(old: Config, new: Config) -> Changes:
    """
    Return what *new* says otherwise than *old*.

    A secret whose value differs has changed, also where the reference to it is the same.
    """
    before, after = _leaves(old.values), _leaves(new.values)
    added = _outermost(old.values, after.keys() - before.keys())
    removed = _outermost(new.values, before.keys() - after.keys())
    secrets, renewed = _secrets(old), _secrets(new)
    changed = {
        *(path for path in before.keys() & after.keys() if before[path] != after[path]),
        *(path for path in secrets.keys() & renewed.keys() if secrets[path] != renewed[path]),
    }
    return Changes(added, removed, tuple(sorted(".".join(path) for path in changed)))


def refuse_fixed(old: Config, new: Config) -> None:
    """
    Refuse what only a restart can change.

    Raises:
        ConfigError: it names the first of these keys.
    """
    for path in _fixed_changes(old, new):
        raise ConfigError(
            f"{new.source}: {path}: cannot be changed while the gateway runs; {_REMEDY}"
        )


_Path = tuple[str, ...]


def _leaves(values: Mapping[str, Any], above: _Path = ()) -> dict[_Path, Any]:
    """Return each value that is not a table, by its path; an empty table is a value."""
    found: dict[_Path, Any] = {}
    for key, value in values.items():
        path = (*above, spelled(key))
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, path)
        else:
            found[path] = value
    return found


def _outermost(other: Mapping[str, Any], paths: set[_Path]) -> tuple[str, ...]:
    """Return for each of *paths* the shortest part of it that *other* does not have."""
    return tuple(sorted({".".join(_missing(other, path)) for path in paths}))


def _missing(other: Mapping[str, Any], path: _Path) -> _Path:
    for length, key in enumerate(path, 1):
        below = {spelled(name): value for name, value in other.items()}.get(key)
        if not isinstance(below, Mapping):
            return path[:length]
        other = below
    return path


def _secrets(config: Config) -> dict[_Path, str | None]:
    """Return the secrets that a reload may renew, by the key that says where each is kept."""
    found: dict[_Path, str | None] = {
        ("upstreams", spelled(name), "key"): upstream.key
        for name, upstream in config.upstreams.items()
    }
    found["metrics", "token"] = config.metrics_token
    found["dashboard", "token"] = config.dashboard.token
    if config.results is not None:
        found["results", "secret"] = config.results.secret
        found["results", "previous_secret"] = config.results.previous_secret
    return found


def _fixed_changes(old: Config, new: Config) -> Iterator[str]:
    for table, kind in _TABLES.items():
        for key in declared(kind):
            before, after = (
                getattr(getattr(config, table), key.name, None) for config in (old, new)
            )
            if not key.key.live and before != after:
                yield f"{table}.{key.name}"
    if old.traces_headers != new.traces_headers:
        yield "traces.headers"
    # Edits that wait were checked for the wire format that they will be sent in.
    for name in old.models.by_name.keys() & new.models.by_name.keys():
        first, second = old.models.by_name[name], new.models.by_name[name]
        if first.family is not second.family:
            yield f"models.{spelled(name)}.family"
        if first.has_tasks != second.has_tasks:
            yield f"models.{spelled(name)}.tasks"
