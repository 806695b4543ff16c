"""How a dataclass declares the keys of its table, and how a table is read into it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from gateway.config.rules import Rule, Unfit
from gateway.config.table import Table

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Key:
    """What an operator may write for one key, and what it means."""

    rule: Rule
    meaning: str
    unit: str = ""
    default: str = ""
    """What an absent key means, where the field's default does not tell."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One field of a table's dataclass."""

    name: str
    key: Key
    default: Any
    """``dataclasses.MISSING`` makes the key required."""

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


def declared(kind: type[Any]) -> Iterator[Declared]:
    """Yield the keys that the dataclass *kind* declares, in order."""
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        _, key = get_args(hints[field.name])
        yield Declared(field.name, key, field.default)


def take(table: Table, name: str, rule: Rule) -> Any:
    """Return the value of *name* by its rule, or raise ConfigError."""
    try:
        return rule.read(table.values[name])
    except Unfit as unfit:
        raise table.wrong(name, str(unfit), f"use {rule.takes}") from None


def read(kind: type[_T], table: Table) -> _T:
    """
    Read *table* into the dataclass *kind*.

    Raises:
        ConfigError: a key is unknown, missing or breaks its rule.
    """
    keys = {known.name: known for known in declared(kind)}
    table.only(keys)
    for name, known in keys.items():
        if known.required and name not in table.values:
            raise table.wrong(name, "is missing", f"use {known.key.rule.takes}")
    return kind(**{name: take(table, name, keys[name].key.rule) for name in table.values})
