"""The customer's bearer key → its tenant."""

import hmac
from collections.abc import Mapping
from hashlib import sha256

from gateway.domain.errors import UnknownKey
from gateway.domain.tenant import Tenant

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or in an api-key header."
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
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        tenant_by_key: Mapping[bytes, str],
        open_tenant: Tenant | None = None,
    ) -> None:
        self._tenant_by_digest = {
            digest: (digest, tenants[name]) for digest, name in tenant_by_key.items()
        }
        self._open_tenant = open_tenant

    def tenant_of(self, headers: Mapping[str, str]) -> Tenant:
        """
        Return whose key *headers* present.

        Args:
            headers: By lower-case name.

        Raises:
            UnknownKey: none, or one that nobody owns. The key is never echoed.
        """
        key = _presented(headers)
        digest = sha256(key.encode("latin-1", "replace")).digest()
        known, tenant = self._tenant_by_digest.get(digest, (b"", None))
        if tenant is not None and hmac.compare_digest(known, digest):
            return tenant
        if self._open_tenant is not None:
            return self._open_tenant
        if key:
            raise UnknownKey(_WRONG_KEY)
        raise UnknownKey(_NO_KEY)


def _presented(headers: Mapping[str, str]) -> str:
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
