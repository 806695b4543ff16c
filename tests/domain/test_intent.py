"""An intent: the right to send one submit, which ends by whichever clock says so."""

import pytest

from gateway.domain.intent import Intent


class TwoClocks:
    """Each is set by hand."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.calendar = 1_758_636_850.0

    def now(self) -> float:
        return self.monotonic

    def epoch(self) -> float:
        return self.calendar

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("monotonic", "calendar", "expired"),
    [
        pytest.param(0.0, 0.0, False, id="at-once"),
        pytest.param(30.0, 30.0, False, id="just-in-time"),
        pytest.param(30.5, 0.0, True, id="the-calendar-stood-still"),
        pytest.param(0.0, 30.5, True, id="the-other-stood-still"),
        pytest.param(0.0, -25.0, False, id="set-back-a-little"),
        pytest.param(0.0, -3600.0, True, id="set-back-by-an-hour"),
    ],
)
def test_it_lasts_30_seconds(monotonic: float, calendar: float, *, expired: bool) -> None:
    """By both clocks; the calendar does not count if it was set back by more."""
    clock = TwoClocks()
    intent = Intent(clock)
    clock.monotonic += monotonic
    clock.calendar += calendar

    assert intent.expired is expired


def test_it_ends_with_the_lease() -> None:
    """A process that may not submit any more sends no further piece."""
    leased = True
    intent = Intent(TwoClocks(), lambda: leased)
    assert not intent.expired
    leased = False
    assert intent.expired


def test_no_two_are_alike() -> None:
    """Each has an attempt of its own."""
    assert len({Intent(TwoClocks()).attempt for _ in range(100)}) == 100
