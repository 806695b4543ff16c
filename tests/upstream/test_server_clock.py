from email.utils import formatdate

import httpx
import pytest

from gateway.upstream.server_clock import ServerClock

_NOW = 1_758_636_850.0


def _response(seconds: float) -> httpx.Response:
    return httpx.Response(200, headers={"date": formatdate(seconds, usegmt=True)})


def _learned(clock: ServerClock, shift: float, answers: int = 30, start: float = _NOW) -> None:
    for nth in range(answers):
        now = start + nth * 1.37
        clock.learn(_response(now + shift), requested=now - 0.05, answered=now + 0.05)


@pytest.mark.parametrize("shift", [7.3, -40.6, 3600.0])
def test_offset_comes_close_to_the_truth(shift: float) -> None:
    """Dates cut to seconds bound each other: 30 answers tell a shift to a tenth of a second."""
    clock = ServerClock()

    _learned(clock, shift)

    assert clock.offset(0) == pytest.approx(shift, abs=0.11)


def test_clocks_that_agree_have_no_offset() -> None:
    """Dates that are cut, or a second old, are no reason to doubt a clock that may be right."""
    clock = ServerClock()

    _learned(clock, 0.0)
    _learned(clock, -0.9, start=_NOW + 60)

    assert clock.offset(0) == 0


def test_an_upstream_that_jumps_is_followed() -> None:
    """One answer that cannot be true with the others throws them away."""
    clock = ServerClock()
    _learned(clock, 0.0)

    _learned(clock, 300.0, start=_NOW + 60)

    assert clock.offset(0) == pytest.approx(300, abs=0.11)


@pytest.mark.parametrize("jump", [4000.0, -4000.0])
def test_a_jump_of_our_calendar_changes_nothing(jump: float) -> None:
    """Our calendar and the offset together tell upstream's time, right after a jump as before."""
    clock = ServerClock()
    _learned(clock, 0.0)

    assert jump + clock.offset(jump) == pytest.approx(0, abs=2.1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(200), id="no-date"),
        pytest.param(httpx.Response(200, headers={"date": "soon"}), id="nonsense"),
    ],
)
def test_what_teaches_nothing(answer: httpx.Response) -> None:
    """An answer without a date teaches nothing."""
    clock = ServerClock()

    clock.learn(answer, requested=_NOW, answered=_NOW)

    assert clock.offset(0) == 0


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 1900 00:00:00 GMT"])
def test_a_date_that_is_no_time(date: str) -> None:
    """A Date that no query could be made of is not believed."""
    clock = ServerClock()

    clock.learn(httpx.Response(200, headers={"date": date}), requested=1.0, answered=2.0)

    assert clock.offset(1_750_000_000.0) == 0.0
