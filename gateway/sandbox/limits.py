"""x"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.sandbox.config import Limits
from gateway.sandbox.responses import Refusal, text_of


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


Kind = Literal["submit", "task_call", "policy"]

WINDOW_SECONDS = 1.0


class Rates:
    """
    The last second of each account.

    A call over the limit is refused and does not count, so that a caller who goes on too fast
    still gets the rate that is allowed.
    """

    def __init__(self, limits: Limits) -> None:
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
            Refusal: 429 ``Throttling.RateQuota``; the call is over the limit.
        """
        calls = self._calls.setdefault((account, kind), deque())
        while calls and calls[0] <= now - WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= self._rates[kind]:
            raise Refusal(429, "Throttling.RateQuota", text_of("Throttling.RateQuota"))
        calls.append(now)
