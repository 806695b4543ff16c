"""The signature of a result's URL: whoever has the URL may read that picture until it expires."""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

_PURPOSE = "wan-gateway result 1"
"""Signed as well, so that a signature made with the same secret for another purpose is void."""
_LONGEST_TIME = 12  # digits


@dataclass(frozen=True, slots=True)
class ResultSigner:
    """
    Signs and checks with HMAC-SHA256.

    Args:
        secret: Signs.
        previous: A secret that is still accepted, while the URLs that it signed live on.
    """

    secret: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)

    def query(self, name: str, expires: int) -> str:
        """Return the query of the URL of *name*; *expires* is in seconds since the epoch."""
        return f"expires={expires}&signature={_signature(self.secret, name, str(expires))}"

    def is_valid(self, name: str, expires: str, signature: str) -> bool:
        """Return whether *signature* is ours, in a time that does not depend on the right one."""
        given = signature.encode("utf-8", "surrogateescape")
        secrets = [self.secret] if self.previous is None else [self.secret, self.previous]
        # Not any(): both are always computed.
        return (
            sum(
                hmac.compare_digest(given, _signature(secret, name, expires).encode())
                for secret in secrets
            )
            > 0
        )


def expiry_of(text: str) -> int | None:
    """Return the time in ``expires``, in seconds since the epoch; ``None`` if it is none."""
    fits = 0 < len(text) <= _LONGEST_TIME and text.isascii() and text.isdigit()
    return int(text) if fits else None


def _signature(secret: str, name: str, expires: str) -> str:
    message = f"{_PURPOSE}\n{name}\n{expires}".encode("utf-8", "surrogateescape")
    return hmac.new(secret.encode(), message, sha256).hexdigest()
