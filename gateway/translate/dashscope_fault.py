"""DashScope's error code and message → GatewayError, with a stated default."""

import re

import orjson

from gateway.domain.errors import GatewayError
from gateway.translate.dashscope_codes import (
    ROWS,
    Make,
    access_refused,
    failed,
    gateway_at_fault,
    refused_unknown,
    throttled,
    too_large,
)
from gateway.translate.dashscope_text import plain

# Their texts are the operator's.
_HIDING = (access_refused, gateway_at_fault, throttled)
_LONGEST_SHOWN = 300  # characters of upstream's text that a client is shown
_LONGEST_READ = 4096  # characters of it that are looked at


def fault(
    code: str, message: str, *, request_id: str = "", http_status: int | None = None
) -> GatewayError:
    """
    Return the client's error for DashScope's ``code`` and ``message``.

    The same table serves a refused submit, a FAILED task and a failed picture of a task
    (dashscope.md 7). A code that is not in it is the upstream's fault, never the
    client's: better a 500 to look into than a 400 that blames a good request. Only the
    HTTP status may then still tell of a refused key (401, 403), a throttle (429) or too
    big a body (413).

    Args:
        code: As it came, dotted or in snake case; may be empty.
        message: As it came. Keys, signatures and data URIs in it never reach the client.
        request_id: DashScope's, for the log line.
        http_status: Of the answer that brought the code; ``None`` inside a task.
    """
    code = plain(code)
    said = _unwrapped(message)
    make = _listed(code, said) or _unlisted(http_status)
    shown = fit_to_show(said)
    error = make(shown or fit_to_show(code) or "No reason was given.")
    error.upstream_text = shown if shown in error.message else ""
    error.upstream_code = code or (f"HTTP {http_status}" if http_status else None)
    error.upstream_request_id = plain(request_id) or None
    if make in _HIDING:
        error.upstream_message = shown or None
    return error


def is_documented(code: str) -> bool:
    """Say whether *code* is one of DashScope's, by its documents."""
    code = _folded(code)
    return any(code == head or code.startswith(head + ".") for head, _ in _TABLE)


def fit_to_show(said: str) -> str:
    """Return *said* as one short sentence without keys, signatures and data URIs."""
    said = _beginning(said)
    for pattern, instead in _NOT_TO_SHOW:
        said = pattern.sub(instead, said)
    said = said.strip()
    if len(said) > _LONGEST_SHOWN:
        return said[:_LONGEST_SHOWN] + "…"
    return said if not said or said.endswith((".", "!", "！", "。")) else said + "."


def _beginning(said: str) -> str:
    """Return what is looked at of *said*, cut between words: half a key is not known as one."""
    words = said[: _LONGEST_READ + 1].split()
    if len(said) > _LONGEST_READ:
        del words[-1:]
    return _CONTROLS.sub("", " ".join(words))


# None of them may take longer than by the length of the text, but for the first _LONGEST_READ.
_NOT_TO_SHOW = (
    # Newer gateways append it, for developers of DashScope programs.
    (re.compile(r"For details, see:.*", re.IGNORECASE), ""),
    (re.compile(r"\bdata:[^,\s]{0,100},[^\s'\"]*"), "data:…"),
    # The query of a URL holds its signature, what stands before @ a password.
    (re.compile(r"\b(\w+://)[^/\s@]*@"), r"\1"),
    (re.compile(r"\b(\w+://[^\s?#'\"]*)[?#][^\s'\"]*"), r"\1"),
    (re.compile(r"\bsk-[\w-]+"), "[key]"),
    (re.compile(r"\b(LTAI|Bearer\s+)[\w.-]+"), "[key]"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PREFIX = re.compile(r"\s*(?:<\d+>\s*)?(?:\w+(?:\.\w+)+:\s*)?")
"""Some services repeat status and code before the message: ``<400> InternalError.Algo: …``."""


def _listed(code: str, said: str) -> Make | None:
    code = _folded(code)
    said = said.casefold()
    for head, row in _TABLE:
        covered = code == head or code.startswith(head + ".")
        if covered and (not row.starts or said.startswith(row.starts)):
            return row.make
    return None


def _unlisted(http_status: int | None) -> Make:
    match http_status:
        case 401 | 403:
            return access_refused
        case 413:
            return too_large
        case 429:
            return throttled
        case int() if http_status < 500:
            return refused_unknown
        case _:
            return failed


def _unwrapped(message: str) -> str:
    """Return the text; it may come inside a JSON string, and behind its own code."""
    if message.lstrip().startswith("{"):
        try:
            inner = orjson.loads(message)
        except orjson.JSONDecodeError:
            return message
        inner = inner.get("error", inner)
        said = inner.get("message") if isinstance(inner, dict) else inner
        message = said if isinstance(said, str) else ""
    return _PREFIX.sub("", message[: _LONGEST_READ + 1], count=1)


def _folded(code: str) -> str:
    """Fold ``InvalidApiKey``, ``invalid_api_key`` and the like into one spelling."""
    return code.replace("_", "").replace(" ", "").casefold()


_TABLE = tuple((_folded(row.code), row) for row in ROWS)
