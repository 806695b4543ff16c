"""
The rules for config values, and how a table is read by them.

A rule reads one value, or raises Unfit with the reason. A dataclass declares the keys of its
table by annotating each field with a Key.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qs, urlsplit

from gateway.config.table import NAME, Faults, Table, one_of, shown
from gateway.domain.edit import Size

_T = TypeVar("_T")


class Unfit(Exception):
    """A value breaks its rule; the text is the middle of the error."""


class Rule(Protocol):
    """One kind of value."""

    @property
    def takes(self) -> str:
        """What fits, after the word "use"."""
        ...

    def read(self, value: object) -> Any:
        """
        Return *value* as the program wants it.

        Raises:
            Unfit: it does not fit.
        """
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A text of at least one character, without control characters."""

    takes: str = "a text"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise Unfit(f"got {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Name:
    """A name that becomes a label of metrics."""

    takes: str = "up to 63 of a-z, 0-9, _ and -, a letter or digit first"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise Unfit(f"got {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[str, ...]

    @property
    def takes(self) -> str:
        return one_of(self.options)

    def read(self, value: object) -> str:
        for option in self.options:
            if value == option:
                return option
        raise Unfit(f"got {shown(value)}")


@dataclass(frozen=True, slots=True)
class Flag:
    takes: str = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Unfit(f"got {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    least: int
    most: int | None = None

    @property
    def takes(self) -> str:
        upto = "" if self.most is None else f" to {self.most}"
        return f"a whole number from {self.least}{upto}"

    def read(self, value: object) -> int:
        # bool is an int to Python, not to an operator.
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unfit(f"got {shown(value)}")
        if value < self.least or (self.most is not None and value > self.most):
            raise Unfit(f"got {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Span:
    """Two whole numbers: from and to, both included."""

    least: int

    @property
    def takes(self) -> str:
        return f"two whole numbers from {self.least}, the smaller one first, such as [1, 3]"

    def read(self, value: object) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise Unfit(f"got {shown(value)}")
        low, high = (Whole(self.least).read(one) for one in value)
        if low > high:
            raise Unfit(f"got [{low}, {high}]")
        return low, high


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number; TOML also has inf and nan, which make no sense as limits."""

    least: float
    or_least: bool = False
    """Whether *least* itself fits."""

    @property
    def takes(self) -> str:
        return f"a number {'from' if self.or_least else 'above'} {self.least:g}"

    def read(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Unfit(f"got {shown(value)}")
        if not math.isfinite(value) or value < self.least:
            raise Unfit(f"got {shown(value)}")
        if value == self.least and not self.or_least:
            raise Unfit(f"got {shown(value)}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a whole."""

    takes: str = "a number from 0 to 1"

    def read(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise Unfit(f"got {shown(value)}")
        return float(value)


def _texts(value: object) -> Iterable[str]:
    """Return a list of different texts, at least one."""
    if not isinstance(value, list):
        raise Unfit(f"got {shown(value)}")
    if not value:
        raise Unfit("is empty")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise Unfit(f"holds {shown(item)}")
        if item in value[:index]:
            raise Unfit(f"holds {shown(item)} twice")
    return value


@dataclass(frozen=True, slots=True)
class Names:
    takes: str = "a list of names"

    def read(self, value: object) -> tuple[str, ...]:
        return tuple(_texts(value))


@dataclass(frozen=True, slots=True)
class RegionNames:
    takes: str = 'a list of regions such as ["beijing", "singapore"], or []'

    def read(self, value: object) -> tuple[str, ...]:
        names = () if value == [] else tuple(_texts(value))
        return tuple(Name().read(name) for name in names)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Patterns of hosts; a lone ``*`` would let a result come from anywhere."""

    takes: str = 'a list of hosts such as "*.aliyuncs.com" or "127.0.0.1:8001"'

    def read(self, value: object) -> tuple[str, ...]:
        hosts = tuple(_texts(value))
        for host in hosts:
            if not re.fullmatch(r"[a-z0-9*.-]*[a-z0-9](:[0-9]{1,5})?", host):
                raise Unfit(f"holds {shown(host)}")
        return hosts


_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Origins:
    """What browsers send as ``Origin``, without a path or slash; an empty list fits, too."""

    takes: str = 'a list of origins such as "https://app.example", or ["*"]'

    def read(self, value: object) -> tuple[str, ...]:
        origins = () if value == [] else tuple(_texts(value))
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise Unfit(f"holds {shown(origin)}")
        return origins


_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Hashes:
    """Hashes of clients' keys. A wrong value may be a key itself, so it is never shown."""

    takes: str = 'the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]'

    def read(self, value: object) -> tuple[bytes, ...]:
        if not isinstance(value, list):
            raise Unfit("is not a list")
        if not value:
            raise Unfit("is empty")
        hashes = tuple(self._hash(index, item) for index, item in enumerate(value, start=1))
        if len(set(hashes)) < len(hashes):
            raise Unfit("holds the same hash twice")
        return hashes

    @staticmethod
    def _hash(index: int, item: object) -> bytes:
        match = _HASH.fullmatch(item) if isinstance(item, str) else None
        if match is None:
            raise Unfit(f"entry {index} is not a sha256 hash")
        digest = bytes.fromhex(match[1])
        if digest == sha256(b"").digest():
            raise Unfit(f"entry {index} is the hash of an empty key")
        return digest


@dataclass(frozen=True, slots=True)
class KeyReference:
    """Where a key is kept. A wrong value may be the key itself, so it is never shown."""

    takes: str = '"env:NAME" or "file:PATH"'

    def read(self, value: object) -> str:
        fits = r"env:[A-Za-z_][A-Za-z0-9_]*|file:.*\S.*"
        if not isinstance(value, str) or not re.fullmatch(fits, value):
            raise Unfit("is not a reference to a key")
        return value


_URL = re.compile(
    r"https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/[!$-;=A-Z_a-z~]*)?"
)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    takes: str = 'a URL such as "https://dashscope.aliyuncs.com/api/v1"'

    def read(self, value: object) -> str:
        if isinstance(value, str) and "@" in value:
            raise Unfit("holds a user name or password")
        if not isinstance(value, str) or not _URL.fullmatch(value):
            raise Unfit(f"got {shown(value)}")
        return value.rstrip("/")


@dataclass(frozen=True, slots=True)
class BaseUrls:
    takes: str = 'a list of URLs such as "https://dashscope.aliyuncs.com/api/v1", or []'

    def read(self, value: object) -> tuple[str, ...]:
        return () if value == [] else tuple(BaseUrl().read(url) for url in _texts(value))


_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace's id, which becomes part of a host's name; an empty text is none."""

    takes: str = 'the id of a workspace, such as "llm-0123456789abcdef"'

    def read(self, value: object) -> str:
        if value == "":
            return ""
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            raise Unfit(f"got {shown(value)}")
        return value


_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")
_DOTS = re.compile(r"/\.{1,2}(/|$)")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where pictures are kept."""

    takes: str = '"off", "folder:PATH" or "s3://BUCKET/PREFIX"'

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise Unfit(f"got {shown(value)}")
        if value == "off" or (_BUCKET.fullmatch(value) and not _DOTS.search(value)):
            return value
        if value.startswith("folder:") and value.removeprefix("folder:").strip():
            return value
        raise Unfit(f"got {shown(value)}")


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """What the URLs of kept pictures begin with."""

    takes: str = 'a URL such as "https://images.example.com", or "host" for the Host header'

    def read(self, value: object) -> str:
        return "host" if value == "host" else BaseUrl().read(value)


_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of a database, or where it is stored. It may hold a password: never printed."""

    takes: str = '"env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE'

    def read(self, value: object) -> str:
        if isinstance(value, str) and value.startswith(("env:", "file:")):
            return KeyReference().read(value)
        text = value if isinstance(value, str) else ""
        if fault := database_url_fault(text):
            raise Unfit(fault)
        if urlsplit(text).password or "password" in parse_qs(urlsplit(text).query):
            raise Unfit("holds a password")
        return text


def database_url_fault(text: str) -> str:
    """Return what is wrong with the URL of a database; empty if nothing is."""
    hosts = database_hosts(text)
    if not hosts or not urlsplit(text).path.strip("/"):
        return "is not the URL of a PostgreSQL database"
    wanted = parse_qs(urlsplit(text).query).get("target_session_attrs")
    if len(hosts) > 1 and wanted not in (["primary"], ["read-write"]):
        return "names several hosts without ?target_session_attrs=primary, which finds the primary"
    return ""


def database_hosts(text: str) -> tuple[str, ...]:
    """Return the hosts that the URL of a database names; none if it is no such URL."""
    try:
        url = urlsplit(text)
        places = [urlsplit(f"//{it}") for it in url.netloc.rpartition("@")[2].split(",")]
        fits = url.scheme in ("postgres", "postgresql") and all(it.port != 0 for it in places)
    except ValueError:  # of a host or a port
        return ()
    hosts = tuple(it.hostname or "" for it in places)
    return hosts if fits and all(hosts) else ()


@dataclass(frozen=True, slots=True)
class OrVariable:
    """A value by *rule*, or the environment variable that holds it."""

    rule: Rule

    @property
    def takes(self) -> str:
        return f'{self.rule.takes}, or "env:NAME"'

    def read(self, value: object) -> Any:
        if isinstance(value, str) and _VARIABLE.fullmatch(value):
            return value
        return self.rule.read(value)


@dataclass(frozen=True, slots=True)
class Collector:
    """The URL of a collector, or the standard environment variable that holds it."""

    takes: str = 'a URL such as "http://127.0.0.1:4318", or "env:OTEL_EXPORTER_OTLP_ENDPOINT"'

    def read(self, value: object) -> str:
        if isinstance(value, str) and _VARIABLE.fullmatch(value):
            return value
        return BaseUrl().read(value)


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of some of these; an empty one fits, too."""

    options: tuple[str, ...]

    @property
    def takes(self) -> str:
        return f"a list of {one_of(self.options)}"

    def read(self, value: object) -> tuple[str, ...]:
        chosen = () if value == [] else tuple(_texts(value))
        for item in chosen:
            if item not in self.options:
                raise Unfit(f"holds {shown(item)}")
        return chosen


@dataclass(frozen=True, slots=True)
class PictureFormats:
    """Picture formats; what does not fit is re-encoded as JPEG, so that must be among them."""

    takes: str = 'a list of "jpeg", "png", "bmp", "webp", "tiff" or "gif", jpeg among them'

    def read(self, value: object) -> tuple[str, ...]:
        formats = Choices(("jpeg", "png", "bmp", "webp", "tiff", "gif")).read(value)
        if "jpeg" not in formats:
            raise Unfit("lacks jpeg")
        return formats


_LENGTH = re.compile(r"([1-9]\d{0,8}) (characters|tokens)")


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a text, and whether it counts tokens."""

    takes: str = 'a text such as "2000 characters" or "800 tokens"'

    def read(self, value: object) -> tuple[int, bool]:
        match = _LENGTH.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise Unfit(f"got {shown(value)}")
        return int(match[1]), match[2] == "tokens"


_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) per (second|minute)")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in a second or a minute; read as calls a second."""

    takes: str = 'a text such as "5 per second" or "20 per minute"'

    def read(self, value: object) -> float:
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None or not float(match[1]):
            raise Unfit(f"got {shown(value)}")
        return float(match[1]) / (60.0 if match[2] == "minute" else 1.0)


@dataclass(frozen=True, slots=True)
class ByRegion:
    """A value by another rule for all regions, as the region ``""``, or for each by its name."""

    rule: Rule

    @property
    def takes(self) -> str:
        return f"{self.rule.takes}, or a table of them by region"

    def read(self, value: object) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            return (("", self.rule.read(value)),)
        return tuple((Name().read(name), self.rule.read(one)) for name, one in value.items())


_SIZE = re.compile(r"([1-9]\d{0,4})[*x]([1-9]\d{0,4})")


@dataclass(frozen=True, slots=True)
class PictureSizes:
    takes: str = 'a list of sizes such as ["1664*928", "928*1664"], or []'

    def read(self, value: object) -> tuple[Size, ...]:
        sizes = []
        for text in () if value == [] else _texts(value):
            if (match := _SIZE.fullmatch(text)) is None:
                raise Unfit(f"holds {shown(text)}")
            sizes.append(Size(int(match[1]), int(match[2])))
        return tuple(sizes)


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Dates:
    takes: str = 'a list of dates such as ["2026-03-03"], quoted'

    def read(self, value: object) -> tuple[str, ...]:
        dates = () if value == [] else tuple(_texts(value))
        for date in dates:
            if not _DATE.fullmatch(date):
                raise Unfit(f"holds {shown(date)}")
        return dates


@dataclass(frozen=True, slots=True)
class Key:
    """What an operator may write for one key, and what it means."""

    rule: Rule
    meaning: str
    unit: str = ""
    default: str = ""
    """What an absent key means, if the field's default does not say it."""
    live: bool = True
    """Whether a reload may change it; otherwise only a restart does (D116)."""


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
        ConfigError: keys are unknown, missing or break their rules; it has a line for each.
    """
    keys = {field.name: field for field in declared(kind)}
    faults = Faults()
    with faults.gathered():
        table.only(keys)
    for name, field in keys.items():
        with faults.gathered():
            if field.required and name not in table.values:
                raise table.wrong(name, "is missing", f"use {field.key.rule.takes}")
    values = {}
    for name in (it for it in table.values if it in keys):
        with faults.gathered():
            values[name] = take(table, name, keys[name].key.rule)
    faults.report()
    return kind(**values)
