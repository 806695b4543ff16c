import asyncio
from pathlib import Path

import pytest

from gateway.ledger.health import LedgerHealth

pytestmark = pytest.mark.anyio


class SetClock:
    """Stands where it is set, and cancels who sleeps for the third time."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == 2:
            raise asyncio.CancelledError
        self.slept.append(seconds)
        self.time += 10.0


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


async def test_well_until_a_write_fails(tmp_path: Path, clock: SetClock) -> None:
    """A ledger that never failed is not failing, and nothing is tried."""
    health = LedgerHealth(tmp_path / "no" / "gateway.db", clock)

    await health.look()

    assert not health.is_failing
    assert not (tmp_path / "no").exists()


async def test_failing_until_the_disk_has_room(tmp_path: Path, clock: SetClock) -> None:
    """As long as a file cannot be written beside the ledger, it is failing; then no more."""
    place = tmp_path / "state"
    place.write_text("a file in the place of the folder: writing fails there, as on a full disk")
    health = LedgerHealth(place / "gateway.db", clock)
    health.failed()
    clock.time += 60.0

    await health.look()
    full = health.is_failing
    place.unlink()
    await health.look()

    assert full
    assert not health.is_failing
    assert list(place.glob("*")) == []


@pytest.mark.parametrize("in_file", [True, False])
async def test_failures_that_go_on(tmp_path: Path, clock: SetClock, in_file: bool) -> None:
    """Writes that fail again and again keep it failing, though another file can be written."""
    health = LedgerHealth(tmp_path / "gateway.db" if in_file else None, clock)
    found = []
    for pause in (1.0, 4.5, 4.9, 5.1):
        health.failed()
        clock.time += pause
        await health.look()
        found.append(health.is_failing)

    assert found == [True, True, True, False]


async def test_a_failure_during_the_trial(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails while the disk is tried counts, whatever the trial says."""
    health = LedgerHealth(tmp_path / "gateway.db", clock)

    def write(path: Path, *_: object, **__: object) -> None:
        clock.time += 1.0
        health.failed()
        path.touch()

    monkeypatch.setattr("gateway.ledger.health.write_file", write)
    health.failed()
    clock.time += 6.0

    await health.look()

    assert health.is_failing


async def test_it_looks_again_and_again(tmp_path: Path, clock: SetClock) -> None:
    """Every two seconds, for as long as the gateway runs."""
    health = LedgerHealth(tmp_path / "gateway.db", clock)
    health.failed()

    with pytest.raises(asyncio.CancelledError):
        await health.watch()

    assert clock.slept == [2.0, 2.0]
    assert not health.is_failing
