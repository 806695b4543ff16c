"""A machine that sleeps, or is paused, in the middle of a submit pays nothing twice for it."""

from typing import Any

import pytest

from gateway.domain.errors import SubmitUncertain
from gateway.domain.task import Accepted, TaskPage
from gateway.domain.tenant import Upstream
from gateway.edits.request import EditRequest
from tests.edits.crashing import run_until_death
from tests.edits.harness import EditHarness, complete, retry_until_done
from tests.fakes import FakeDashScope, Submit
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

CUT = SubmitUncertain("The connection was cut.")


class TrueClock(WarpClock):
    """Goes on while the machine sleeps, which takes no time of its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept


class SleepyClock(WarpClock):
    """The machine's: those of *now* and *epoch* that are *stopped* do not count its sleep."""

    def __init__(self, true: TrueClock, *stopped: str) -> None:
        super().__init__()
        self.true = true
        self.stopped = stopped

    def now(self) -> float:
        return super().now() if "now" in self.stopped else self.true.now()

    def epoch(self) -> float:
        return self.true.epoch() - ("epoch" in self.stopped) * self.true.slept


class Awake(FakeDashScope):
    """A region whose time goes on while the gateway's machine sleeps, *when* and for how long."""

    def __init__(self, sleepy: SleepyClock, when: str, seconds: float) -> None:
        super().__init__(sleepy.true)
        self.sleepy = sleepy
        self.when = when
        self.seconds = seconds

    def clock_offset(self, region: str) -> float:
        return self.clock.epoch() - self.sleepy.epoch()

    async def submit(self, upstream: Upstream, *given: Any, **named: Any) -> Accepted:
        self._sleep("before it is made")
        try:
            return await super().submit(upstream, *given, **named)
        finally:
            self._sleep("after it is made")

    async def tasks(self, upstream: Upstream, **window: Any) -> TaskPage:
        if self.count("tasks") == 1:
            self._sleep("between two looks")
        return await super().tasks(upstream, **window)

    def _sleep(self, moment: str) -> None:
        if self.when == moment:
            self.when = ""
            self.sleepy.true.slept += self.seconds


def harness_asleep(*stopped: str, when: str, seconds: float) -> EditHarness:
    clock = SleepyClock(TrueClock(), *stopped)
    harness = EditHarness(clock=clock)
    harness.dashscope = Awake(clock, when, seconds)
    return harness


_STOPPED = [(), ("now",), ("now", "epoch"), ("epoch",)]
_MOMENTS = ["before it is made", "after it is made", "between two looks"]


@pytest.mark.parametrize("stopped", _STOPPED, ids=["none", "now", "now, epoch", "epoch"])
@pytest.mark.parametrize("when", _MOMENTS)
@pytest.mark.parametrize("seconds", [4.0, 6.0, 60.0, 7200.0])
@pytest.mark.parametrize("after", [0.0, 4.0])
async def test_asleep_in_mid_submit(
    stopped: tuple[str, ...], when: str, seconds: float, after: float
) -> None:
    """Whichever clock stood still, the task whose answer was lost is found: one is paid."""
    harness = harness_asleep(*stopped, when=when, seconds=seconds)
    harness.dashscope.submits.append(Submit(CUT, after=after))
    async with harness.service() as service:
        answer = await complete(service, harness.request(patience=20_000.0))

    expired = len(harness.observer.of("intent_expired"))
    seen = stopped != ("now", "epoch")
    assert answer.delivered == 1
    assert len(harness.dashscope.paid) == 1
    assert expired == (when == "before it is made" and seconds > 30.0 and seen)
    assert harness.dashscope.count("submit") == 1 + expired


@pytest.mark.parametrize("stopped", _STOPPED, ids=["none", "now", "now, epoch", "epoch"])
@pytest.mark.parametrize("seconds", [6.0, 7200.0])
async def test_asleep_and_killed(stopped: tuple[str, ...], seconds: float) -> None:
    """The same when the process dies before it has its answer."""
    for last in range(3, 10):
        harness = harness_asleep(*stopped, when="after it is made", seconds=seconds)
        harness.dashscope.submits.append(Submit(CUT))

        def request(count: int, harness: EditHarness = harness) -> EditRequest:
            return harness.request(retry_count=count)

        life, answer = await run_until_death(harness, request, last)
        async with harness.service() as service:
            if answer is None:
                await retry_until_done(service, request, harness.clock)

        assert len(harness.dashscope.paid) == 1, life.where


async def test_quiet_is_counted_in_looks() -> None:
    """A task that appears some seconds after a machine woke up is waited for."""
    harness = harness_asleep(when="between two looks", seconds=60.0)
    harness.dashscope.submits.append(Submit(CUT, after=63.5))
    async with harness.service() as service:
        await complete(service, harness.request())

    assert len(harness.dashscope.paid) == 1
