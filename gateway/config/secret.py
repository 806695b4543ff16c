"""Read a key from ``env:NAME`` or ``file:PATH``; no error message shows it (P13)."""

import re
from collections.abc import Mapping
from pathlib import Path

from gateway.config.table import Table, shown

# What a header may hold: anything else would break the request, or inject another header.
_KEY = re.compile(rb"[!-~]+")
_QUOTES = (b'"', b"'", b"`")
# A line of an .env file; base64 has its "=" at the end.
_ASSIGNMENT = re.compile(rb"(export +)?[A-Z][A-Z0-9_]*=[^=]")
_WORDS = re.compile(rb"[!-~]+( [!-~]+)*")


def secret(
    table: Table,
    name: str,
    reference: str,
    environ: Mapping[str, str],
    *,
    blanks: bool = False,
) -> str:
    """
    Return the key that *reference* names, without surrounding blanks.

    With *blanks* the value may be several words, such as ``Bearer KEY``.

    Raises:
        ConfigError: there is no value, or it is not one word of ASCII.
    """
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        origin = f"the environment variable {place}"
        value = _from_environ(table, name, place, environ)
    else:
        origin = f"the file {shown(place)}"
        value = _from_file(table, name, place)
    value = value.strip()
    if not value:
        raise table.wrong(name, f"{origin} is empty", "put the key there")
    if len(value) > 1 and value[:1] == value[-1:] and value[:1] in _QUOTES:
        what = f"{origin} has quotation marks around the key"
        raise table.wrong(name, what, "remove them: they would be sent as part of the key")
    if _ASSIGNMENT.match(value):
        what = f"{origin} holds NAME=value"
        raise table.wrong(name, what, "leave the key alone there, without its name")
    if not (_WORDS if blanks else _KEY).fullmatch(value):
        raise table.wrong(name, f"{origin} has no key in it", "put one word of ASCII there")
    return value.decode("ascii")


def _from_environ(table: Table, name: str, variable: str, environ: Mapping[str, str]) -> bytes:
    if variable not in environ:
        what = f"the environment variable {variable} is not set"
        raise table.wrong(name, what, "set it, or use file:PATH")
    return environ[variable].encode("utf-8", "surrogateescape")


def _from_file(table: Table, name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        what = f"the file {shown(path)} cannot be read ({error.strerror})"
        raise table.wrong(name, what, "fix its path or its mode") from None
