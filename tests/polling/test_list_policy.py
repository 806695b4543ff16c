"""gateway.polling.list_policy: when the task list helps, and when it is suspended."""

import pytest

from gateway.domain.errors import GatewayError, UpstreamUnavailable, UpstreamUnreachable
from gateway.polling.list_policy import ListPolicy

MANY = 100


def is_used(policy: ListPolicy, now: float) -> bool:
    return policy.is_worthwhile(MANY, now, in_use=False)


@pytest.mark.parametrize(
    ("running", "pages", "in_use", "worthwhile"),
    [
        pytest.param(2, 1, False, False, id="too few to begin"),
        pytest.param(3, 1, False, True, id="enough"),
        pytest.param(2, 1, True, True, id="enough to go on"),
        pytest.param(1, 1, True, False, id="too few to go on"),
        pytest.param(8, 3, False, False, id="too few for three pages"),
        pytest.param(9, 3, False, True, id="enough for three pages"),
    ],
)
def test_enough_tasks_a_page(running: int, pages: int, worthwhile: bool, *, in_use: bool) -> None:
    """A list is worthwhile for three tasks a page, and stays so for two."""
    policy = ListPolicy(20.0, pages=pages)

    assert policy.is_worthwhile(running, 1.0, in_use=in_use) is worthwhile


def test_lists_leave_calls_for_fetches() -> None:
    """Many pages are read less often: lists use at most 60 % of the calls."""
    assert ListPolicy(20.0).pause_min() == 0.47
    assert ListPolicy(20.0, pages=12).pause_min() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "pause"), [(45.0, 0.47), (0.6, 0.402), (0.3, 0.201), (0.1, 0.2)]
)
def test_short_tasks_are_listed_more_often(seconds: float, pause: float) -> None:
    """Tasks of under 0.7 s would begin and end between two lists."""
    assert ListPolicy(20.0).pause_min(seconds) == pytest.approx(pause)
    assert ListPolicy(20.0, pages=12).pause_min(seconds) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("lag", "running", "used"),
    [
        pytest.param(0.2, 20, True, id="prompt"),
        pytest.param(3.0, 20, False, id="late: fetches alone find an end after half a second"),
        pytest.param(3.0, 400, True, id="late, but fetches alone would be later"),
    ],
)
def test_a_list_that_lags(lag: float, running: int, *, used: bool) -> None:
    """A list that lags by more than fetches would is suspended, but not for ever."""
    policy = ListPolicy(20.0)
    for _ in range(3):
        policy.record_lag(lag, running, 10.0)

    assert is_used(policy, 20.0) is used
    assert is_used(policy, 60.0)


def test_two_late_ends_prove_nothing() -> None:
    """It takes three measured ends to call a list late."""
    policy = ListPolicy(20.0)
    for _ in range(2):
        policy.record_lag(3.0, 20, 10.0)

    assert is_used(policy, 20.0)


def test_hidden_ends() -> None:
    """A list that goes on to show tasks that have ended is suspended at the third."""
    policy = ListPolicy(20.0)
    used = []
    for _ in range(3):
        used.append(is_used(policy, 1.0))
        policy.record_hidden_end(1.0)

    assert used == [True, True, True]
    assert not is_used(policy, 2.0)


def test_false_alarms() -> None:
    """Nine false alarms more than true ones suspend the list; true ones count against them."""
    policy = ListPolicy(20.0)
    for _ in range(8):
        policy.record_false_alarm(1.0)
    policy.record_end()
    policy.record_false_alarm(1.0)
    before = is_used(policy, 1.0)
    policy.record_false_alarm(1.0)

    assert before
    assert not is_used(policy, 1.0)


@pytest.mark.parametrize(
    ("error", "times"),
    [(UpstreamUnavailable("refused"), 1), (UpstreamUnreachable("down"), 3)],
    ids=["refused", "unreachable"],
)
def test_a_list_that_fails(error: GatewayError, times: int) -> None:
    """A refusal is believed at once, another failure at the third time in a row."""
    policy = ListPolicy(20.0)
    policy.record_failure(UpstreamUnreachable("down"), 1.0)
    policy.record_success()
    used = []
    for _ in range(times):
        used.append(is_used(policy, 1.0))
        policy.record_failure(error, 1.0)

    assert all(used)
    assert not is_used(policy, 1.0)


def test_each_suspension_is_longer() -> None:
    """Half a minute, a minute, two: and never more than half an hour."""
    policy = ListPolicy(20.0)
    ends = []
    for _ in range(8):
        policy.suspend(0.0)
        ends.append(policy.suspended_until)

    assert ends[:3] == [30.0, 60.0, 120.0]
    assert ends[-1] == 1800.0


def test_proofs_make_the_next_suspension_short() -> None:
    """After twenty ends that the list showed, its past is forgotten."""
    policy = ListPolicy(20.0)
    policy.suspend(0.0)
    policy.suspend(0.0)
    for _ in range(20):
        policy.record_end()
    policy.suspend(0.0)

    assert policy.suspended_until == 30.0
