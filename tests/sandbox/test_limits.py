"""Sliding windows of one second."""

from contextlib import suppress

import pytest

from gateway.sandbox.config import AccountLimits
from gateway.sandbox.limits import AccountRates
from gateway.sandbox.responses import Refusal


def test_sliding_window() -> None:
    """In any second at most so many calls pass, and a refused call does not count."""
    rates = AccountRates(AccountLimits(submits_per_second=2))
    passed = []

    for tenth in range(25):
        with suppress(Refusal):
            rates.count("one", "submit", tenth / 10)
            passed.append(tenth)

    assert passed == [0, 1, 10, 11, 20, 21]


def test_accounts_and_kinds_are_apart() -> None:
    """Another account and another kind of call have windows of their own."""
    rates = AccountRates(AccountLimits(submits_per_second=1, task_calls_per_second=1))
    rates.count("one", "submit", 0)

    rates.count("two", "submit", 0)
    rates.count("one", "task_call", 0)

    with pytest.raises(Refusal) as caught:
        rates.count("one", "submit", 0)

    assert (caught.value.status, caught.value.code) == (429, "Throttling.RateQuota")
