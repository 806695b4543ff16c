"""
Text that is safe to show: without secrets (P13), and without what could control a terminal.

Every log line passes through here, whichever library wrote it and at whichever level.
"""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

_HIDDEN = "***"
_SECRET_TEXTS = (
    (re.compile(r"\b(sk|wk)-[A-Za-z0-9_-]{4,}"), rf"\1-{_HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;]+", re.IGNORECASE), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            r"\b(authorization|api-key)(['\"]?\s*[:=]\s*b?['\"]?)[^\s'\",;]+", re.IGNORECASE
        ),
        rf"\1\2{_HIDDEN}",
    ),
    (
        re.compile(r"\b(Signature|OSSAccessKeyId|security-token)=[^&\s\"'<>)]*", re.IGNORECASE),
        rf"\1={_HIDDEN}",
    ),
    (re.compile(r"\bLTAI[A-Za-z0-9]{4,}"), f"LTAI{_HIDDEN}"),
    (re.compile(r"\bdata:[\w.+/-]*(?:;[\w=-]+)*,[\w+/=%-]*", re.IGNORECASE), f"data:{_HIDDEN}"),
)
# Nearly every text is cleared by this one search: each pattern above begins with one of these.
_SUSPECT = re.compile(
    r"[sw]k-|bearer|basic|authorization|api-key|signature|ossaccesskeyid|security-token|ltai|data:",
    re.IGNORECASE,
)
_SECRET_FIELDS = frozenset(
    {
        *("prompt", "negativeprompt", "origprompt", "actualprompt"),
        *("authorization", "proxyauthorization", "apikey", "xapikey", "upstreamkey"),
        *("cookie", "setcookie", "images"),
    }
)
_WIDEST = 2**63
_DEEPEST = 6
_PUNCTUATION = str.maketrans("", "", "-_")


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make *event* plain JSON without secrets; a structlog processor."""
    return _mapping(event, 0)


def redacted(text: str) -> str:
    """Return *text* without keys, signatures and pictures."""
    if _SUSPECT.search(text):
        for secret, shown in _SECRET_TEXTS:
            text = secret.sub(shown, text)
    # A lone surrogate, as a path may hold, cannot be encoded.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _mapping(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown = ((_shown(str(name)), value) for name, value in fields.items())
    return {name: _plain(value, depth + 1) for name, value in shown if name is not None}


@lru_cache(maxsize=1024)
def _shown(name: str) -> str | None:
    """Return a field's name as it may be shown; ``None`` if the field is left out."""
    if name.translate(_PUNCTUATION).casefold() in _SECRET_FIELDS:
        return None
    return redacted(name)


def _plain(value: Any, depth: int) -> Any:
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if -_WIDEST <= value < _WIDEST else str(value)
        case str():
            return redacted(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() if depth < _DEEPEST:
            return _mapping(value, depth)
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            return [_plain(entry, depth + 1) for entry in value]
        case _:
            return redacted(str(value))


# ------------------------------------------------------------ control characters

_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
"""C0 with ESC, DEL, and C1: in UTF-8 a terminal may take U+009B for ESC [."""
_INVISIBLE = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
"""Line separators and changes of direction, by which a text can pass for another one."""
_LINES = "\n\t"


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_ESCAPES = {code: _escape(code) for code in (*_CONTROLS, *_INVISIBLE)}
_ESCAPES_OF_LINES = {code: text for code, text in _ESCAPES.items() if chr(code) not in _LINES}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_INVISIBLE)}


def printable(text: str) -> str:
    """Return *text* with every control character written as an escape."""
    return text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """Return *text* likewise, but keep its line breaks and tabs, as a traceback needs."""
    return text.translate(_ESCAPES_OF_LINES)


def printable_json(text: str) -> str:
    """Return compact JSON with such characters as JSON's own escapes; its meaning stays."""
    return text.translate(_IN_JSON)
