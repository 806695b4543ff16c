"""Which environment variable sets the proxy for a URL, and whether that proxy can be used."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

from gateway.config.table import ConfigError


def proxy_variable(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable of *environ* that names the proxy to *url*; ``None``: none does."""
    parts = urlsplit(url)
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if proxy_bypass_environment(parts.netloc, {"no": exceptions}):
        return None
    scheme = f"{parts.scheme}_proxy"
    names = (scheme, scheme.upper(), "all_proxy", "ALL_PROXY")
    return next((name for name in names if environ.get(name)), None)


def refuse_proxies(urls: Iterable[str], environ: Mapping[str, str]) -> None:
    """
    Refuse to start with a proxy for one of *urls* that cannot be used.

    Raises:
        ConfigError: names the variable, never its value, which may hold a password.
    """
    for url in urls:
        name = proxy_variable(url, environ)
        if name is None or _is_usable(environ[name]):
            continue
        parts = urlsplit(url)
        raise ConfigError(
            f"environment: {name}: cannot be used as the proxy to {parts.hostname}: it has to be "
            f"http://HOST:PORT (SOCKS is not supported); set {parts.scheme.upper()}_PROXY to one "
            f"that is, or NO_PROXY={parts.hostname}"
        )


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an address that is not one
        return False
