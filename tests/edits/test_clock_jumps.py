"""Our calendar clock may be wrong, and may jump: no submit is made twice for that."""

from typing import Any

import pytest

from gateway.domain.errors import SubmitUncertain, UpstreamUnreachable
from gateway.domain.task import Task, TaskPage
from gateway.domain.tenant import Upstream
from gateway.edits.request import EditRequest
from tests.edits.crashing import run_until_death
from tests.edits.harness import EditHarness, complete, retry_until_done
from tests.fakes import FakeDashScope, RecordedCall, Submit

pytestmark = pytest.mark.anyio

_STEPS = range(3, 16)
"""From before the intent on, until the task is followed."""


class Punctual(FakeDashScope):
    """A region whose clock is right; ours is off by its jump, as far as an answer told us."""

    met = False

    def clock_offset(self, region: str) -> float:
        return -self._jump if self.met else 0.0

    def clock_known(self, region: str) -> bool:
        return self.met

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await super().fetch(upstream, task_id)
        self.met = True
        return task

    async def tasks(self, upstream: Upstream, **query: Any) -> TaskPage:
        page = await super().tasks(upstream, **query)
        self.met = True
        return page

    def _theirs(self, at: float) -> float:
        return super()._theirs(at) - self._jump

    @property
    def _jump(self) -> float:
        return self.clock.epoch() - self.clock.now() - self.true_zero

    true_zero = 0.0


def _harness_off_by(jump: float) -> EditHarness:
    harness = EditHarness()
    dashscope = Punctual(harness.clock)
    harness.dashscope = dashscope
    harness.clock.jump = jump
    dashscope.true_zero = harness.clock.epoch() - harness.clock.now() - jump
    return harness


@pytest.mark.parametrize("met", [True, False], ids=["offset known", "offset unknown"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(0.0, 4000.0), (0.0, -4000.0), (4000.0, 0.0), (-4000.0, 0.0), (25.0, -25.0)],
)
@pytest.mark.parametrize("submit", [Submit(), Submit(SubmitUncertain("cut"), after=1.0)])
@pytest.mark.parametrize("away", [0.5, 60.0, 5000.0])
async def test_a_jump_between_two_lives(
    submit: Submit, before: float, after: float, met: bool, away: float
) -> None:
    """Wherever the process dies, and whatever the clock says to the next, one task is made."""
    for last in _STEPS:
        harness = _harness_off_by(before)
        assert isinstance(harness.dashscope, Punctual)
        harness.dashscope.met = met
        harness.dashscope.submits.append(submit)

        def request(count: int, harness: EditHarness = harness) -> EditRequest:
            return harness.request(retry_count=count)

        life, answer = await run_until_death(harness, request, last)
        harness.clock.jump, harness.dashscope.met = after, False
        await harness.clock.sleep(away)
        async with harness.service() as service:
            if answer is None:
                await retry_until_done(service, lambda count: request(count + 1), harness.clock)

        assert len(harness.dashscope.paid) == 1, life.where


@pytest.mark.parametrize("jump", [4000.0, -4000.0])
async def test_an_uncertain_first_submit_by_a_wrong_clock(jump: float) -> None:
    """The first submit of all may be uncertain though upstream's time was never told."""
    harness = _harness_off_by(jump)
    harness.dashscope.submits.append(Submit(SubmitUncertain("cut"), after=1.0))

    async with harness.service() as service:
        await retry_until_done(
            service, lambda count: harness.request(retry_count=count), harness.clock
        )

    assert len(harness.dashscope.paid) == 1


class Distant(FakeDashScope):
    """A region that has not answered yet, and does after so many calls of its list in vain."""

    vain = 0

    def clock_known(self, region: str) -> bool:
        return self.count("tasks") > self.vain


@pytest.mark.parametrize("vain", [0, 1])
async def test_upstreams_time_is_known_before_the_first_submit(vain: int) -> None:
    """Its list is asked, again if need be, and only by the first submit of the process."""
    harness = EditHarness()
    harness.dashscope = dashscope = Distant(harness.clock)
    dashscope.vain = vain
    dashscope.fail("tasks", *[UpstreamUnreachable("cut")] * vain)
    async with harness.service() as service:
        for prompt in ("a cat", "a dog"):
            await complete(service, harness.request(prompt))

    calls = [call.operation for call in dashscope.calls if call.operation in ("tasks", "submit")]
    assert calls == ["tasks"] * (vain + 1) + ["submit", "submit"]


@pytest.mark.parametrize("error", [UpstreamUnreachable("cut"), None], ids=["cut", "silent"])
async def test_a_list_that_does_not_answer(
    error: UpstreamUnreachable | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked twice, for 3 s at most; then the submit itself shows whether anything works."""
    harness = EditHarness()
    harness.dashscope = dashscope = Distant(harness.clock)
    dashscope.vain = 99

    async def tasks(*_: Any, **__: Any) -> TaskPage:
        dashscope.calls.append(RecordedCall("tasks", harness.clock.now(), "main", ""))
        if error is None:
            await harness.clock.sleep(60.0)
        raise error or AssertionError

    monkeypatch.setattr(dashscope, "tasks", tasks)
    async with harness.service() as service:
        began = harness.clock.now()
        await complete(service, harness.request())

    submit = next(call for call in dashscope.calls if call.operation == "submit")
    assert submit.at - began == pytest.approx(3.0 if error is None else 0.3, abs=0.1)
    assert dashscope.count("tasks") == (1 if error is None else 2)
    assert len(dashscope.paid) == 1
