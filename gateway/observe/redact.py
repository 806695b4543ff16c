"""What must not be read in a log is taken out here, whoever logs it and at whatever level."""

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
# One look that nearly every text passes; each pattern above begins with one of these.
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
    """Make *event* plain JSON without secrets; a processor of structlog's."""
    return _mapping(event, 0)


def redacted(text: str) -> str:
    """Return *text* without keys, signatures and pictures."""
    if _SUSPECT.search(text):
        for secret, shown in _SECRET_TEXTS:
            text = secret.sub(shown, text)
    # A lone surrogate, such as a path may hold, is no JSON.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _mapping(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown = ((_shown(str(name)), value) for name, value in fields.items())
    return {name: _plain(value, depth + 1) for name, value in shown if name is not None}


@lru_cache(maxsize=1024)
def _shown(name: str) -> str | None:
    """Return a field's name as it may be written; ``None`` if the field may not be."""
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
