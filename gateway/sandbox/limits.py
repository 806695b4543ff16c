"""What one account may do in a second, counted in sliding windows."""

from collections import deque
from typing import Literal

from gateway.sandbox.answers import Refusal, text_of
from gateway.sandbox.config import Limits

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
