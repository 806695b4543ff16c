"""How long a client waits before it, or the proxy in front of it, gives up."""

from collections.abc import Mapping

# Node's fetch gives up after 300 s without headers and says nothing (openai.md 7.2).
_NODE_FETCH_SECONDS = 290.0
_NODE = "node.js/"  # the AI SDK's user agent ends so, and it sends no x-stainless headers
SHORTEST = 0.2


def patience(headers: Mapping[str, str], *, server_cap: float, cut_off_seconds: float) -> float:
    """
    Return the seconds after which this call is answered, come what may.

    The least of the server's cap, the SDK's own patience and the proxy's, less a margin in
    which the answer travels: a tenth of it, at most 2 s.

    Args:
        headers: The request's, looked up by lower-case name.
        server_cap: ``server.max_wait_seconds``.
        cut_off_seconds: The tenant's; 0 means that no proxy cuts.
    """
    waits = [_seconds(headers.get(name)) for name in _NAMES]
    limits = [seconds for seconds in (*waits, cut_off_seconds) if seconds > 0]
    if headers.get("x-stainless-lang", "").lower() == "js" or _NODE in headers.get(
        "user-agent", ""
    ):
        limits.append(_NODE_FETCH_SECONDS + 2.0)
    if not limits:
        return server_cap
    theirs = min(limits)
    return max(SHORTEST, min(server_cap, theirs - min(2.0, theirs / 10)))


_NAMES = ("x-stainless-read-timeout", "x-stainless-timeout")


def sdk_patience(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the SDK itself says it waits, for the metric."""
    stated = [seconds for name in _NAMES if (seconds := _seconds(headers.get(name))) > 0]
    return min(stated) if stated else None


def _seconds(text: str | None) -> float:
    """Read a header's seconds; 0 for absent, nonsense, infinite or not positive."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < 1e9 else 0.0
