"""Which result URLs may be fetched: a pure rule over hosts, and the target as it goes out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.domain.errors import ResultUnavailable

# Printable ASCII only; no userinfo, IPv6 or backslash: whatever parsers disagree about is refused.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!\"$-~]*)?"
)
_LONGEST = 4096  # characters; a signed URL has some 400
_LONGEST_NAME = 260  # characters of a name in DNS and a port
_DEFAULT_PORT = {"http": "80", "https": "443"}
# What the system's resolver may read as an address: 127.0.0.1, 2130706433, 0x7f.1.
_ADDRESS = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


@dataclass(frozen=True, slots=True)
class ResultUrl:
    """A URL that may be fetched, in two halves; only *origin* may be shown."""

    origin: str
    """``https://host`` or ``https://host:port``."""
    target: bytes = field(repr=False)
    """Path and signed query, untouched."""

    @property
    def host(self) -> str:
        """For the operator; as long as a name may be."""
        return self.origin.partition("://")[2][:_LONGEST_NAME]

    @property
    def url(self) -> str:
        return self.origin + self.target.decode("ascii")


def check_result_url(url: str, hosts: Iterable[str]) -> ResultUrl:
    """
    Split *url* for the wire if its host is one of *hosts*.

    Args:
        url: As DashScope gave it.
        hosts: Patterns. ``*`` stands for any run of letters, digits, dots and hyphens in
            the host, for any number behind the colon. One without a port means the
            scheme's own. An address is matched only by itself, never by a ``*``.

    Raises:
        ResultUnavailable: the URL is not one, or leads elsewhere.
    """
    parts = _URL.fullmatch(url)
    if parts is None or len(url) > _LONGEST or int(parts["port"] or 0) > 65535:
        raise _refusal("its address is not a plain http or https URL", "")
    scheme = parts["scheme"]
    host = parts["host"].lower()
    own = _DEFAULT_PORT[scheme]
    port = parts["port"] or own
    if not any(_matches(host, port, pattern.lower(), own) for pattern in hosts):
        raise _refusal("its host and port are not in result_hosts", f"{scheme}://{host}:{port}")
    authority = host if parts["port"] is None else f"{host}:{port}"
    target = parts["target"] or "/"
    # An empty path with a query has no slash of its own.
    target = target if target.startswith("/") else f"/{target}"
    return ResultUrl(f"{scheme}://{authority}", target.encode("ascii"))


def _matches(host: str, port: str, pattern: str, own_port: str) -> bool:
    wanted_host, _, wanted_port = pattern.partition(":")
    if wanted_port != "*" and (wanted_port or own_port) != port:
        return False
    if "*" not in wanted_host:
        return host == wanted_host
    shape = re.escape(wanted_host).replace(r"\*", "[a-z0-9.-]+")
    return _ADDRESS.fullmatch(host) is None and re.fullmatch(shape, host) is not None


def _refusal(why: str, where: str) -> ResultUnavailable:
    # The same URL will be refused again: a retry is useless.
    return ResultUnavailable(
        f"The picture was made, but {why}; the operator of this gateway has to look into it.",
        retry=False,
        upstream_code=f"{where[:_LONGEST_NAME]}: {why}" if where else why,
    )
