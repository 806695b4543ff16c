"""A TOML table that knows its file and key path, so that every error can name them (D44)."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEYLIKE = re.compile(r"\b[sw]k-|[A-Za-z0-9_+/=-]{32,}")
_LONGEST = 60


class ConfigError(Exception):
    """
    One line: ``FILE: key.path: what is wrong; what to do``. Never holds a key's value.

    Args:
        line: The first fault; it is also the text of the exception.
        others: Further faults that were found at the same time.
    """

    def __init__(self, line: str, *others: str) -> None:
        super().__init__(line)
        self.lines = (line, *others)


class Faults:
    """Gathers the errors of what can be checked apart, so that all are reported at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take the ConfigError of the block, and go on after it."""
        try:
            yield
        except ConfigError as error:
            self.lines += error.lines

    def report(self) -> None:
        """
        Stop here if there was any.

        Raises:
            ConfigError: with all that were gathered.
        """
        if self.lines:
            raise ConfigError(*self.lines)


def shown(value: object) -> str:
    """Write *value* for an error: short, on one line, and never what looks like a secret."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() if _KEYLIKE.search(value):
            return "what looks like a key"
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        case int() | float():
            return f"{value:.15g}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def spelled(key: str) -> str:
    """Spell *key* as TOML does: bare where it can be, else quoted."""
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def one_of(options: Iterable[str]) -> str:
    """Return ``"a", "b" or "c"``."""
    *most, last = [f'"{option}"' for option in options]
    return f"{', '.join(most)} or {last}" if most else last


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a config, with its file and its path there."""

    source: str
    """The file, or ``environment``."""
    path: str
    """Dotted; empty for the file itself."""
    values: Mapping[str, Any] = field(repr=False)

    def wrong(self, key: str, what: str, remedy: str) -> ConfigError:
        """Return the error about *key*; an empty *key* means the table itself."""
        path = ".".join(part for part in (self.path, key and spelled(key)) if part)
        return ConfigError(f"{self.source}: {path}: {what}; {remedy}")

    def table(self, key: str) -> "Table":
        """Return the table at *key*; an absent one is empty."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"got {shown(value)}", "make it a table")
        path = f"{self.path}.{spelled(key)}" if self.path else spelled(key)
        return Table(self.source, path, value)

    def without(self, key: str) -> "Table":
        """Return this table but for *key*, which is read apart from the rest."""
        return Table(self.source, self.path, {k: v for k, v in self.values.items() if k != key})

    def tables(self) -> dict[str, "Table"]:
        """Return the tables in here by name, each name checked, in the file's order."""
        for name in self.values:
            if not NAME.fullmatch(name):
                remedy = "use up to 63 of a-z, 0-9, _ and -, a letter or digit first"
                raise self.wrong(name, "is not a valid name", remedy)
        return {name: self.table(name) for name in self.values}

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse keys that are not *allowed*: a misspelt key must not silently mean its default."""
        names = tuple(allowed)
        for key in self.values:
            if key not in names:
                near = get_close_matches(key, names, n=1)
                remedy = f"write {near[0]}, or remove it" if near else "remove it"
                raise self.wrong(key, "unknown key", remedy)
