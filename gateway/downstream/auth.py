"""Who calls: a tenant by its key, or a web page that may not call at all."""

import hmac
from collections.abc import Collection, Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

from gateway.domain.errors import Forbidden, UnknownKey
from gateway.domain.loopback import is_loopback
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import record_of

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
    The tenants by their keys.

    How long a look-up takes reveals nothing: what is looked up is the SHA-256 of the key that
    was sent, and whoever could steer that towards a known digest byte by byte could invert
    SHA-256. The final comparison takes constant time all the same.

    Args:
        tenants: By name.
        tenant_by_key: Names by the 32 bytes of the key's SHA-256; no key is kept.
        open_tenant: The tenant of callers without a known key; ``None``: they are refused.
        origins: The sites whose pages may call without a key, by name; ``*`` does not count.
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

    def authenticate(self, request: Request) -> Tenant:
        """Return the tenant of *request*, and note its name for the log; see tenant_of."""
        tenant = self.tenant_of(request.headers)
        record_of(request.scope).tenant = tenant.name
        return tenant

    def tenant_of(self, headers: Mapping[str, str]) -> Tenant:
        """
        Return the tenant whose key is in *headers*.

        Args:
            headers: By lower-case name.

        Raises:
            UnknownKey: there is no key, or it is unknown. It is never echoed (P13).
            Forbidden: no key is needed here, and another site's page calls, which would spend
                the operator's money.
        """
        key = _api_key(headers)
        digest = sha256(key.encode("latin-1", "replace")).digest()
        stored, tenant = self._tenant_by_digest.get(digest, (b"", None))
        if tenant is not None and hmac.compare_digest(stored, digest):
            return tenant
        if self._open_tenant is not None:
            self._refuse_pages(headers)
            return self._open_tenant
        if key:
            raise UnknownKey(_WRONG_KEY)
        raise UnknownKey(_NO_KEY)

    def _refuse_pages(self, headers: Mapping[str, str]) -> None:
        # A page whose DNS name was rebound to this machine is of the same origin, by that name.
        host = host_of(headers)
        if host and not is_loopback(host):
            raise Forbidden(_FOREIGN_HOST)
        if headers.get("origin") not in self._origins and not is_own_page(headers):
            raise Forbidden(_FOREIGN_PAGE)


def _api_key(headers: Mapping[str, str]) -> str:
    """
    Return the key, empty where there is none.

    ``api-key`` is read first: nobody sends it by accident, while every OpenAI SDK fills in
    ``Authorization``, often with a dummy. Azure's client 1.x sends the same key in both
    (openai.md 5.5).
    """
    return headers.get("api-key", "").strip() or bearer_token(headers)


def bearer_token(headers: Mapping[str, str]) -> str:
    """Return the token of ``Authorization: Bearer``; empty where there is none."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


_SAME_SITE = frozenset({"same-origin", "none"})


def is_own_page(headers: Mapping[str, str]) -> bool:
    """
    Return whether the request does not come from another site's page.

    Browsers send Sec-Fetch-Site; over plain HTTP to another machine, Origin alone. Programs
    send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _SAME_SITE
    origin = headers.get("origin")
    return origin is None or _netloc_of(origin) == headers.get("host")


def host_of(headers: Mapping[str, str]) -> str:
    """Return the name in the Host header without its port; empty if malformed or absent."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _netloc_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
