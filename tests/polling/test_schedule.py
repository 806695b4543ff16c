"""gateway.polling.schedule: pauses and estimates from the durations that were seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.polling.schedule import _SAMPLE_MAX, Durations, Kind, hazard, pause, remaining

KIND = Kind("wan", 1, -1)
OTHER = Kind("wan", 4, -1)


def learned(*seconds: float, kind: Kind = KIND) -> Durations:
    durations = Durations()
    for one in seconds:
        durations.learn(kind, one)
    return durations


def test_few_are_not_used() -> None:
    """Fewer than eight durations are not used."""
    assert learned(*range(7)).known(KIND) == []
    assert learned(*range(8)).known(KIND) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_others_serve_until_the_kind_is_known() -> None:
    """A kind with too few durations of its own uses those of all kinds."""
    durations = learned(*[20.0] * 10)
    durations.learn(OTHER, 60.0)

    assert durations.known(OTHER) == [20.0] * 10 + [60.0]
    for _ in range(7):
        durations.learn(OTHER, 60.0)
    assert durations.known(OTHER) == [60.0] * 8


def test_other_accounts_serve_until_an_account_knows_the_kind() -> None:
    """An account uses those of its region's other accounts until it has enough itself."""
    region = Durations()
    one, two = Durations(region), Durations(region)
    two.learn(OTHER, 70.0)
    for _ in range(8):
        one.learn(KIND, 20.0)

    assert two.known(KIND) == [20.0] * 8
    assert two.known(Kind("wan", 2, -1)) == [20.0] * 8 + [70.0]
    assert two.typical() == 70.0
    assert Durations(region).typical() == pytest.approx(230 / 9)
    for _ in range(8):
        two.learn(KIND, 40.0)
    assert two.known(KIND) == [40.0] * 8
    assert one.known(KIND) == [20.0] * 8


def test_old_durations_are_forgotten() -> None:
    """Only the last durations count."""
    durations = learned(*[5.0, 90.0] * 3, *[30.0] * (_SAMPLE_MAX - 1))

    assert durations.known(KIND) == [30.0] * (_SAMPLE_MAX - 1) + [90.0]


@pytest.mark.parametrize(
    ("seconds", "expected"), [((), 45.0), ((10.0,), 10.0), ((30.0, 10.0, 50.0), 30.0)]
)
def test_typical(seconds: tuple[float, ...], expected: float) -> None:
    """The mean of all durations, or 45 s."""
    assert learned(*seconds).typical() == expected


def test_pauses_are_short_where_an_end_is_likely() -> None:
    """Just before the usual end a task is fetched more often than long before or after."""
    samples = [20.0 + number / 10 for number in range(50)]

    assert pause(samples, 20.0) < pause(samples, 1.0)
    assert pause(samples, 20.0) < pause(samples, 200.0)
    assert hazard(samples, 20.0) > hazard(samples, 1.0)


def test_the_edges_of_what_is_known_are_sharp() -> None:
    """Evenly spread ends are expected evenly: no less just behind the first, or near the last."""
    samples = [15.0 + 0.5 * number for number in range(151)]

    assert hazard(samples, 14.0) < 0.001
    assert hazard(samples, 16.0) == pytest.approx(1 / 75, rel=0.1)
    assert hazard(samples, 52.5) == pytest.approx(1 / 37.5, rel=0.1)
    assert hazard(samples, 85.0) == pytest.approx(1 / 5, rel=0.1)


def test_pauses_grow_with_age_while_nothing_is_known() -> None:
    """Before any durations are known the pause grows with the age."""
    pauses = [pause([], age) for age in (0.0, 10.0, 50.0, 200.0, 3600.0)]

    assert pauses == sorted(pauses)
    assert pauses[0] < 1.0


@given(samples=st.lists(st.floats(0.1, 1e4), max_size=50).map(sorted), age=st.floats(0.0, 1e4))
def test_bounds(samples: list[float], age: float) -> None:
    """Whatever was learned, pauses are 0.2 to 20 s, and estimates are positive."""
    assert 0.2 <= pause(samples, age) <= 20.0
    assert hazard(samples, age) >= 0.0
    for share in (0.5, 0.95):
        assert remaining(samples, age, share) >= 0.1


@pytest.mark.parametrize(
    ("samples", "age", "share", "expected"),
    [
        pytest.param([], 1.0, 0.5, 15.0, id="unknown"),
        pytest.param([], 40.0, 0.5, 40.0, id="as long again"),
        pytest.param([], 40.0, 0.95, 100.0, id="to be sure: more"),
        pytest.param([10.0, 20.0, 30.0, 40.0], 5.0, 0.5, 25.0, id="half of them"),
        pytest.param([10.0, 20.0, 30.0, 40.0], 5.0, 0.95, 35.0, id="nearly all"),
        pytest.param([10.0, 20.0, 30.0, 40.0], 39.95, 0.5, 0.1, id="at once"),
        pytest.param([10.0], 20.0, 0.5, 20.0, id="older than known"),
    ],
)
def test_remaining(samples: list[float], age: float, share: float, expected: float) -> None:
    """The time that a task probably still takes."""
    assert remaining(samples, age, share) == pytest.approx(expected)


@pytest.mark.parametrize("age", [0.0, 0.2, 0.5])
def test_known_ends_are_not_skipped(age: float) -> None:
    """Before short tasks are due to end the pause does not reach far behind their ends."""
    samples = [0.3 + 0.01 * number for number in range(60)]

    assert age + pause(samples, age) < 0.9


def test_one_early_end_does_not_bind() -> None:
    """A pause ends near the next known duration, however long nothing is expected."""
    samples = [20.0, *(60.0 + number / 10 for number in range(100))]

    assert pause(samples, 15.0) < 5.0 + 8.0


def test_typical_by_model() -> None:
    """A model's own mean, else that of its region's accounts, else that of all models."""
    region = Durations()
    one, two = Durations(region), Durations(region)
    one.learn(KIND, 10.0)
    two.learn(Kind("qwen", 1, -1), 90.0)

    assert (one.typical("wan"), one.typical("qwen"), one.typical("other")) == (10.0, 90.0, 10.0)
    assert Durations(region).typical("other") == 50.0
