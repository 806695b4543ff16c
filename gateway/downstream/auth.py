"""The client's bearer key → its tenant."""

import hmac
from collections.abc import Collection, Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from gateway.domain.errors import Forbidden, UnknownKey
from gateway.domain.loopback import is_loopback
from gateway.domain.tenant import Tenant

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or in an api-key header."
)
_FOREIGN_HOST = (
    "Without a key this gateway is called as http://127.0.0.1 or localhost. For another name give"
    " its tenant a key (wan-gateway key)."
)
_FOREIGN_PAGE = (
    "Without a key this gateway is not for the pages of other sites. Give its tenant a key"
    " (wan-gateway key), or name the page's origin in server.cors_origins."
)
_WRONG_KEY = "Incorrect API key provided. Ask the operator of this gateway for a key."


class Keyring:
    """
    Who owns which key.

    The time that a look-up takes tells nothing of use: what is looked up is the SHA-256 of
    what was presented, and whoever could steer that towards a known digest byte by byte
    could invert SHA-256. The final comparison is in constant time all the same.

    Args:
        tenants: By name.
        tenant_by_key: Names by the 32 bytes of the key's SHA-256; no key is kept.
        open_tenant: Whom a caller without a known key is taken for; ``None``: nobody.
        origins: The pages of other sites that may call without a key, each named: ``*`` is none.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        tenant_by_key: Mapping[bytes, str],
        open_tenant: Tenant | None = None,
        origins: Collection[str] = (),
    ) -> None:
        self._tenant_by_digest = {
            digest: (digest, tenants[name]) for digest, name in tenant_by_key.items()
        }
        self._open_tenant = open_tenant
        self._origins = frozenset(origins) - {"*"}

    def tenant_of(self, headers: Mapping[str, str]) -> Tenant:
        """
        Return whose key *headers* present.

        Args:
            headers: By lower-case name.

        Raises:
            UnknownKey: none, or one that nobody owns. The key is never echoed.
            Forbidden: no key is asked for, and a web page calls, which would spend the
                operator's money.
        """
        key = _api_key(headers)
        digest = sha256(key.encode("latin-1", "replace")).digest()
        known, tenant = self._tenant_by_digest.get(digest, (b"", None))
        if tenant is not None and hmac.compare_digest(known, digest):
            return tenant
        if self._open_tenant is not None:
            self._refuse_pages(headers)
            return self._open_tenant
        if key:
            raise UnknownKey(_WRONG_KEY)
        raise UnknownKey(_NO_KEY)

    def _refuse_pages(self, headers: Mapping[str, str]) -> None:
        # A page whose name was rebound to this machine is of the same origin, by that name.
        host = host_of(headers)
        if host and not is_loopback(host):
            raise Forbidden(_FOREIGN_HOST)
        if headers.get("origin") not in self._origins and not is_own_page(headers):
            raise Forbidden(_FOREIGN_PAGE)


def _api_key(headers: Mapping[str, str]) -> str:
    """
    Return the key, empty where there is none.

    ``api-key`` goes first: nobody sends it by accident, while ``Authorization`` is filled
    in by every OpenAI SDK, often with a dummy beside ``default_headers={"api-key": …}``.
    Azure's client 1.x sends the same key in both (openai.md 5.5).
    """
    if key := headers.get("api-key", "").strip():
        return key
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


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


def _netloc_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
