from email.utils import formatdate

import httpx
import pytest

from gateway.upstream.server_clock import ServerClock

_NOW = 1_758_636_850.0


def _said(seconds: float) -> httpx.Response:
    return httpx.Response(200, headers={"date": formatdate(seconds, usegmt=True)})


def test_offset_comes_close_to_the_truth() -> None:
    """Dates cut to seconds average out: 30 answers tell a shift of 7.3 s to a tenth."""
    clock = ServerClock()

    for nth in range(30):
        now = _NOW + nth * 1.37
        clock.learn(_said(now + 7.3 // 1 + 0.3), asked=now - 0.05, answered=now + 0.05)

    assert clock.offset == pytest.approx(7.3, abs=0.1)


@pytest.mark.parametrize(
    ("answer", "answered"),
    [
        pytest.param(httpx.Response(200), _NOW, id="no-date"),
        pytest.param(httpx.Response(200, headers={"date": "soon"}), _NOW, id="nonsense"),
        pytest.param(_said(_NOW + 99), _NOW + 5, id="slow-answer"),
        pytest.param(_said(_NOW + 99), _NOW - 1, id="our-clock-was-set-back"),
    ],
)
def test_what_teaches_nothing(answer: httpx.Response, answered: float) -> None:
    """An answer without a date, or one that took long, leaves the offset alone."""
    clock = ServerClock()

    clock.learn(answer, asked=_NOW, answered=answered)

    assert clock.offset == 0
