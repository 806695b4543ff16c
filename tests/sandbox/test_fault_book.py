"""Which request a rule hits."""

from random import Random

import pytest

from gateway.sandbox.faults import Drop, Fault, FaultBook, Forget

DROP = Drop()


def book(*faults: Fault) -> FaultBook:
    return FaultBook(faults, Random(1))


@pytest.mark.parametrize(
    ("fault", "hits"),
    [
        pytest.param(Fault("query", DROP), [0, 1, 2, 3, 4], id="always"),
        pytest.param(Fault("submit", DROP), [], id="other-operation"),
        pytest.param(Fault("query", DROP, prompt="ha"), [0, 2, 4], id="prompt"),
        pytest.param(Fault("query", DROP, task=3), [3], id="task"),
        pytest.param(Fault("query", DROP, nth=2), [1], id="nth"),
        pytest.param(Fault("query", DROP, prompt="hat", nth=2), [2], id="nth-of-those"),
        pytest.param(Fault("query", DROP, count=2), [0, 1], id="count"),
        pytest.param(Fault("query", DROP, probability=0), [], id="never"),
    ],
)
def test_hits(fault: Fault, hits: list[int]) -> None:
    """All conditions of a rule must hold."""
    faults = book(fault)

    hit = [
        number
        for number in range(5)
        if faults.hit("query", prompt="cap" if number % 2 else "hat", task=number)
    ]

    assert hit == hits


def test_probability() -> None:
    """A rule with a probability hits about so often."""
    faults = book(Fault("query", DROP, probability=0.25))

    hits = sum(faults.hit("query") is not None for _ in range(1000))

    assert 200 < hits < 300


def test_first_match_plays() -> None:
    """The first rule that hits decides; it is shown how often each one did."""
    faults = book(Fault("query", Forget(), count=1), Fault("query", DROP))

    assert [faults.hit("query"), faults.hit("query")] == [Forget(), DROP]
    assert [(row["seen"], row["hits"]) for row in faults.show()] == [(2, 1), (1, 1)]
