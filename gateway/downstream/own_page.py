"""Does a request come from a web page that may not call? For doors that ask for no key."""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

_SAME_SITE = frozenset({"same-origin", "none"})


def is_own_page(headers: Mapping[str, str]) -> bool:
    """
    Say whether no other site's page asks.

    Browsers tell by Sec-Fetch-Site; over plain http to a far machine only by Origin. Programs
    send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _SAME_SITE
    origin = headers.get("origin")
    return origin is None or _netloc_of(origin) == headers.get("host")


def host_of(headers: Mapping[str, str]) -> str:
    """Return the name in the Host header without its port; empty where it is odd or absent."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own, for which no name can be rebound."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _netloc_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
