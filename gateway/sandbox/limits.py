"""API keys, the accounts that they belong to, and what an account may call in a time."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.sandbox.config import AccountLimits, Accounts
from gateway.sandbox.responses import Refusal, message_of


@dataclass(frozen=True, slots=True)
class Caller:
    """The account of a call, and an alias of its key (``account/0``), never the key itself."""

    account: str
    key: str


class ApiKeys:
    """
    The keys of one region; a key of another region is invalid here.

    Args:
        accounts: Returns the keys by account as they are now, the same object until they change.
    """

    def __init__(self, accounts: Callable[[], Accounts]) -> None:
        self._accounts = accounts
        self._latest: Accounts = {}
        self._by_key: dict[str, Caller] = {}

    def _callers(self) -> Mapping[str, Caller]:
        if (accounts := self._accounts()) is not self._latest:
            self._latest = accounts
            self._by_key = {
                key: Caller(account, f"{account}/{index}")
                for account, keys in accounts.items()
                for index, key in enumerate(keys)
            }
        return self._by_key

    def authenticate(self, authorization: str | None) -> Caller:
        """
        Return the caller with the key in the ``Authorization`` header.

        Raises:
            Refusal: 401 ``InvalidApiKey``.
        """
        if not authorization:
            raise Refusal(401, "InvalidApiKey", "No API-key provided.")
        scheme, _, key = authorization.partition(" ")
        caller = self._callers().get(key.strip())
        if scheme.lower() != "bearer" or caller is None:
            raise Refusal(401, "InvalidApiKey", "Invalid API-key provided.")
        return caller


Kind = Literal["submit", "task_call", "policy"]

WINDOW_SECONDS = 1.0
_MINUTE = 60
Rate = tuple[int, float]
"""So many calls in so many seconds."""


def rate_of(per_minute: int) -> Rate:
    """Return a rate by the minute as DashScope counts it, also by the second."""
    if per_minute % _MINUTE == 0:
        return per_minute // _MINUTE, WINDOW_SECONDS
    return 1, _MINUTE / per_minute


class AccountRates:
    """
    Call rates of each account over a sliding window, those of submits by model.

    A refused call does not count, so a caller that calls too fast still gets the allowed rate.
    """

    def __init__(self, limits: AccountLimits) -> None:
        self._rates = {
            "submit": limits.submits_per_second,
            "task_call": limits.task_calls_per_second,
            "policy": limits.policies_per_second,
        }
        self._calls: dict[tuple[str, str, str], deque[float]] = {}

    def count(
        self, account: str, kind: Kind, now: float, model: str = "", per_minute: int = 300
    ) -> None:
        """
        Count one call of *account*.

        Args:
            account: Whose call it is.
            kind: Which limit it falls under.
            now: The region's clock.
            model: Of a submit.
            per_minute: Submits of that model, if the limits name no number of their own.

        Raises:
            Refusal: 429 ``Throttling.RateQuota`` if the call is over the limit.
        """
        calls = self._calls.setdefault((account, kind, model), deque())
        limit = self._rates[kind]
        most, window = rate_of(per_minute) if limit is None else (limit, WINDOW_SECONDS)
        while calls and calls[0] <= now - window:
            calls.popleft()
        if len(calls) >= most:
            raise Refusal(429, "Throttling.RateQuota", message_of("Throttling.RateQuota"))
        calls.append(now)
