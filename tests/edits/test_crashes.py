"""Wherever the process dies on an edit's way: paid at most once, delivered, the right picture."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.errors import SubmitUncertain, Throttled
from gateway.domain.task import TaskStatus
from gateway.edits.request import EditRequest, EditResult
from tests.edits.crashing import MortalProcess, run_until_death
from tests.edits.harness import EditHarness, picture_bytes, retry_until_done
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

_MOST = 150
"""More steps than any of these ways has."""
SCENARIOS: dict[str, tuple[dict[str, Any], tuple[Submit, ...]]] = {
    # what is asked for, and how the first submits go
    "smooth": ({}, ()),
    "keyed": ({"idempotency_key": "k1"}, ()),
    "answer lost": ({}, (Submit(SubmitUncertain("cut")),)),
    "appears late": ({}, (Submit(SubmitUncertain("cut"), after=1.5),)),
    "never arrived": ({}, (Submit(SubmitUncertain("cut"), makes=False),)),
    "throttled": ({}, (Submit(Throttled("slow"), makes=False),)),
    "failed first": ({}, (Submit(run=Run(end=TaskStatus.FAILED)),)),
    "keyed and throttled": (
        {"idempotency_key": "k1"},
        (Submit(Throttled("slow"), makes=False),),
    ),
    "keyed and never arrived": (
        {"idempotency_key": "k1"},
        (Submit(SubmitUncertain("cut"), makes=False),),
    ),
    "three parts": ({"n": 10}, ()),
}


async def two_lives(
    harness: EditHarness, request: Callable[[int], EditRequest], last: int, *, down_for: float
) -> tuple[MortalProcess, EditResult]:
    """Let the process die, start the next one, and let the client's retries come to it."""
    life, answer = await run_until_death(harness, request, last)
    await harness.clock.sleep(down_for)
    async with harness.service() as service:
        if answer is None:
            answer = await retry_until_done(
                service, lambda count: request(count + 1), harness.clock
            )
        await harness.clock.sleep(300.0)  # whatever is still under way, let it come
    return life, answer


@pytest.mark.parametrize("down_for", [0.5, 30.0])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_dies_anywhere(name: str, down_for: float) -> None:
    """For each moment of death the retry gets the one paid picture of its own edit."""
    changes, submits = SCENARIOS[name]
    deaths: list[str] = []
    for last in range(1, _MOST):
        harness = EditHarness()
        harness.dashscope.submits.extend(submits)

        def request(count: int, harness: EditHarness = harness) -> EditRequest:
            return harness.request(**changes, retry_count=count)

        life, answer = await two_lives(harness, request, last, down_for=down_for)
        if not life.where:  # it lived to the end
            break
        deaths.append(life.where)

        at = f"{name}, died {life.where} (step {last})"
        n = request(0).edit.n
        assert not harness.bugs, at
        paid = sum(task.n for task in harness.dashscope.paid)
        assert paid == len(answer.pictures), at
        assert paid == n or (n > 4 and 0 < paid < n), at  # parts not yet submitted may be lost
        assert all(b"|a red cat|in|" in picture for picture in picture_bytes(answer)), at
        assert len(set(answer.pictures)) == paid, at

    assert {"before intend", "before submit", "after fetch", "after end_edit"} <= set(deaths)
    assert last < _MOST - 1, "the way is longer than was tried"
