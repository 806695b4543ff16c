"""API keys, the accounts that they belong to, and what an account may call in a second."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.sandbox.config import AccountLimits
from gateway.sandbox.responses import Refusal, message_of


@dataclass(frozen=True, slots=True)
class Caller:
    """The account of a call, and an alias of its key (``account/0``), never the key itself."""

    account: str
    key: str


class ApiKeys:
    """The keys of one region; a key of another region is invalid here."""

    def __init__(self, accounts: Mapping[str, tuple[str, ...]]) -> None:
        self._by_key = {
            key: Caller(account, f"{account}/{index}")
            for account, keys in accounts.items()
            for index, key in enumerate(keys)
        }

    def authenticate(self, authorization: str | None) -> Caller:
        """
        Return the caller with the key in the ``Authorization`` header.

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


Kind = Literal["submit", "task_call", "policy"]

WINDOW_SECONDS = 1.0


class AccountRates:
    """
    Call rates of each account, over a sliding window of one second.

    A refused call does not count, so a caller that calls too fast still gets the allowed rate.
    """

    def __init__(self, limits: AccountLimits) -> None:
        self._rates = {
            "submit": limits.submits_per_second,
            "task_call": limits.task_calls_per_second,
            "policy": limits.policies_per_second,
        }
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def count(self, account: str, kind: Kind, now: float) -> None:
        """
        Count one call of *account*.

        Raises:
            Refusal: 429 ``Throttling.RateQuota`` if the call is over the limit.
        """
        calls = self._calls.setdefault((account, kind), deque())
        while calls and calls[0] <= now - WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= self._rates[kind]:
            raise Refusal(429, "Throttling.RateQuota", message_of("Throttling.RateQuota"))
        calls.append(now)
