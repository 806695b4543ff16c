"""Who calls: the key in the header, and the account that it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.sandbox.answers import Refusal


@dataclass(frozen=True, slots=True)
class Caller:
    """*key* is an alias (``account/0``), never the key."""

    account: str
    key: str


class Callers:
    """The keys of this region; a key of another region is unknown here."""

    def __init__(self, accounts: Mapping[str, tuple[str, ...]]) -> None:
        self._by_key = {
            key: Caller(account, f"{account}/{place}")
            for account, keys in accounts.items()
            for place, key in enumerate(keys)
        }

    def recognise(self, authorization: str | None) -> Caller:
        """
        Find the caller by the ``Authorization`` header.

        Raises:
            Refusal: 401 ``InvalidApiKey``.
        """
        if not authorization:
            raise Refusal(401, "InvalidApiKey", "No API-key provided.")
        scheme, _, key = authorization.partition(" ")
        caller = self._by_key.get(key.strip())
        if scheme.lower() != "bearer" or caller is None:
            raise Refusal(401, "InvalidApiKey", "Invalid API-key provided.")
        return caller
